"""Masking whole words: all tokens of a word are hidden, or none.

Words of a row are taken in random order until its budget is used up; a word that would exceed what is left of it is
passed over (BERT's whole-word masking, and Chinese BERT-wwm's with a segmenter's words). Everything is tensor
arithmetic of fixed shapes, with no loop over words and no waiting for the device.

Shapes: B batch, L tokens in a row, P masked slots in a row, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw_whole_words(
    candidate_BL: Tensor, start_BL: Tensor, wanted_B: Tensor, bits_BL: Tensor, *, slots: int
) -> tuple[Tensor, Tensor]:
    """Draw words until each row's budget is used up.

    Args:
        candidate_BL: which tokens may be masked. Words end at all others.
        start_BL: which tokens begin a word.
        wanted_B: the budget of each row in tokens, at most `slots`.
        bits_BL: random int64 bits; those at a word's first token give its place in the order.
        slots: P.

    Returns:
        positions_BP: the tokens of the drawn words, ascending; 0 in unused slots.
        used_BP: which slots are used; fewer than the budget where no word is left that fits, none where every word is
        larger than the budget.
    """
    length = candidate_BL.shape[1]
    column_L = torch.arange(length, device=candidate_BL.device)
    begins_BL = start_BL | ~candidate_BL
    begins_BL[:, 1:] |= ~candidate_BL[:, :-1]
    first_BL = torch.where(begins_BL, column_L, 0).cummax(1).values
    size_BL = torch.zeros_like(first_BL).scatter_add(1, first_BL, torch.ones_like(first_BL)).gather(1, first_BL)
    after_BL = first_BL + size_BL - 1 - column_L  # tokens of the same word behind this one
    # In random order; the sort is stable, so that a word's tokens stay together and in order.
    order_BL = torch.where(candidate_BL, bits_BL.gather(1, first_BL), torch.iinfo(torch.int64).max)
    order_BL = order_BL.argsort(dim=1, stable=True)
    size_BL, after_BL = size_BL.gather(1, order_BL), after_BL.gather(1, order_BL)
    room_B1 = wanted_B[:, None]
    open_BL = candidate_BL.gather(1, order_BL) & (size_BL <= room_B1)
    taken_BL = torch.zeros_like(open_BL)
    for _ in range(_rounds(length, slots)):
        # Take words as long as all of them fit; the one that does not, and all that are as large, are out for good.
        fits_BL = open_BL & (open_BL.cumsum(1) + after_BL <= room_B1)
        taken_BL = taken_BL | fits_BL
        room_B1 = room_B1 - fits_BL.sum(1, keepdim=True)
        open_BL = open_BL & ~fits_BL & (size_BL <= room_B1)
    positions_BP = torch.where(taken_BL, order_BL, length).topk(slots, dim=1, largest=False).values
    used_BP = positions_BP < length
    return torch.where(used_BP, positions_BP, 0), used_BP


def _rounds(length: int, slots: int) -> int:
    """After how many rounds no row can have a word left that fits.

    Each round but the last ends at a word that does not fit, and the next one's is smaller: they have different sizes,
    each at most P, and together at most L tokens.
    """
    sizes = 0
    while (sizes + 1) * (sizes + 2) // 2 <= length and sizes < slots:
        sizes += 1
    return sizes + 1
