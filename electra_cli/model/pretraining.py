"""ELECTRA's pair: a generator that fills masked positions by sampling, a discriminator that finds what differs.

The generator is trained as a masked language model. Its samples replace the masked tokens, and the discriminator says
of every token of the *filled* text whether it differs from the original (paper, section 2; released code,
`run_pretraining.py`). The two share their embeddings and nothing else; no gradient passes through the sampling.

`Electra` also holds what the paper compares this with (`variants`): the arithmetic of each is in `objectives`,
`fixed_generator`, `embedding_sharing` and `two_tower`, and here is how the parts are put together.

Shapes: B batch, L tokens in a row, P masked slots in a row, D width, E embedding width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from electra_cli.model.embedding_sharing import DisentangledEmbeddings
from electra_cli.model.encoder import Embeddings, Encoder, LayerNorm, Linear, segment_types
from electra_cli.model.fixed_generator import FixedGenerator
from electra_cli.model.generator_head import GeneratorOutput, HeadBackend, generator_output
from electra_cli.model.noise import Noise
from electra_cli.model.objectives import WordOutput, at_slots, copying, counted, judge
from electra_cli.model.shape import EncoderShape
from electra_cli.model.two_tower import TwoTower, cloze
from electra_cli.model.variants import ELECTRA, Variant


@dataclass(frozen=True)
class MaskedBatch:
    """Rows of tokens and what is hidden of them; see `data.masking` for how it is drawn.

    Attributes:
        ids_BL: the original ids.
        lengths_B: tokens before the padding; None when every row is full.
        first_B: tokens of each row's first segment.
        masked_BL: the generator's input: the original with [MASK] at most of the masked positions.
        positions_BP: the masked positions; 0 in unused slots.
        used_BP: which slots are used.
        uniform_BP: a uniform number (float64) for the sample of each slot.
        candidate_BL: the positions that could have been masked; for Electric only, else None.
        starts_BL: where texts that do not see each other begin; None when every row is one.
    """

    ids_BL: Tensor
    lengths_B: Tensor | None
    first_B: Tensor
    masked_BL: Tensor
    positions_BP: Tensor
    used_BP: Tensor
    uniform_BP: Tensor
    candidate_BL: Tensor | None = None
    starts_BL: Tensor | None = None

    @property
    def rows(self) -> dict[str, Tensor | None]:
        """What an encoder has to know of the rows, as its arguments."""
        return {"lengths_B": self.lengths_B, "starts_BL": self.starts_BL}

    @property
    def tokens(self) -> Tensor:
        """How many tokens count in the discriminator's loss, as a scalar tensor."""
        if self.lengths_B is None:
            return torch.full((), self.ids_BL.numel(), device=self.ids_BL.device)  # filled there: no copy to wait for
        return self.lengths_B.sum()


class GeneratorHead(nn.Module):
    """Hidden states → vectors of the embedding's width, to be scored against the word embeddings.

    Args:
        shape: of the encoder.
        towers: how many encoders' states come side by side.
    """

    def __init__(self, shape: EncoderShape, *, towers: int = 1) -> None:
        super().__init__()
        self.dense = Linear(towers * shape.hidden_size, shape.embedding_size)
        self.norm = LayerNorm(shape.embedding_size, shape.eps)
        self.bias = nn.Parameter(torch.empty(shape.vocab_size))

    def forward(self, h_PD: Tensor) -> Tensor:
        """(…, D) → (…, E)."""
        return self.norm(F.gelu(self.dense(h_PD)))  # type: ignore[no-any-return]


