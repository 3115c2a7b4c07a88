"""Which tokens are hidden from the generator, drawn on the device as a pure function of the sample.

The recipe is the paper's: a fixed share of each row's tokens, special tokens never, 85 % of the drawn positions shown
as [MASK] and 15 % left as they are, all of them predicted and all of them overwritten by the generator's samples
(electra.md 2). Positions are drawn without replacement; the released code draws with it, which its author calls an
oversight (electra.md 2.3, 10) and `draw="with-replacement"` repeats. Whole words are in `data.whole_words`.

Shapes: B batch, L tokens in a row, P masked slots in a row, V vocabulary, W ids that are words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from electra_cli.data.whole_words import draw_whole_words
from electra_cli.runtime.counters import draw_bits, key, uniform

MaskDraw = Literal["distinct", "with-replacement"]

# Purposes of draws: part of the key, so that no two draws of a sample are the same numbers.
POSITIONS, TREATMENT, SAMPLES, RANDOM_WORDS = 1, 2, 3, 4


@dataclass(frozen=True)
class MaskingRule:
    """How rows are masked.

    Attributes:
        fraction: share of a row's tokens (special ones counted) that is masked; paper .15, large .25.
        shown_as_mask: share of the masked positions that the generator sees as [MASK] (released code: .85).
        special_ids: ids that are never masked ([CLS], [SEP], [MASK], [PAD]; not [UNK]).
        mask_id: the id of [MASK].
        shown_as_random: share of the masked positions that the generator sees as a random word (BERT: .1).
        draw: whether a position can be drawn more than once.
        whole_words: whether words are drawn and not tokens; not together with `with-replacement`.
        words_W: the ids that a random word is drawn from, on the device; needed by `shown_as_random`.
        continues_V: which ids continue a word, on the device; needed by `whole_words` where rows do not say which of
            their tokens begin one.
    """

    fraction: float
    shown_as_mask: float
    special_ids: tuple[int, ...]
    mask_id: int
    shown_as_random: float = 0.0
    draw: MaskDraw = "distinct"
    whole_words: bool = False
    words_W: Tensor | None = field(default=None, compare=False)
    continues_V: Tensor | None = field(default=None, compare=False)

    def slots(self, length: int) -> int:
        """P: the most positions that a row of `length` tokens can have masked."""
        return masked_slots(self.fraction, length=length)


def masked_slots(fraction: float, *, length: int) -> int:
    """P: the most positions that a row of `length` tokens can have masked (electra.md 2.1)."""
    return max(1, int((fraction + 0.005) * length))


@dataclass(frozen=True)
class Masks:
    """The draw for one batch; the fields are those of `model.pretraining.MaskedBatch`."""

    masked_BL: Tensor
    positions_BP: Tensor
    used_BP: Tensor
    uniform_BP: Tensor


def candidates(ids_BL: Tensor, lengths_B: Tensor, rule: MaskingRule) -> Tensor:
    """The positions (B, L) that may be masked: no padding and no special ids (electra.md 2.2)."""
    candidate_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device)[None, :] < lengths_B[:, None]
    for special in rule.special_ids:
        candidate_BL &= ids_BL != special
    return candidate_BL


def draw_masks(
    ids_BL: Tensor,
    lengths_B: Tensor,
    *,
    rule: MaskingRule,
    seed: int,
    epoch_B: Tensor,
    sample_B: Tensor,
    word_start_BL: Tensor | None = None,
) -> Masks:
    """Draw the masked positions of a batch.

    Args:
        ids_BL: token ids, padded.
        lengths_B: tokens before the padding, special ones counted.
        rule: how to mask.
        seed: the run's seed.
        epoch_B: the epoch that each sample is in: another one, another draw.
        sample_B: each sample's index in the data.
        word_start_BL: which tokens begin a word, for whole words; None: those that `rule.continues_V` does not name.

    Returns:
        Masks; a row with fewer maskable tokens than its share uses fewer slots, and so does one whose words do not add
        up to its share. Slots that are not used point at position 0.

    Raises:
        ValueError: the rule needs a table that it does not have.
    """
    length = ids_BL.shape[1]
    slots = rule.slots(length)
    sample_B = sample_B + (epoch_B << 40)  # 2**40 samples are more than any corpus has
    candidate_BL = candidates(ids_BL, lengths_B, rule)
    # round() is half to even, as in the released code
    wanted_B = (lengths_B.to(torch.float64) * rule.fraction).round().to(torch.int64).clamp(1, slots)
    if rule.draw == "with-replacement":
        bits_BP = draw_bits(key(seed, POSITIONS), sample_B, slots)
        positions_BP, used_BP = _with_replacement(candidate_BL, wanted_B, bits_BP)
    else:
        bits_BL = draw_bits(key(seed, POSITIONS), sample_B, length)
        if rule.whole_words:
            start_BL = _begins_a_word(ids_BL, rule) if word_start_BL is None else word_start_BL
            positions_BP, used_BP = draw_whole_words(candidate_BL, start_BL, wanted_B, bits_BL, slots=slots)
        else:
            positions_BP, used_BP = _distinct(candidate_BL, wanted_B, bits_BL, slots=slots)
    return Masks(
        masked_BL=_shown(ids_BL, positions_BP, used_BP, rule=rule, seed=seed, sample_B=sample_B),
        positions_BP=positions_BP,
        used_BP=used_BP,
        uniform_BP=uniform(draw_bits(key(seed, SAMPLES), sample_B, slots)),
    )


def _distinct(candidate_BL: Tensor, wanted_B: Tensor, bits_BL: Tensor, *, slots: int) -> tuple[Tensor, Tensor]:
    """Draw positions without replacement, every candidate equally likely: positions_BP, used_BP."""
    order_BL = torch.where(candidate_BL, bits_BL, torch.iinfo(torch.int64).max)
    positions_BP = order_BL.topk(slots, dim=1, largest=False).indices
    wanted_B = torch.minimum(wanted_B, candidate_BL.sum(1))
    used_BP = torch.arange(slots, device=wanted_B.device)[None, :] < wanted_B[:, None]
    return torch.where(used_BP, positions_BP, 0), used_BP


def _with_replacement(candidate_BL: Tensor, wanted_B: Tensor, bits_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Draw positions independently of each other, as the released code (electra.md 2.3): positions_BP, used_BP."""
    count_B1 = candidate_BL.sum(1, keepdim=True)
    # The product may round up to the count itself; the last candidate takes that sliver.
    which_BP = (uniform(bits_BP) * count_B1).to(torch.int64).minimum((count_B1 - 1).clamp(min=0))
    positions_BP = torch.searchsorted(candidate_BL.cumsum(1), which_BP + 1)
    used_BP = torch.arange(bits_BP.shape[1], device=wanted_B.device)[None, :] < wanted_B[:, None]
    used_BP = used_BP & (count_B1 > 0)
    return torch.where(used_BP, positions_BP, 0), used_BP


