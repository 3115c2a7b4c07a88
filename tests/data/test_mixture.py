"""The order of mixtures: exact proportions, permutations of each part, and a position that is all one has to know."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.data.mixture import BLOCK, SPAN, UNITS, RowOrder, apportion, mixture_weights
from electra_cli.data.order import rank_slice, sample_index

sizes = st.lists(st.integers(50, 4000), min_size=2, max_size=5)
weights = st.lists(st.floats(1e-3, 1e3), min_size=5, max_size=5)


def part_of(order: RowOrder, index: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.cumsum(order.part_rows), index, side="right")


def test_one_part_has_the_order_that_it_always_had() -> None:
    """Recorded before there were mixtures; a change would alter every run that is continued."""
    index, epoch = RowOrder(5, [37]).rows(30, 20)
    assert index.tolist() == [29, 24, 4, 28, 0, 16, 31, 17, 27, 1, 20, 35, 29, 26, 10, 6, 13, 19, 9, 31]
    assert epoch.tolist() == [0] * 7 + [1] * 13


@given(st.integers(1, 200_000), st.integers(0, 2**62), st.integers(0, 10**7), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_one_part_is_epoch_after_epoch_of_the_permutation(rows: int, seed: int, start: int, size: int) -> None:
    index, epoch = RowOrder(seed, [rows]).rows(start, size)
    for number, (row, during) in enumerate(zip(index.tolist(), epoch.tolist(), strict=True), start):
        assert during == number // rows
        assert row == sample_index(seed, during, np.array([number % rows]), rows=rows)[0]


@given(sizes, weights, st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_each_part_is_epoch_after_epoch_of_permutations(rows: list[int], shares: list[float], seed: int) -> None:
    order = RowOrder(seed, rows, weights=mixture_weights(rows, weights=shares[: len(rows)]))
    total = 4 * BLOCK
    index, epoch = order.rows(0, total)
    part = part_of(order, index)
    for number, count in enumerate(rows):
        mine, during = index[part == number] - sum(rows[:number]), epoch[part == number]
        assert len(mine) == order.taken(total)[number]
        whole = len(mine) // count
        assert (np.bincount(during, minlength=whole)[:whole] == count).all()
        for n in range(min(whole, 3)):
            assert (np.sort(mine[during == n]) == np.arange(count)).all()
        last = mine[during == whole]
        assert len(set(last.tolist())) == len(last)


@given(sizes, weights, st.integers(0, 10**12))
@settings(max_examples=100, deadline=None)
def test_proportions_are_exact_to_a_few_rows(rows: list[int], shares: list[float], total: int) -> None:
    found = mixture_weights(rows, weights=shares[: len(rows)])
    counts = apportion(found, total)
    assert sum(counts) == total and min(counts) >= 0
    for weight, count in zip(found, counts, strict=True):
        assert abs(count - Fraction(weight * total, sum(found))) < len(rows)
    more = apportion(found, total + BLOCK)
    assert all(after >= before for before, after in zip(counts, more, strict=True))


def test_shares_of_a_long_run_are_the_weights() -> None:
    order = RowOrder(1, [10**9, 10**7, 10**5], weights=mixture_weights([1, 1, 1], weights=[0.7, 0.29, 0.01]))
    position = 10**10 + 123
    taken = order.taken(position)
    assert sum(taken) == position
    assert [count / position for count in taken] == pytest.approx([0.7, 0.29, 0.01], abs=1e-8)


@given(st.integers(0, 5 * SPAN), st.integers(1, 700))
@settings(max_examples=30, deadline=None)
def test_any_stretch_is_part_of_the_whole(start: int, size: int) -> None:
    """Asked for alone, or after others: there is nothing to remember."""
    rows = [40_000, 900]
    fresh, used = (RowOrder(3, rows, weights=mixture_weights(rows, temperature=2)) for _ in range(2))
    used.rows(7, 2000)
    pieces = [used.rows(start + at, min(64, size - at)) for at in range(0, size, 64)]
    index, epoch = fresh.rows(start, size)
    assert (np.concatenate([piece[0] for piece in pieces]) == index).all()
    assert (np.concatenate([piece[1] for piece in pieces]) == epoch).all()
    before, after = fresh.taken(start), fresh.taken(start + size)
    parts = np.bincount(part_of(fresh, index), minlength=2)
    assert tuple(parts.tolist()) == tuple(b - a for a, b in zip(before, after, strict=True))


def test_the_order_of_a_mixture_is_pinned() -> None:
    index, epoch = RowOrder(1, [10, 7], weights=mixture_weights([10, 7], weights=[1, 3])).rows(1020, 12)
    assert (index.tolist(), epoch.tolist()) == PINNED


PINNED = ([16, 8, 7, 10, 12, 15, 12, 15, 10, 12, 16, 5], [32, 11, 21, 55, 185, 164, 123, 154, 204, 133, 207, 25])


def test_parts_are_shuffled_within_a_block_and_not_from_block_to_block_alike() -> None:
    order = RowOrder(2, [10**6, 10**6])
    parts = part_of(order, order.rows(0, 40 * BLOCK)[0]).reshape(40, BLOCK)
    assert (parts.sum(1) == BLOCK // 2).all()
    assert len({row.tobytes() for row in parts}) == 40
    assert abs(np.corrcoef(parts[:, :-1].ravel(), parts[:, 1:].ravel())[0, 1]) < 0.03


def test_the_first_part_is_drawn_as_if_alone_and_no_two_parts_alike() -> None:
    order = RowOrder(4, [500, 500, 500])
    index, _ = order.rows(0, BLOCK)
    part = part_of(order, index)
    seen = [set((index[part == number] - 500 * number).tolist()) for number in range(3)]
    counts = [len(rows) for rows in seen]
    assert seen[0] == set(sample_index(4, 0, np.arange(counts[0]), rows=500).tolist())
    assert min(counts) > 300 and max(counts) < 360
    assert len(seen[0] & seen[1]) < 300 and len(seen[1] & seen[2]) < 300  # 233 are expected of independent draws


class TestWeights:
    def test_by_default_parts_stay_as_large_as_they_are(self) -> None:
        assert mixture_weights([300, 100]) == (3 * UNITS // 4, UNITS // 4)
        assert mixture_weights([17]) == (UNITS,)

    def test_given_weights_are_beside_each_other(self) -> None:
        assert mixture_weights([1, 99], weights=[7, 3]) == mixture_weights([99, 1], weights=[0.7, 0.3])

    def test_temperature_flattens(self) -> None:
        found = mixture_weights([10_000, 100], temperature=2)  # the roots, 100 and 10
        assert found[0] / sum(found) == pytest.approx(100 / 110, abs=1e-9)
        flat = mixture_weights([10_000, 100], temperature=100)
        assert flat[0] / sum(flat) == pytest.approx(0.5, abs=0.02)

    def test_no_part_is_without_weight(self) -> None:
        assert min(mixture_weights([10**12, 1])) == 1


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 7, 8, 128])
def test_ranks_take_every_position_once(size: int, world: int) -> None:
    slices = [rank_slice(1000, size, rank=rank, world=world) for rank in range(world)]
    covered = [position for start, count in slices for position in range(start, start + count)]
    assert covered == list(range(1000, 1000 + size))
    assert max(count for _, count in slices) - min(count for _, count in slices) <= 1
