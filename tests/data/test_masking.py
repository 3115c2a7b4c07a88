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


def draw_as(rule: MaskingRule, ids: torch.Tensor, lengths: torch.Tensor) -> Masks:
    index = torch.arange(len(ids), device=ids.device)
    return draw_masks(ids, lengths, rule=rule, seed=1, epoch_B=torch.zeros_like(index), sample_B=index)


def test_the_default_draw_never_changes() -> None:
    """Written down once: runs that are interrupted under one version of the code go on under the next."""
    ids, lengths, _ = rows([20, 13], width=20)
    masks = draw(ids, lengths, fraction=0.3, seed=7)
    assert masks.positions_BP[masks.used_BP].tolist() == [2, 9, 3, 16, 4, 18, 5, 11, 2, 1]
    assert masks.masked_BL[0].eq(MASK).nonzero()[:, 0].tolist() == [2, 4, 16, 18]
    assert masks.masked_BL[1].eq(MASK).nonzero()[:, 0].tolist() == [2, 5, 11]


def chi_squared(counts: torch.Tensor) -> float:
    """The p value of equal chances."""
    from scipy.stats import chisquare

    return float(chisquare(counts.numpy()).pvalue)


@pytest.mark.parametrize(
    ("length", "fraction", "count", "distinct", "draws"),
    [(128, 0.15, 2_000, 17.7, 19), (512, 0.15, 800, 71.5, 77), (512, 0.25, 800, 113.3, 128)],
)
def test_draws_with_replacement_hit_as_many_positions_as_in_the_released_code(
    length: int, fraction: float, count: int, distinct: float, draws: int
) -> None:
    """The table of electra.md 2.3."""
    ids, lengths, _ = rows([length] * count, width=length)
    masks = draw_as(MaskingRule(fraction, 0.85, SPECIAL, MASK, draw="with-replacement"), ids, lengths)
    assert set(masks.used_BP.sum(1).tolist()) == {draws}
    found = [len(set(row[used].tolist())) for row, used in zip(masks.positions_BP, masks.used_BP, strict=True)]
    assert sum(found) / count == pytest.approx(distinct, abs=0.16)
    assert not set(ids.gather(1, masks.positions_BP)[masks.used_BP].tolist()) & set(SPECIAL)
    hit = torch.bincount(masks.positions_BP[masks.used_BP], minlength=length)
    maskable = torch.tensor([position not in (0, length // 2, length - 1) for position in range(length)])
    assert chi_squared(hit[maskable]) > 0.001


def test_a_draw_with_replacement_can_exceed_the_candidates_and_needs_one() -> None:
    ids = torch.tensor([[CLS, SEP, PAD, PAD], [CLS, VOCABULARY - 1, SEP, PAD]])
    rule = MaskingRule(0.8, 1.0, SPECIAL, MASK, draw="with-replacement")
    masks = draw_as(rule, ids, torch.tensor([2, 3]))
    assert masks.positions_BP.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert masks.used_BP.tolist() == [[False] * 3, [True, True, False]]
    assert masks.masked_BL.tolist() == [[CLS, SEP, PAD, PAD], [CLS, MASK, SEP, PAD]]


def test_every_draw_of_a_position_may_hide_it() -> None:
    """A position drawn c times is hidden with probability 1 - .15**c (electra.md 2.4)."""
    ids, lengths, _ = rows([13] * 6_000, width=13)  # 10 candidates, 5 draws: many duplicates
    masks = draw_as(MaskingRule(0.4, 0.85, SPECIAL, MASK, draw="with-replacement"), ids, lengths)
    drawn = torch.zeros_like(ids).scatter_add(1, masks.positions_BP, masks.used_BP.long())
    hidden = masks.masked_BL == MASK
    assert not hidden[drawn == 0].any()
    assert torch.equal(masks.masked_BL[~hidden], ids[~hidden])
    for times in (1, 2, 3):
        expected = 1 - 0.15**times
        assert hidden[drawn == times].double().mean().item() == pytest.approx(expected, abs=0.01)


WORDS = torch.tensor([number for number in range(VOCABULARY) if number not in (*SPECIAL, UNK)])


@pytest.mark.parametrize("how", ["distinct", "with-replacement"])
def test_random_words_are_berts_share_of_the_vocabulary_without_specials(how: str) -> None:
    ids, lengths, _ = rows([120] * 2_000, width=128)
    ids = torch.where(ids > MASK, 7, ids)  # one word everywhere: what is shown instead of it is seen
    rule = MaskingRule(0.15, 0.8, SPECIAL, MASK, shown_as_random=0.1, draw=how, words_W=WORDS)
    masks = draw_as(rule, ids, lengths)
    hit = torch.zeros_like(ids).scatter_add(1, masks.positions_BP, masks.used_BP.long())
    assert torch.equal(masks.masked_BL[hit == 0], ids[hit == 0])
    shown = masks.masked_BL[hit == 1]
    assert shown.eq(MASK).double().mean().item() == pytest.approx(0.8, abs=0.01)
    random = shown[(shown != MASK) & (shown != 7)]
    assert len(random) / len(shown) == pytest.approx(0.1 * (1 - 1 / len(WORDS)), abs=0.01)
    counts = torch.bincount(random, minlength=VOCABULARY)
    assert not counts[[*SPECIAL, UNK]].any()
    assert chi_squared(counts[WORDS[WORDS != 7]]) > 0.001
    if how == "distinct":
        only_masks = draw_as(MaskingRule(0.15, 0.8, SPECIAL, MASK), ids, lengths)
        assert torch.equal(only_masks.masked_BL == MASK, masks.masked_BL == MASK)
        assert torch.equal(only_masks.positions_BP, masks.positions_BP)


@pytest.mark.parametrize("rule", [{"shown_as_random": 0.1}, {"whole_words": True}])
def test_a_rule_without_its_table_is_refused(rule: dict[str, float]) -> None:
    ids, lengths, _ = rows([20], width=20)
    with pytest.raises(ValueError, match="need"):
        draw_as(MaskingRule(0.15, 0.8, SPECIAL, MASK, **rule), ids, lengths)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("how", ["distinct", "with-replacement", "whole words"])
def test_a_gpu_draws_what_a_cpu_draws_and_never_waits(how: str) -> None:
    ids, lengths, _ = rows([128, 100, 30, 9] * 8, width=128)
    continues = torch.arange(VOCABULARY) % 3 == 0
    found = []
    for device in ("cpu", "cuda"):
        rule = MaskingRule(
            0.15,
            0.8,
            SPECIAL,
            MASK,
            shown_as_random=0.1,
            draw="with-replacement" if how == "with-replacement" else "distinct",
            whole_words=how == "whole words",
            words_W=WORDS.to(device),
            continues_V=continues.to(device),
        )
        here = ids.to(device), lengths.to(device)
        draw_as(rule, *here)  # the first call on a device may wait for it
        index = torch.arange(len(ids), device=device)
        torch.cuda.set_sync_debug_mode("error")
        try:
            masks = draw_masks(*here, rule=rule, seed=1, epoch_B=torch.zeros_like(index), sample_B=index)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        found.append([masks.masked_BL.cpu(), masks.positions_BP.cpu(), masks.used_BP.cpu(), masks.uniform_BP.cpu()])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