def _begins_a_word(ids_BL: Tensor, rule: MaskingRule) -> Tensor:
    if rule.continues_V is None:
        raise ValueError("whole words need the rows' word starts or a table of continuations")
    return ~rule.continues_V[ids_BL]


def _shown(
    ids_BL: Tensor, positions_BP: Tensor, used_BP: Tensor, *, rule: MaskingRule, seed: int, sample_B: Tensor
) -> Tensor:
    """What the generator sees, masked_BL: each slot is [MASK], a random word or what it was (electra.md 2.4)."""
    slots = positions_BP.shape[1]
    treatment_BP = uniform(draw_bits(key(seed, TREATMENT), sample_B, slots))
    changed_BP = used_BP & (treatment_BP < rule.shown_as_mask)
    shown_BP = torch.where(changed_BP, rule.mask_id, ids_BL.gather(1, positions_BP))
    if rule.shown_as_random:
        if rule.words_W is None:
            raise ValueError("random words need the ids to draw them from")
        random_BP = used_BP & ~changed_BP & (treatment_BP < rule.shown_as_mask + rule.shown_as_random)
        draw_BP = uniform(draw_bits(key(seed, RANDOM_WORDS), sample_B, slots)) * len(rule.words_W)
        word_BP = rule.words_W[draw_BP.to(torch.int64).clamp(max=len(rule.words_W) - 1)]
        shown_BP = torch.where(random_BP, word_BP, shown_BP)
        changed_BP = changed_BP | random_BP
    if rule.draw == "distinct":
        return ids_BL.scatter(1, positions_BP, shown_BP)
    # Several slots may point at one position: the first one that changes it decides. Draws that leave the token as it
    # is write nothing, so a position drawn c times is hidden with probability 1 - .15**c, as in the released code.
    slot_P = torch.arange(slots, device=ids_BL.device)
    rank_BP = torch.where(changed_BP, slot_P[None, :], slots)
    first_BL = torch.full_like(ids_BL, slots).scatter_reduce(1, positions_BP, rank_BP, "amin")
    return torch.where(first_BL < slots, shown_BP.gather(1, first_BL.clamp(max=slots - 1)), ids_BL)