class DiscriminatorHead(nn.Module):
    """Hidden states → one logit a token; positive means "replaced"."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.dense = Linear(shape.hidden_size, shape.hidden_size)
        self.out = Linear(shape.hidden_size, 1)

    def forward(self, h_BLD: Tensor) -> Tensor:
        """(B, L, D) → logits_BL in float32."""
        return self.out(F.gelu(self.dense(h_BLD)))[..., 0].float()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class PairOutput:
    """One forward pass of a generator and a discriminator.

    Attributes:
        generator: the generator's head at the masked slots, flattened to (B * P).
        corrupted_BL: the discriminator's input.
        replaced_BL: where it differs from the original.
        logits_BL: the discriminator's logits, float32; Electric's hold the sample's probability (electra.md 3.5).
        labels_BL: what the discriminator should say: `replaced_BL`, in Electric every drawn position.
        judged_BL: the positions that its loss covers.
        discriminator_loss: sum over them of the binary cross-entropy.
    """

    generator: GeneratorOutput
    corrupted_BL: Tensor
    replaced_BL: Tensor
    logits_BL: Tensor
    labels_BL: Tensor
    judged_BL: Tensor
    discriminator_loss: Tensor


class Electra(nn.Module):
    """A generator and a large network, the discriminator, that reads what the generator made of a text.

    By default the two share their embeddings (words, positions, types and their LayerNorm). With `shared_encoder` they
    share all of the encoder and differ in their heads only (paper, section 3.2: 84.4 GLUE against 84.3 for shared
    embeddings at equal sizes; released code: `untied_generator = false`). In objectives that predict words the large
    network has a `word_head` in place of the `discriminator_head`.

    Args:
        discriminator: size of the large network.
        generator: size of the generator (of each of its towers, in Electric); None for a variant that has no such
            network.
        shared_encoder: whether the two are one encoder.
        variant: objective, kind of generator, sharing of embeddings.

    Raises:
        ValueError: the encoder is to be shared, or the generator's size is missing or too much for the variant.
    """

    # Which of these there are depends on the variant.
    generator: Encoder
    towers: TwoTower
    fixed: FixedGenerator
    generator_head: GeneratorHead
    discriminator_head: DiscriminatorHead
    word_head: GeneratorHead
    copy_gate: Linear

    def __init__(
        self,
        discriminator: EncoderShape,
        generator: EncoderShape | None,
        *,
        shared_encoder: bool = False,
        variant: Variant = ELECTRA,
    ) -> None:
        super().__init__()
        if shared_encoder and discriminator != generator:
            raise ValueError("a shared encoder needs a generator of the discriminator's size: generator.size = 1")
        if (generator is not None) != variant.has_generator_network:
            raise ValueError(f"a generator's size does not fit {variant}")
        self.shared_encoder, self.variant, self.generator_shape = shared_encoder, variant, generator
        self.head_backend: HeadBackend = "plain"
        apart = generator is not None and variant.embeddings != "shared"
        own = Embeddings(generator) if generator is not None and apart else None
        gdes = own is not None and variant.embeddings == "gdes"
        self.embeddings = DisentangledEmbeddings(discriminator, own) if own and gdes else Embeddings(discriminator)
        self.discriminator = Encoder(discriminator, self.embeddings)
        if generator is not None and variant.objective == "electric":
            towers = None if variant.embeddings == "own" else own or self.embeddings
            self.towers = TwoTower(generator, towers)
        elif generator is not None:
            self.generator = self.discriminator if shared_encoder else Encoder(generator, own or self.embeddings)
        elif variant.objective != "mlm":
            self.fixed = FixedGenerator(discriminator.vocab_size, frequencies=variant.generator == "unigram")
        if variant.predicts_words:
            self.word_head = GeneratorHead(discriminator)
        else:
            self.discriminator_head = DiscriminatorHead(discriminator)
        if variant.objective == "all-tokens-mlm":
            self.copy_gate = Linear(discriminator.hidden_size, 1)
        if generator is not None:
            self.generator_head = GeneratorHead(generator, towers=2 if variant.objective == "electric" else 1)
            (self.towers.ltr if variant.objective == "electric" else self.generator).embeddings.scored = True
        if variant.predicts_words and not gdes:
            self.embeddings.scored = True

    def architecture(self) -> dict[str, Any]:
        """What `from_architecture` needs to build the same networks, as plain JSON values."""
        return {
            "discriminator": self.discriminator.shape.to_dict(),
            "generator": self.generator_shape.to_dict() if self.generator_shape else None,
            "shared_encoder": self.shared_encoder,
            "variant": self.variant.to_dict(),
        }

    @classmethod
    def from_architecture(cls, fields: Mapping[str, Any]) -> Self:
        """The networks that `architecture` described, weights not yet drawn."""
        generator = fields["generator"]
        return cls(
            EncoderShape.from_dict(fields["discriminator"]),
            None if generator is None else EncoderShape.from_dict(generator),
            shared_encoder=fields.get("shared_encoder", False),
            variant=Variant(**fields.get("variant", {})),
        )

    @property
    def generator_words(self) -> Tensor:
        """The word table (V, E) that the generator's head scores against."""
        encoder = self.towers.ltr if self.variant.objective == "electric" else self.generator
        return encoder.embeddings.word

    def forward(
        self,
        batch: MaskedBatch,
        *,
        noise: Noise | None = None,
        dtype: torch.dtype = torch.float32,
        temperature: float = 1.0,
        disallow_correct: bool = False,
        frozen_generator: bool = False,
    ) -> PairOutput | WordOutput:
        """Fill the masked positions by sampling, and judge the result or predict its words; losses are sums.

        Args:
            batch: rows and their masks.
            noise: the step's dropout; None switches dropout off.
            dtype: the type that activations are computed in.
            temperature: divides the generator's logits before sampling.
            disallow_correct: never sample the original (not in Electric, nor by a generator without parameters).
            frozen_generator: whether the generator has been trained: no gradient and no dropout in it.
        """
        if self.variant.objective == "mlm":
            h_BLD = self._read(batch.masked_BL, batch, noise=noise, dtype=dtype)
            return self._predict_words(h_BLD, batch, generated=None, replaced_BL=None)
        if self.variant.objective == "electric":
            return self._electric(batch, noise=noise, dtype=dtype)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen_generator):
            generated = self.generate(
                batch,
                noise=None if frozen_generator else noise,
                dtype=dtype,
                temperature=temperature,
                disallow_correct=disallow_correct,
            )
        corrupted_BL = fill(batch, generated.sample_P)
        replaced_BL = corrupted_BL != batch.ids_BL
        h_BLD = self._read(corrupted_BL, batch, noise=noise, dtype=dtype)
        if self.variant.predicts_words:
            return self._predict_words(h_BLD, batch, generated=generated, replaced_BL=replaced_BL)
        everywhere = self.variant.objective != "electra-15"
        judged_BL = counted(batch.lengths_B, batch.ids_BL.shape, batch.ids_BL.device) if everywhere else drawn(batch)
        said = judge(self.discriminator_head(h_BLD), replaced_BL, judged_BL)
        return PairOutput(generated, corrupted_BL, replaced_BL, *said)

    def generate(
        self,
        batch: MaskedBatch,
        *,
        noise: Noise | None,
        dtype: torch.dtype,
        temperature: float,
        disallow_correct: bool = False,
    ) -> GeneratorOutput:
        """What stands at the masked slots, according to the generator (not Electric's)."""
        target_P = at_slots(batch.ids_BL, batch.positions_BP)
        weight_P, uniform_P = batch.used_BP.flatten().float(), batch.uniform_BP.flatten()
        if self.variant.generator != "network":
            return self.fixed(target_P, weight_P, uniform_P, temperature=temperature)  # type: ignore[no-any-return]
        types_BL = segment_types(batch.first_B, batch.ids_BL.shape[1])
        h_BLD = self.generator(batch.masked_BL, types_BL, **batch.rows, noise=noise, dtype=dtype)
        return generator_output(
            self.generator_head(at_slots(h_BLD, batch.positions_BP)),
            self.generator_words,
            self.generator_head.bias,
            target_P=target_P,
            weight_P=weight_P,
            uniform_P=uniform_P,
            temperature=temperature,
            disallow_correct=disallow_correct,
            backend=self.head_backend,
        )

    @torch.no_grad()
    def start_discriminator_from_generator(self) -> None:
        """Give the discriminator's encoder and embeddings the generator's weights (paper, section 3.2, two stages)."""
        self.discriminator.load_state_dict(self.generator.state_dict())

    def _read(self, ids_BL: Tensor, batch: MaskedBatch, *, noise: Noise | None, dtype: torch.dtype) -> Tensor:
        """The large network's hidden states h_BLD of `ids_BL`."""
        types_BL = segment_types(batch.first_B, ids_BL.shape[1])
        return self.discriminator(ids_BL, types_BL, **batch.rows, noise=noise, dtype=dtype)  # type: ignore[no-any-return]

    def _electric(self, batch: MaskedBatch, *, noise: Noise | None, dtype: torch.dtype) -> PairOutput:
        """Noise-contrastive estimation of the text's own distribution (electra.md 3.5)."""
        assert batch.candidate_BL is not None, "Electric's rows come with their candidates"
        types_BL = segment_types(batch.first_B, batch.ids_BL.shape[1])
        h_BLD = self.towers(batch.ids_BL, types_BL, **batch.rows, noise=noise, dtype=dtype)
        said = cloze(
            self.generator_head(h_BLD.flatten(0, 1)),
            self.generator_words,
            self.generator_head.bias,
            ids_BL=batch.ids_BL,
            candidate_BL=batch.candidate_BL,
            positions_BP=batch.positions_BP,
            used_BP=batch.used_BP,
            uniform_BP=batch.uniform_BP,
        )
        corrupted_BL = fill(batch, said.generator.sample_P)
        energy_BL = self.discriminator_head(self._read(corrupted_BL, batch, noise=noise, dtype=dtype))
        odds = math.log(self.variant.mask_fraction / (1 - self.variant.mask_fraction))
        judged_BL = counted(batch.lengths_B, batch.ids_BL.shape, batch.ids_BL.device)
        judgement = judge(energy_BL + said.log_q_BL + odds, drawn(batch), judged_BL)
        return PairOutput(said.generator, corrupted_BL, corrupted_BL != batch.ids_BL, *judgement)

    def _predict_words(
        self, h_BLD: Tensor, batch: MaskedBatch, *, generated: GeneratorOutput | None, replaced_BL: Tensor | None
    ) -> WordOutput:
        """The original ids, of the masked positions or of all tokens, from the large network's hidden states."""
        words, bias_V = self.embeddings.word, self.word_head.bias
        if self.variant.objective == "all-tokens-mlm":
            assert replaced_BL is not None
            judged_BL = counted(batch.lengths_B, batch.ids_BL.shape, batch.ids_BL.device)
            loss, correct_N = copying(
                self.word_head(h_BLD.flatten(0, 1)),
                words,
                bias_V,
                gate_N=self.copy_gate(h_BLD).float().flatten(),
                target_N=batch.ids_BL.flatten(),
                copied_N=~replaced_BL.flatten(),
                weight_N=judged_BL.flatten().float(),
            )
            correct_P = at_slots(correct_N.view(batch.ids_BL.shape), batch.positions_BP)
            return WordOutput(generated, replaced_BL, loss, correct_P)
        said = generator_output(
            self.word_head(at_slots(h_BLD, batch.positions_BP)),
            words,
            bias_V,
            target_P=at_slots(batch.ids_BL, batch.positions_BP),
            weight_P=batch.used_BP.flatten().float(),
            uniform_P=batch.uniform_BP.flatten(),
        )
        return WordOutput(generated, replaced_BL, said.loss, said.correct_P)


