"""Which objective is trained, over which generator: the rows of the paper's tables as plain values.

Nothing here needs torch, so that settings can be checked before anything heavy is loaded. What each kind is, and where
it comes from, is in docs/concepts/objectives.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Objective = Literal["electra", "mlm", "electra-15", "replace-mlm", "all-tokens-mlm", "electric"]
GeneratorKind = Literal["network", "uniform", "unigram"]
Sharing = Literal["shared", "own", "gdes"]
Over = Literal["masked", "tokens", "candidates"]
"""What a loss is a mean over: the masked positions, all tokens that are no padding, or all that could be masked."""


@dataclass(frozen=True)
class Variant:
    """An objective and its generator; without arguments the paper's ELECTRA.

    Attributes:
        objective: what the large network learns (paper, Table 5; Electric: Clark et al., EMNLP 2020).
        generator: what fills the masked positions; `uniform` and `unigram` have no parameters.
        embeddings: what the generator and the discriminator share of them.
        mask_fraction: share of the tokens that is drawn; only Electric's logits depend on it.
    """

    objective: Objective = "electra"
    generator: GeneratorKind = "network"
    embeddings: Sharing = "shared"
    mask_fraction: float = 0.15

    @property
    def predicts_words(self) -> bool:
        """Whether the large network predicts words instead of telling replaced tokens."""
        return self.objective in ("mlm", "replace-mlm", "all-tokens-mlm")

    @property
    def has_generator_network(self) -> bool:
        """Whether there is a generator with parameters beside the large network."""
        return self.objective != "mlm" and self.generator == "network"

    @property
    def generator_over(self) -> Over:
        """What the generator's loss is a mean over."""
        return "candidates" if self.objective == "electric" else "masked"

    @property
    def main_over(self) -> Over:
        """What the large network's loss is a mean over."""
        return "masked" if self.objective in ("mlm", "electra-15", "replace-mlm") else "tokens"

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return asdict(self)


ELECTRA = Variant()


def senseless(
    variant: Variant,
    *,
    shared_encoder: bool,
    temperature: float,
    disallow_correct: bool,
    two_stage: bool,
    same_size: bool,
) -> list[str]:
    """What does not fit together, each a sentence that names both settings by their keys.

    Args:
        variant: objective, generator and embeddings.
        shared_encoder: `generator.shared_encoder`.
        temperature: `objective.temperature`.
        disallow_correct: `objective.disallow_correct`.
        two_stage: whether `objective.two_stage_steps` is set.
        same_size: whether the discriminator can take over the generator's weights: generator.size and
            generator.layers are 1, and the embeddings are as wide as the layers.
    """
    kind, made = f"objective.kind = {variant.objective}", f"generator.kind = {variant.generator}"
    embeddings = f"generator.embeddings = {variant.embeddings}"
    own, fixed = variant.embeddings != "shared", variant.generator != "network"
    mlm, electric = variant.objective == "mlm", variant.objective == "electric"
    stages = "objective.two_stage_steps"
    found = {
        f"{kind} has no generator, so {made} says nothing": mlm and fixed,
        f"{kind} has no generator, so {embeddings} says nothing": mlm and own,
        f"{kind} has one network, so generator.shared_encoder shares nothing": mlm and shared_encoder,
        f"{kind} needs the probabilities of a two-tower network, not {made}": electric and fixed,
        f"{kind} has a generator of two towers, so generator.shared_encoder cannot be": electric and shared_encoder,
        f"{kind} adds the sample's probability to a logit, so objective.temperature must be 1": (
            electric and temperature != 1
        ),
        f"{kind} labels every masked position, so objective.disallow_correct cannot be": electric and disallow_correct,
        f"{kind} samples nothing, so objective.disallow_correct says nothing": mlm and disallow_correct,
        f"{made} knows nothing of the original, so objective.disallow_correct cannot be": fixed and disallow_correct,
        f"{made} has no embeddings, so {embeddings} says nothing": fixed and own,
        f"{made} has no encoder, so generator.shared_encoder shares nothing": fixed and shared_encoder,
        f"{made} is flat at any objective.temperature": variant.generator == "uniform" and temperature != 1,
        f"generator.shared_encoder shares the embeddings, so {embeddings} cannot be": shared_encoder and own,
        f"{stages} is for a discriminator after a generator, not for {kind}": (
            two_stage and variant.objective not in ("electra", "electra-15")
        ),
        f"{stages} trains a generator first, and {made} has nothing to train": two_stage and fixed,
        f"{stages} needs networks apart: generator.embeddings = own, not {variant.embeddings}, and no "
        "generator.shared_encoder": two_stage and (variant.embeddings != "own" or shared_encoder),
        f"{stages} hands the generator's weights to the discriminator: generator.size = 1, generator.layers = 1 and "
        "model.embedding_size = model.hidden_size are needed": two_stage and not same_size,
    }
    return [sentence for sentence, wrong in found.items() if wrong]
