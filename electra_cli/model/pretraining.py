"""ELECTRA's pair: a generator that fills masked positions by sampling, a discriminator that finds what differs.

The generator is trained as a masked language model. Its samples replace the masked tokens, and the discriminator says
of every token of the *filled* text whether it differs from the original (paper, section 2; released code,
`run_pretraining.py`). The two share their embeddings and nothing else; no gradient passes through the sampling.

Shapes: B batch, L tokens in a row, P masked slots in a row, D width, E embedding width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from electra_cli.model.encoder import Embeddings, Encoder, LayerNorm, Linear, segment_types
from electra_cli.model.generator_head import GeneratorOutput, HeadBackend, generator_output
from electra_cli.model.noise import Noise
from electra_cli.model.shape import EncoderShape


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
    """

    ids_BL: Tensor
    lengths_B: Tensor | None
    first_B: Tensor
    masked_BL: Tensor
    positions_BP: Tensor
    used_BP: Tensor
    uniform_BP: Tensor

    @property
    def tokens(self) -> Tensor:
        """How many tokens count in the discriminator's loss, as a scalar tensor."""
        if self.lengths_B is None:
            return torch.tensor(self.ids_BL.numel(), device=self.ids_BL.device)
        return self.lengths_B.sum()


class GeneratorHead(nn.Module):
    """Hidden states → vectors of the embedding's width, to be scored against the word embeddings."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.dense = Linear(shape.hidden_size, shape.embedding_size)
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
    """One forward pass of both networks.

    Attributes:
        generator: the generator's head at the masked slots, flattened to (B * P).
        corrupted_BL: the discriminator's input.
        replaced_BL: where it differs from the original.
        logits_BL: the discriminator's logits, float32.
        discriminator_loss: sum over counted tokens of the binary cross-entropy.
    """

    generator: GeneratorOutput
    corrupted_BL: Tensor
    replaced_BL: Tensor
    logits_BL: Tensor
    discriminator_loss: Tensor


class Electra(nn.Module):
    """Generator and discriminator over shared embeddings (words, positions, types and their LayerNorm).

    With `shared_encoder` the two share all of the encoder and differ in their heads only (paper, section 3.2: 84.4 GLUE
    against 84.3 for shared embeddings at equal sizes; released code: `untied_generator = false`).

    Raises:
        ValueError: the encoder is to be shared and the shapes differ.
    """

    def __init__(self, discriminator: EncoderShape, generator: EncoderShape, *, shared_encoder: bool = False) -> None:
        super().__init__()
        if shared_encoder and discriminator != generator:
            raise ValueError("a shared encoder needs a generator of the discriminator's size: generator.size = 1")
        self.shared_encoder = shared_encoder
        self.head_backend: HeadBackend = "plain"
        self.embeddings = Embeddings(discriminator)
        self.discriminator = Encoder(discriminator, self.embeddings)
        self.generator = self.discriminator if shared_encoder else Encoder(generator, self.embeddings)
        self.discriminator_head = DiscriminatorHead(discriminator)
        self.generator_head = GeneratorHead(generator)

    def architecture(self) -> dict[str, Any]:
        """What `from_architecture` needs to build the same networks, as plain JSON values."""
        return {
            "discriminator": self.discriminator.shape.to_dict(),
            "generator": self.generator.shape.to_dict(),
            "shared_encoder": self.shared_encoder,
        }

    @classmethod
    def from_architecture(cls, fields: Mapping[str, Any]) -> Self:
        """The networks that `architecture` described, weights not yet drawn."""
        shapes = (EncoderShape.from_dict(fields[which]) for which in ("discriminator", "generator"))
        return cls(*shapes, shared_encoder=fields.get("shared_encoder", False))

    def forward(
        self,
        batch: MaskedBatch,
        *,
        noise: Noise | None = None,
        dtype: torch.dtype = torch.float32,
        temperature: float = 1.0,
        disallow_correct: bool = False,
    ) -> PairOutput:
        """Fill the masked positions by sampling and judge the result; losses are sums, see `PairOutput`."""
        types_BL = segment_types(batch.first_B, batch.ids_BL.shape[1])
        h_BLD = self.generator(batch.masked_BL, types_BL, lengths_B=batch.lengths_B, noise=noise, dtype=dtype)
        h_PD = h_BLD.gather(1, batch.positions_BP[..., None].expand(-1, -1, h_BLD.shape[-1])).flatten(0, 1)
        generated = generator_output(
            self.generator_head(h_PD),
            self.embeddings.word,
            self.generator_head.bias,
            target_P=batch.ids_BL.gather(1, batch.positions_BP).flatten(),
            weight_P=batch.used_BP.flatten().float(),
            uniform_P=batch.uniform_BP.flatten(),
            temperature=temperature,
            disallow_correct=disallow_correct,
            backend=self.head_backend,
        )
        corrupted_BL = fill(batch, generated.sample_P)
        replaced_BL = corrupted_BL != batch.ids_BL
        logits_BL = self.discriminator_head(
            self.discriminator(corrupted_BL, types_BL, lengths_B=batch.lengths_B, noise=noise, dtype=dtype)
        )
        bce_BL = F.binary_cross_entropy_with_logits(logits_BL, replaced_BL.float(), reduction="none")
        if batch.lengths_B is not None:
            counted = torch.arange(bce_BL.shape[1], device=bce_BL.device)[None, :] < batch.lengths_B[:, None]
            bce_BL = bce_BL * counted
        return PairOutput(generated, corrupted_BL, replaced_BL, logits_BL, bce_BL.sum())


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
