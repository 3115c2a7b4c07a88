"""Small pairs and batches that the tests of the model share."""

from __future__ import annotations

import torch

from electra_cli.data.masking import MaskingRule, candidates, draw_masks
from electra_cli.model.initialize import initialize
from electra_cli.model.pretraining import Electra, MaskedBatch
from electra_cli.model.shape import EncoderShape, generator_shape
from electra_cli.model.variants import ELECTRA, Variant

PAD, UNK, CLS, SEP, MASK = range(5)
VOCABULARY = 61


def small_pair(
    *, embedding: int = 12, hidden: int = 16, shared: bool = False, size: float = 0.5, variant: Variant = ELECTRA
) -> Electra:
    """Networks small enough to differentiate by hand, weights far from zero so that every path carries signal."""
    shape = EncoderShape(VOCABULARY, embedding, hidden, 2, 2, 32, positions=24, dropout=0.0, attention_dropout=0.0)
    narrow = generator_shape(shape, size=1.0 if shared else size, own_embeddings=variant.embeddings == "own")
    model = Electra(shape, narrow if variant.has_generator_network else None, shared_encoder=shared, variant=variant)
    initialize(model, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def rows(lengths: list[int], *, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows [CLS] a [SEP] b [SEP] of the given lengths: ids_BL, lengths_B, first_B."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(MASK + 1, VOCABULARY, (len(lengths), width), generator=generator)
    first = []
    for row, length in enumerate(lengths):
        middle = length // 2
        ids[row, 0] = CLS
        ids[row, middle] = ids[row, length - 1] = SEP
        ids[row, length:] = PAD
        first.append(middle + 1)
    return ids, torch.tensor(lengths), torch.tensor(first)


def masked(lengths: list[int], *, width: int, fraction: float = 0.25, seed: int = 0) -> MaskedBatch:
    """A masked batch of `rows`."""
    ids, lengths_B, first_B = rows(lengths, width=width, seed=seed)
    rule = MaskingRule(fraction, 0.85, (PAD, CLS, SEP, MASK), MASK)
    index = torch.arange(len(lengths))
    masks = draw_masks(ids, lengths_B, rule=rule, seed=9, epoch_B=torch.zeros_like(index), sample_B=index)
    return MaskedBatch(
        ids_BL=ids,
        lengths_B=lengths_B,
        first_B=first_B,
        masked_BL=masks.masked_BL,
        positions_BP=masks.positions_BP,
        used_BP=masks.used_BP,
        uniform_BP=masks.uniform_BP,
        candidate_BL=candidates(ids, lengths_B, rule),
    )


def accelerated(*, padded: bool) -> tuple[Electra, MaskedBatch]:
    """A pair with dropout and a batch on device `meta`: no numbers, but what an accelerator would be asked to do.

    Whatever reads a number back to the host is an error there.
    """
    shape = EncoderShape(VOCABULARY, 12, 16, 2, 2, 32, positions=24)
    model = Electra(shape, generator_shape(shape, size=0.5)).to("meta")
    batch = masked([24, 24], width=24)
    fields = {name: None if value is None else value.to("meta") for name, value in vars(batch).items()}
    return model, MaskedBatch(**{**fields, **({} if padded else {"lengths_B": None})})
