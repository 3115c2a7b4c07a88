"""Whole-word masking against a slow reading of the rule, one word after the other."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from electra_cli.data.masking import MaskingRule, draw_masks
from electra_cli.data.whole_words import draw_whole_words
from electra_cli.text.parts import TokenizerParts
from tests.model.pairs import CLS, MASK, PAD, SEP, UNK

SPECIAL = (PAD, CLS, SEP, MASK)


def words_of(candidates: list[bool], starts: list[bool]) -> list[list[int]]:
    """The positions of each word of a row."""
    words: list[list[int]] = []
    for place, (candidate, start) in enumerate(zip(candidates, starts, strict=True)):
        if candidate and (start or place == 0 or not candidates[place - 1]):
            words.append([])
        if candidate:
            words[-1].append(place)
    return words


def slowly(words: list[list[int]], budget: int, order: list[int]) -> list[int]:
    """BERT's rule: in random order, pass over a word that would exceed the budget."""
    taken: list[int] = []
    for word in sorted(words, key=lambda word: order[word[0]]):
        if len(taken) + len(word) <= budget:
            taken += word
    return sorted(taken)


def drawn(
    candidates: list[list[bool]], starts: list[list[bool]], budgets: list[int], order: list[list[int]], slots: int
):
    positions, used = draw_whole_words(
        torch.tensor(candidates), torch.tensor(starts), torch.tensor(budgets), torch.tensor(order), slots=slots
    )
    assert positions.shape == used.shape == (len(budgets), slots)
    assert not positions[~used].any()
    return [row[flags].tolist() for row, flags in zip(positions, used, strict=True)]


@pytest.mark.parametrize(("length", "slots", "continues"), [(40, 7, 0.3), (64, 32, 0.7), (128, 19, 0.9), (20, 1, 0.5)])
def test_rows_are_those_of_the_slow_rule(length: int, slots: int, continues: float) -> None:
    dice = random.Random(length)
    candidates, starts, budgets, order = [], [], [], []
    for _ in range(300):
        end = dice.randint(1, length)
        candidates.append([place < end and dice.random() > 0.1 for place in range(length)])
        starts.append([dice.random() > continues for _ in range(length)])
        budgets.append(dice.randint(1, slots))
        order.append([dice.randint(-(2**63), 2**63 - 1) for _ in range(length)])
    found = drawn(candidates, starts, budgets, order, slots)
    expected = [slowly(words_of(*row[:2]), *row[2:]) for row in zip(candidates, starts, budgets, order, strict=True)]
    assert found == expected
    assert any(len(row) < budget for row, budget in zip(found, budgets, strict=True)) or slots == 1


@pytest.mark.parametrize("largest", [5, 12, 14])
def test_as_many_words_as_possible_are_passed_over_one_by_one(largest: int) -> None:
    """One token, a word too large by one, one token, …: the order that needs most rounds."""
    sizes = [size for too_large in range(largest, 1, -1) for size in (1, too_large)] + [1]
    starts = [offset == 0 for size in sizes for offset in range(size)]
    order = [number for number, size in enumerate(sizes) for _ in range(size)]
    words = words_of([True] * len(starts), starts)
    expected = slowly(words, largest, order)
    assert len(expected) == largest and {len(word) for word in words if word[0] in expected} == {1}
    assert drawn([[True] * len(starts)], [starts], [largest], [order], largest) == [expected]


# Ids of a small vocabulary: 5 … 34 begin a word, 35 … 60 continue one.
TOKENS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *(f"w{i}" for i in range(29)),
    "##",
    *(f"##p{i}" for i in range(26)),
]
CONTINUES_V = torch.tensor(TokenizerParts(tokens=tuple(TOKENS)).continues_word())


