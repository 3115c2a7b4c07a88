"""Texts as batches of token ids.

Shapes: B rows in a batch, L tokens in a row, N rows of a data set, T tokens of a data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from electra_cli.tasks.task import Examples

WINDOW = 64  # batches whose rows are sorted by length together: little padding, and still a shuffled order
ROUND = 8  # row lengths are multiples of this, so that few different shapes occur
ENCODE_AT_ONCE = 4096  # texts handed to the tokenizer in one call; bounds its memory


class PairEncoder(Protocol):
    """The one method that features need from `text.tokenizer.Tokenizer`."""

    def encode_pairs(
        self, first: Sequence[str], second: Sequence[str] | None, /, *, max_length: int
    ) -> Sequence[tuple[np.ndarray, int]]:
        """Ids `[CLS] a [SEP] (b [SEP])` of each row, and how many of them belong to the first segment."""


@dataclass(frozen=True)
class Features:
    """A data set as token ids, one row after the other.

    Attributes:
        ids_T: token ids of all rows, special tokens included.
        start_N: where each row begins in `ids_T`.
        lengths_N: tokens of each row.
        first_N: tokens of each row's first segment, `[CLS]` and its `[SEP]` included.
        targets_N: label ids (int64), scaled targets (float32), or None.
    """

    ids_T: np.ndarray
    start_N: np.ndarray
    lengths_N: np.ndarray
    first_N: np.ndarray
    targets_N: np.ndarray | None

    def __len__(self) -> int:
        """N."""
        return len(self.lengths_N)


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length.

    Attributes:
        ids_BL: int64, padded with the pad id.
        types_BL: int64, 1 on the second segment.
        lengths_B: int64, tokens of each row without padding.
        targets_B: as in `Features`, or None.
        rows_B: int64, where each row stands in the data set.
    """

    ids_BL: np.ndarray
    types_BL: np.ndarray
    lengths_B: np.ndarray
    targets_B: np.ndarray | None
    rows_B: np.ndarray


def encode(tokenizer: PairEncoder, examples: Examples, targets_N: np.ndarray | None, *, max_length: int) -> Features:
    """The texts of `examples` as token ids, at most `max_length` in a row (electra.md §6.2 for the cutting)."""
    ids: list[np.ndarray] = []
    first: list[int] = []
    for start in range(0, len(examples), ENCODE_AT_ONCE):
        part = slice(start, start + ENCODE_AT_ONCE)
        pairs = None if examples.pairs is None else examples.pairs[part]
        for row_ids, row_first in tokenizer.encode_pairs(examples.texts[part], pairs, max_length=max_length):
            ids.append(np.asarray(row_ids, dtype=np.int32))
            first.append(row_first)
    lengths_N = np.array([len(row) for row in ids], dtype=np.int64)
    return Features(
        ids_T=np.concatenate(ids) if ids else np.empty(0, dtype=np.int32),
        start_N=np.cumsum(lengths_N) - lengths_N,
        lengths_N=lengths_N,
        first_N=np.array(first, dtype=np.int64),
        targets_N=targets_N,
    )


def training_order(lengths_N: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The rows of each batch of one epoch: every row once, rows of like length together, all in a shuffled order.

    The rows are shuffled, cut into windows of `WINDOW` batches, sorted by length inside each window and cut into
    batches, and the batches are shuffled. A pure function of its arguments: nothing is remembered between epochs. The
    last batch of the last window may be smaller than the others.
    """
    shuffled_N = _permutation(len(lengths_N), seed=seed, epoch=epoch, stream=0)
    batches: list[np.ndarray] = []
    for start in range(0, len(shuffled_N), WINDOW * batch_size):
        window = shuffled_N[start : start + WINDOW * batch_size]
        window = window[np.argsort(lengths_N[window], kind="stable")]
        batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    return [batches[at] for at in _permutation(len(batches), seed=seed, epoch=epoch, stream=1)]


def sorted_order(lengths_N: np.ndarray, *, batch_size: int) -> list[np.ndarray]:
    """The rows of each batch for evaluation: longest first, so that memory runs out at the start or not at all."""
    order_N = np.argsort(-lengths_N, kind="stable")
    return [order_N[at : at + batch_size] for at in range(0, len(order_N), batch_size)]


def batches(features: Features, order: Sequence[np.ndarray], *, pad_id: int, max_length: int) -> Iterator[Batch]:
    """Yields the batches that `order` lists, each as long as its longest row, rounded up to a multiple of `ROUND`.

    No row gets longer than `max_length` by the rounding, since the model may have no positions there.
    """
    for rows_B in order:
        lengths_B = features.lengths_N[rows_B]
        longest = int(lengths_B.max())
        width = max(longest, min(-(-longest // ROUND) * ROUND, max_length))
        column_L = np.arange(width)
        inside_BL = column_L < lengths_B[:, None]
        ids_BL = np.full((len(rows_B), width), pad_id, dtype=np.int64)
        ids_BL[inside_BL] = features.ids_T[(features.start_N[rows_B][:, None] + column_L)[inside_BL]]
        types_BL = (inside_BL & (column_L >= features.first_N[rows_B][:, None])).astype(np.int64)
        targets_B = None if features.targets_N is None else features.targets_N[rows_B]
        yield Batch(ids_BL, types_BL, lengths_B, targets_B, rows_B)


def _permutation(count: int, *, seed: int, epoch: int, stream: int) -> np.ndarray:
    """A permutation of `range(count)`: sorted by a hash, so that no library version can change it."""
    key = _mix(np.array([seed & (2**64 - 1)], dtype=np.uint64))
    key = _mix(key ^ np.uint64(2 * epoch + stream))
    return np.argsort(_mix(np.arange(count, dtype=np.uint64) ^ key), kind="stable")


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's output function (Steele et al. 2014), element by element."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