def drawn(batch: MaskedBatch) -> Tensor:
    """The masked positions as booleans (B, L)."""
    # Several unused slots may write False to position 0, which is [CLS] and never drawn.
    return torch.zeros_like(batch.ids_BL, dtype=torch.bool).scatter(1, batch.positions_BP, batch.used_BP)


def fill(batch: MaskedBatch, sample_P: Tensor) -> Tensor:
    """The original with every used slot's position overwritten by its sample: corrupted_BL (electra.md 2.6).

    Samples for one and the same position become the mean of their ids, rounded down: the released code's rule, which
    matters only where positions are drawn with replacement (electra.md 2.5).
    """
    original_BP = batch.ids_BL.gather(1, batch.positions_BP)
    value_BP = torch.where(batch.used_BP, sample_P.view_as(original_BP), original_BP)
    # Sums of integers do not depend on the order of the writes. Unused slots all write [CLS] to position 0, which
    # holds it and is no other slot's: the mean is [CLS] again.
    zeros_BL = torch.zeros_like(batch.ids_BL)
    sum_BL = zeros_BL.scatter_add(1, batch.positions_BP, value_BP)
    hits_BL = zeros_BL.scatter_add(1, batch.positions_BP, torch.ones_like(value_BP))
    return torch.where(hits_BL > 0, sum_BL // hits_BL.clamp(min=1), batch.ids_BL)