def pieces(count: int, width: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in which four of ten tokens continue a word, also behind [CLS] and [SEP]: ids_BL, lengths_B."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 34, (count, width), generator=generator)
    ids = torch.where(torch.rand(ids.shape, generator=generator) < 0.4, ids + 27, ids).clamp(max=60)
    ids[torch.rand(ids.shape, generator=generator) < 0.05] = UNK
    lengths = torch.randint(4, width + 1, (count,), generator=generator)
    ids[:, 0] = CLS
    ids[torch.arange(count), lengths // 2] = SEP
    ids[torch.arange(count), lengths - 1] = SEP
    ids[torch.arange(width)[None, :] >= lengths[:, None]] = PAD
    return ids, lengths


@pytest.mark.parametrize("given", [False, True], ids=["by prefix", "given"])
def test_words_are_hidden_whole_or_not_within_the_budget_and_as_many_as_fit(given: bool) -> None:
    ids, lengths = pieces(400, 60, seed=1)
    generator = torch.Generator().manual_seed(2)
    starts = torch.rand(ids.shape, generator=generator) < 0.5
    rule = MaskingRule(0.25, 1.0, SPECIAL, MASK, whole_words=True, continues_V=CONTINUES_V)
    index = torch.arange(len(ids))
    masks = draw_masks(
        ids,
        lengths,
        rule=rule,
        seed=3,
        epoch_B=torch.zeros_like(index),
        sample_B=index,
        word_start_BL=starts if given else None,
    )
    assert masks.positions_BP.shape == (400, 15)
    for row in range(len(ids)):
        tokens = [TOKENS[i] for i in ids[row].tolist()]
        candidates = [token not in ("[PAD]", "[CLS]", "[SEP]", "[MASK]") for token in tokens]
        begins = starts[row].tolist() if given else [not token.startswith("##p") for token in tokens]
        chosen = masks.positions_BP[row][masks.used_BP[row]].tolist()
        assert masks.masked_BL[row].eq(MASK).nonzero()[:, 0].tolist() == chosen
        budget = min(15, max(1, round(0.25 * int(lengths[row]))))
        room = budget - len(chosen)
        assert room >= 0
        words = words_of(candidates, begins)
        for word in words:
            assert set(word) <= set(chosen) or (not set(word) & set(chosen) and len(word) > room)
        assert set(chosen) <= {place for word in words for place in word}


def test_words_of_one_size_are_equally_likely() -> None:
    from scipy.stats import chisquare

    count, width = 20_000, 20
    candidates = torch.ones(count, width, dtype=torch.bool)
    candidates[:, [0, 19]] = False
    starts = torch.zeros_like(candidates)
    starts[:, 1::2] = True
    bits = torch.randint(-(2**63), 2**63 - 1, (count, width), generator=torch.Generator().manual_seed(5))
    positions, used = draw_whole_words(candidates, starts, torch.full((count,), 5), bits, slots=6)
    assert set(used.sum(1).tolist()) == {4}, "two words of two tokens; half a word is not taken"
    counts = Counter(positions[used].tolist())
    assert [counts[place] for place in range(1, 19, 2)] == [counts[place] for place in range(2, 19, 2)]
    assert chisquare([counts[place] for place in range(1, 19, 2)]).pvalue > 0.001


def test_single_tokens_are_drawn_like_tokens() -> None:
    """Where every token is a word, whole words are the plain draw: the same positions from the same bits."""
    ids, lengths = pieces(200, 60, seed=4)
    index = torch.arange(len(ids))
    nothing = torch.zeros(len(TOKENS), dtype=torch.bool)
    found = []
    for rule in (
        MaskingRule(0.15, 1.0, SPECIAL, MASK),
        MaskingRule(0.15, 1.0, SPECIAL, MASK, whole_words=True, continues_V=nothing),
    ):
        masks = draw_masks(ids, lengths, rule=rule, seed=3, epoch_B=torch.zeros_like(index), sample_B=index)
        found.append(masks.masked_BL)
    assert torch.equal(*found)


def test_a_row_of_one_word_larger_than_the_budget_is_left_alone() -> None:
    assert drawn([[False] + [True] * 9], [[True] + [False] * 9], [4], [list(range(10))], 5) == [[]]
