from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.data.order import sample_index


@given(st.integers(1, 3000), st.integers(0, 2**63), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_every_epoch_is_a_permutation(rows, seed, epoch):
    order = sample_index(seed, epoch, np.arange(rows), rows=rows)
    assert sorted(order.tolist()) == list(range(rows))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 255, 256, 257, 100_000, 1_000_003])
def test_sizes_around_powers_are_permutations(rows):
    assert (np.bincount(sample_index(3, 1, np.arange(rows), rows=rows), minlength=rows) == 1).all()


def test_any_part_in_any_shape_gives_the_same_rows():
    whole = sample_index(5, 2, np.arange(1000), rows=1000)
    assert (sample_index(5, 2, np.array([[7, 999], [0, 7]]), rows=1000) == whole[[[7, 999], [0, 7]]]).all()
    assert sample_index(5, 2, np.array([], dtype=np.int64), rows=1000).shape == (0,)


def test_huge_ranges_cost_no_memory():
    rows = 10**15
    positions = np.array([0, 1, rows - 1])
    found = sample_index(0, 0, positions, rows=rows)
    assert len(set(found.tolist())) == 3
    assert found.min() >= 0 and found.max() < rows


def test_epochs_and_seeds_differ():
    orders = {tuple(sample_index(seed, epoch, np.arange(50), rows=50)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_the_order_is_pinned():
    # A change here would silently alter every resumed run.
    assert sample_index(1, 0, np.arange(10), rows=10).tolist() == PINNED


PINNED = [9, 0, 6, 8, 5, 7, 2, 3, 4, 1]


@pytest.mark.parametrize("rows", [5, 6, 37])
def test_each_row_comes_to_each_place_equally_often(rows):
    epochs = 1500
    first = np.array([sample_index(11, epoch, np.arange(rows), rows=rows) for epoch in range(epochs)])
    for place in (0, rows // 2, rows - 1):
        counts = Counter(first[:, place].tolist())
        expected = epochs / rows
        chi_square = sum((counts[row] - expected) ** 2 / expected for row in range(rows))
        # Degrees of freedom rows - 1; mean plus six standard deviations.
        assert chi_square < rows - 1 + 6 * (2 * (rows - 1)) ** 0.5


def test_neighbours_are_scattered():
    order = sample_index(2, 0, np.arange(100_000), rows=100_000)
    assert abs(np.corrcoef(np.arange(100_000), order)[0, 1]) < 0.02
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02


def test_positions_outside_are_refused():
    for position in ([10], [-1]):
        with pytest.raises(ValueError, match="0 to 9"):
            sample_index(0, 0, np.array(position), rows=10)
    with pytest.raises(ValueError, match="no rows"):
        sample_index(0, 0, np.array([], dtype=np.int64), rows=0)
