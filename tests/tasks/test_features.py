from pathlib import Path

import numpy as np
import pytest

from electra_cli.tasks.features import ROUND, batches, encode, sorted_order, training_order
from electra_cli.tasks.task import Examples


class Letters:
    """A tokenizer of single letters with [CLS] 1 and [SEP] 2, enough to see where every id ends up."""

    def encode_pairs(self, a, b, *, max_length):
        rows = []
        for at, text in enumerate(a):
            first = [1, *(ord(c) for c in text), 2]
            second = [] if b is None else [*(ord(c) for c in b[at]), 2]
            rows.append((np.array((first + second)[:max_length]), min(len(first), max_length)))
        return rows


def examples(texts, pairs=None):
    return Examples(Path("x"), range(1, len(texts) + 1), texts, pairs, None)


def test_batches_hold_each_row_padded_with_its_types_and_targets():
    features = encode(Letters(), examples(["ab", "c"], ["d", "efg"]), np.array([7, 8]), max_length=16)
    (batch,) = batches(features, [np.array([1, 0])], pad_id=0, max_length=16)
    assert batch.ids_BL.tolist() == [[1, 99, 2, 101, 102, 103, 2, 0], [1, 97, 98, 2, 100, 2, 0, 0]]
    assert batch.types_BL.tolist() == [[0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 0, 0]]
    assert batch.lengths_B.tolist() == [7, 6]
    assert batch.targets_B is not None
    assert batch.targets_B.tolist() == [8, 7]
    assert batch.rows_B.tolist() == [1, 0]


def test_padding_rounds_up_but_never_above_the_longest_allowed_row():
    features = encode(Letters(), examples(["a" * 7, "a" * 8]), None, max_length=10)
    widths = [b.ids_BL.shape[1] for b in batches(features, [np.array([0]), np.array([1])], pad_id=0, max_length=10)]
    assert widths == [10, 10]
    (wide,) = batches(features, [np.array([0])], pad_id=0, max_length=99)
    assert wide.ids_BL.shape[1] == 2 * ROUND


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 5000])
def test_an_epoch_sees_every_row_once(rows):
    lengths = np.arange(rows) % 40 + 3
    order = training_order(lengths, batch_size=32, seed=3, epoch=1)
    assert sorted(np.concatenate(order).tolist()) == list(range(rows))
    assert max(len(batch) for batch in order) <= 32
    assert len(order) == -(-rows // 32)


def test_the_order_depends_on_seed_and_epoch_and_nothing_else():
    lengths = np.arange(500) % 40
    flat = [
        np.concatenate(training_order(lengths, batch_size=8, seed=seed, epoch=epoch)).tolist()
        for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert flat[0] == flat[1]
    assert flat[0] != flat[2]
    assert flat[0] != flat[3]


def test_the_order_is_the_same_for_ever():
    order = training_order(np.ones(10, dtype=np.int64), batch_size=4, seed=0, epoch=0)
    assert [batch.tolist() for batch in order] == [[0, 9, 1, 6], [3, 5, 4, 2], [8, 7]]


def test_rows_of_like_length_share_a_batch():
    lengths = np.random.default_rng(0).integers(5, 128, 20_000)
    order = training_order(lengths, batch_size=32, seed=0, epoch=0)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in order)
    assert padded / lengths.sum() < 1.05
    first = [int(lengths[batch].mean()) for batch in order[:20]]
    assert first != sorted(first)


def test_evaluation_goes_from_long_to_short_and_keeps_every_row():
    order = sorted_order(np.array([3, 9, 5, 7]), batch_size=3)
    assert [batch.tolist() for batch in order] == [[1, 3, 2], [0]]
