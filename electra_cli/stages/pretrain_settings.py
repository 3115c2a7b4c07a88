"""Settings of `electra pretrain`: sizes, objective, optimizer, cadences."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from electra_cli.config import Settings, setting, table
from electra_cli.model.variants import GeneratorKind, Objective, Sharing, Variant, senseless


class ModelSettings(Settings):
    """The discriminator's size (paper, Table 6)."""

    embedding_size: int = setting(128, "width E of the embeddings that both networks share", ge=1)
    hidden_size: int = setting(256, "width D of the discriminator's layers", ge=1)
    layers: int = setting(12, "transformer layers", ge=1)
    heads: int | None = setting(None, "attention heads; by default hidden_size / 64, at least 1", ge=1)
    feed_forward: int | None = setting(None, "width F of the feed-forward layers; by default 4 * hidden_size", ge=1)
    positions: int = setting(512, "rows of the position table: the longest input of a model trained from this", ge=8)
    dropout: float = setting(0.1, "dropout of embeddings and layers", ge=0, lt=1)
    attention_dropout: float = setting(0.1, "dropout of attention probabilities", ge=0, lt=1)
    start: Literal["paper", "mimetic"] = setting(
        "paper",
        "initial weights; mimetic (ours, for small models on little text): attention starts between tokens that are "
        "alike and near",
    )


class GeneratorSettings(Settings):
    """What fills the masked positions, and its size beside the discriminator's."""

    kind: GeneratorKind = setting(
        "network",
        "network (paper), or one without parameters: uniform (released code) samples every id alike, unigram (paper, "
        "section 3.2) as often as the training shards have it",
    )
    embeddings: Sharing = setting(
        "shared",
        "shared (paper) with the discriminator; own, as wide as its layers (released code, "
        "untied_generator_embeddings); gdes (arXiv 2111.09543): the discriminator's words are the generator's, without "
        "a gradient, plus a difference",
    )
    size: float = setting(
        0.25, "its width as a share of the discriminator's (paper, section 3.2: 1/4 to 1/2)", gt=0, le=1
    )
    layers: float = setting(1.0, "its depth as a share of the discriminator's", gt=0, le=1)
    shared_encoder: bool = setting(
        False, "share the whole encoder with the discriminator, not the embeddings only (paper, 3.2); needs size 1"
    )


class ObjectiveSettings(Settings):
    """The two losses and the masking (paper, section 2; electra.md 2 and 4)."""

    kind: Objective = setting(
        "electra",
        "what the large network learns: electra (paper); electra-15, replace-mlm, all-tokens-mlm (paper, Table 5); "
        "mlm, without a generator (paper's BERT); electric (EMNLP 2020)",
    )
    two_stage_steps: int | None = setting(
        None,
        "steps that train the generator only; then the discriminator starts from the generator's weights and learns "
        "alone (paper, section 3.2). By default both train together",
        ge=1,
    )
    mask_fraction: float = setting(0.15, "share of a row's tokens that is masked (large: 0.25)", gt=0, lt=0.9)
    shown_as_mask: float = setting(
        0.85, "share of masked positions shown as [MASK]; the others keep their token", ge=0, le=1
    )
    generator_weight: float = setting(1.0, "weight of the generator's loss", ge=0)
    discriminator_weight: float = setting(50.0, "weight of the discriminator's loss (paper: 50)", ge=0)
    word_weight: float = setting(
        1.0, "weight of the large network's loss where it predicts words (mlm, replace-mlm, all-tokens-mlm)", ge=0
    )
    temperature: float = setting(1.0, "divides the generator's logits before sampling", gt=0)


class OptimizerSettings(Settings):
    """Adam without bias correction, warm-up and linear decay (electra.md 5)."""

    steps: int = setting(1_000_000, "optimizer steps", ge=1)
    batch_size: int = setting(128, "rows in a step", ge=1)
    micro_batch: int | None = setting(
        None, "rows in one forward pass; divides batch_size. By default the whole batch", ge=1
    )
    learning_rate: float = setting(5e-4, "peak rate", gt=0)
    warmup_steps: int = setting(10_000, "steps of linear warm-up; the decay is active at the same time", ge=0)
    weight_decay: float = setting(0.01, "decoupled decay of matrices; vectors are not decayed", ge=0)
    beta1: float = setting(0.9, "decay of the first moment", ge=0, lt=1)
    beta2: float = setting(0.999, "decay of the second moment", ge=0, lt=1)
    epsilon: float = setting(1e-6, "added to the root of the second moment", gt=0)
    clip: float = setting(1.0, "largest global gradient norm", gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = []
        if self.warmup_steps > self.steps:
            problems.append(f"warmup_steps {self.warmup_steps} is more than steps {self.steps}")
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            problems.append(f"micro_batch {self.micro_batch} does not divide batch_size {self.batch_size}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class EvaluationSettings(Settings):
    """Measuring on held-out rows while training."""

    every: int = setting(10_000, "steps between evaluations; there is one at the end too", ge=1)
    rows: int = setting(2_048, "held-out rows that an evaluation reads at most", ge=1)


class CheckpointSettings(Settings):
    """Saving while training."""

    every: int = setting(10_000, "steps between checkpoints", shapes=False, ge=1)
    keep: int = setting(3, "newest checkpoints that are kept; the best one is kept besides", shapes=False, ge=1)


class PretrainSettings(Settings):
    """Settings of `electra pretrain`; without a preset they are the paper's small."""

    preset_folder = "pretrain"

    model: ModelSettings = table(ModelSettings, "the discriminator")
    generator: GeneratorSettings = table(GeneratorSettings, "the generator")
    objective: ObjectiveSettings = table(ObjectiveSettings, "losses and masking")
    optimizer: OptimizerSettings = table(OptimizerSettings, "optimizer, batch and schedule")
    evaluation: EvaluationSettings = table(EvaluationSettings, "held-out evaluation")
    checkpoints: CheckpointSettings = table(CheckpointSettings, "checkpoints", shapes=True)
    seed: int = setting(1, "fixes initial weights, data order, masks, samples and dropout", ge=0, lt=2**31)
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "type of activations; auto is bf16 where the hardware computes it"
    )
    device: str = setting("auto", "auto (a GPU if there is one), cpu, cuda, cuda:1", shapes=False)
    log_every: int = setting(100, "steps between lines of metrics.jsonl; each is the mean since the last", ge=1)

    @property
    def variant(self) -> Variant:
        """The objective and its generator."""
        objective, generator = self.objective, self.generator
        return Variant(objective.kind, generator.kind, generator.embeddings, objective.mask_fraction)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        objective, generator, model = self.objective, self.generator, self.model
        first = objective.two_stage_steps
        problems = senseless(
            self.variant,
            shared_encoder=generator.shared_encoder,
            temperature=objective.temperature,
            two_stage=first is not None,
            same_size=generator.size == generator.layers == 1 and model.embedding_size == model.hidden_size,
        )
        if first is not None and first >= self.optimizer.steps:
            problems.append(
                f"objective.two_stage_steps {first} leaves nothing of optimizer.steps {self.optimizer.steps}"
            )
        if first is not None and first % self.log_every:
            problems.append(f"objective.two_stage_steps {first} is not a multiple of log_every {self.log_every}")
        if problems:
            raise ValueError("; ".join(problems))
        return self
