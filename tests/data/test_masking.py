"""Masking against the rules of the released code (electra.md 2) and against itself: a pure function of the sample."""

from __future__ import annotations

import pytest
import torch

from electra_cli.data.masking import MaskingRule, Masks, draw_masks
from tests.model.pairs import CLS, MASK, PAD, SEP, UNK, VOCABULARY, rows

SPECIAL = (PAD, CLS, SEP, MASK)


def draw(ids: torch.Tensor, lengths: torch.Tensor, *, fraction: float = 0.15, seed: int = 1, first: int = 0) -> Masks:
    index = torch.arange(first, first + len(ids))
    rule = MaskingRule(fraction, 0.85, SPECIAL, MASK)
    return draw_masks(ids, lengths, rule=rule, seed=seed, epoch_B=torch.zeros_like(index), sample_B=index)


@pytest.mark.parametrize(
    ("length", "fraction", "slots", "used"), [(128, 0.15, 19, 19), (512, 0.15, 79, 77), (512, 0.25, 130, 128)]
)
def test_budget_is_that_of_the_released_code(length: int, fraction: float, slots: int, used: int) -> None:
    """The table of electra.md 2.1."""
    ids, lengths, _ = rows([length], width=length)
    masks = draw(ids, lengths, fraction=fraction)
    assert masks.positions_BP.shape == (1, slots)
    assert int(masks.used_BP.sum()) == used


def test_special_tokens_and_padding_are_never_masked_and_no_position_twice() -> None:
    ids, lengths, _ = rows([40, 33, 24, 9] * 50, width=40)
    ids[:, 3] = UNK
    masks = draw(ids, lengths, fraction=0.4)
    for row in range(len(ids)):
        chosen = masks.positions_BP[row][masks.used_BP[row]].tolist()
        assert len(set(chosen)) == len(chosen) == round(0.4 * int(lengths[row]))
        assert not set(ids[row, chosen].tolist()) & set(SPECIAL)
        assert max(chosen) < int(lengths[row])
    assert (ids.gather(1, masks.positions_BP)[masks.used_BP] == UNK).any(), "[UNK] may be masked"


def test_85_percent_are_shown_as_mask_and_nothing_else_changes() -> None:
    ids, lengths, _ = rows([120] * 400, width=128)
    masks = draw(ids, lengths)
    shown = masks.masked_BL.gather(1, masks.positions_BP)[masks.used_BP]
    original = ids.gather(1, masks.positions_BP)[masks.used_BP]
    assert (shown == MASK).double().mean().item() == pytest.approx(0.85, abs=0.015)
    assert torch.equal(shown[shown != MASK], original[shown != MASK])
    untouched = torch.ones_like(ids, dtype=torch.bool).scatter_(1, masks.positions_BP, ~masks.used_BP)
    assert torch.equal(masks.masked_BL[untouched], ids[untouched])


def test_every_maskable_position_is_equally_likely() -> None:
    ids, lengths, _ = rows([20] * 20_000, width=20)
    masks = draw(ids, lengths, fraction=0.3)
    counts = torch.bincount(masks.positions_BP[masks.used_BP], minlength=20).double() / 20_000
    maskable = torch.tensor([position not in (0, 10, 19) for position in range(20)])
    assert not counts[~maskable].any()
    assert counts[maskable].min() > 0.33 and counts[maskable].max() < 0.375  # 6 of 17 = 0.353


def test_a_draw_belongs_to_its_sample_whatever_batch_it_is_in() -> None:
    ids, lengths, _ = rows([30] * 8, width=30)
    whole, tail = draw(ids, lengths), draw(ids[5:], lengths[5:], first=5)
    for name in ("masked_BL", "positions_BP", "used_BP", "uniform_BP"):
        assert torch.equal(getattr(whole, name)[5:], getattr(tail, name))
    assert not torch.equal(whole.positions_BP, draw(ids, lengths, seed=2).positions_BP)
    assert not torch.equal(whole.positions_BP, draw(ids, lengths, first=8).positions_BP)
    index = torch.arange(8)
    rule = MaskingRule(0.15, 0.85, SPECIAL, MASK)
    later = draw_masks(ids, lengths, rule=rule, seed=1, epoch_B=torch.ones_like(index), sample_B=index)
    assert not torch.equal(whole.positions_BP, later.positions_BP)


def test_a_row_without_a_maskable_token_uses_no_slot() -> None:
    ids = torch.tensor([[CLS, SEP, PAD, PAD], [CLS, VOCABULARY - 1, SEP, PAD]])
    masks = draw(ids, torch.tensor([2, 3]), fraction=0.8)
    assert masks.used_BP.sum(1).tolist() == [0, 1]
    assert masks.masked_BL[0].tolist() == ids[0].tolist()
