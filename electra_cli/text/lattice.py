"""All ways to cut words into pieces, and the cheapest of them, for very many words at once and in whole numbers.

Costs are integers, so that sums do not depend on their order: the same words and costs give the same cut on any
machine, with any number of threads. Ties go to the cut whose last piece is longest, then the piece before it, and so
on.

Shapes: W words, P places (before, between and after the characters of each word), E edges, T pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
_Small = npt.NDArray[np.int32]

LONGEST_PIECE = 16
ENDLESS = 2**56
"""The cost of what no cut leads to, or more."""
_LENGTH_BITS = 5  # behind a cost: how much shorter than the longest the last piece is
_POINT_BITS = 21  # of a code point
_AFTER = "\0"  # the place behind a word's last character; words hold none


class Lattice:
    """The edges of words: where which piece stands.

    Args:
        words: not empty.
        pieces: distinct, of 1 to 16 characters.
        whole: whether a piece may be a whole word. Without, a cut says what would be if a piece were not there.
    """

    def __init__(self, words: Sequence[str], pieces: Sequence[str], *, whole: bool = True) -> None:
        text = _AFTER.join(words) + _AFTER
        points_P = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        self._after_W = np.flatnonzero(points_P == 0)
        self._first_W = np.append(0, self._after_W[:-1] + 1)
        within_P = np.arange(len(points_P)) - np.repeat(self._first_W, self._after_W - self._first_W + 1)
        self._within_P = within_P.astype(np.int16)
        start_E, length_E, piece_E = _edges(points_P, pieces)
        if not whole:
            inside_E = (self._within_P[start_E] > 0) | (points_P[start_E + length_E] != 0)
            start_E, length_E, piece_E = start_E[inside_E], length_E[inside_E], piece_E[inside_E]
        # By how far into its word an edge ends, then by where: each step takes what the steps before it have settled.
        end_E = start_E + length_E
        order_E = np.lexsort((end_E, self._within_P[end_E])).astype(np.int32)
        del end_E
        self._start_E, self._length_E, self._piece_E = start_E[order_E], length_E[order_E], piece_E[order_E]
        self._arrange()

    def keep(self, number_T: Numbers) -> None:
        """Forget the pieces whose new number is -1, and give the others theirs."""
        piece_E = number_T[self._piece_E]
        kept_E = piece_E >= 0
        self._start_E, self._length_E = self._start_E[kept_E], self._length_E[kept_E]
        self._piece_E = piece_E[kept_E].astype(np.int32)
        self._arrange()

    def _arrange(self) -> None:
        """Find the groups of edges that end at the same place, and the groups that end as far into their words."""
        end_E = self._start_E + self._length_E
        self._group = np.flatnonzero(np.diff(end_E, prepend=-1))
        self._end = end_E[self._group]
        self._steps = [*np.flatnonzero(np.diff(self._within_P[self._end], prepend=-1)).tolist(), len(self._group)]

    def _cheapest(self, cost_T: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Return the cost of the cheapest cut up to each place, and the length and number of its last piece there."""
        cost_P = np.full(len(self._within_P), ENDLESS, dtype=np.int64)
        cost_P[self._first_W] = 0
        length_P, piece_P = np.zeros_like(cost_P), np.zeros_like(cost_P)
        bounds = np.append(self._group, len(self._start_E))
        for first, last in zip(self._steps, self._steps[1:], strict=False):
            low, high = bounds[first], bounds[last]
            length_e, piece_e = self._length_E[low:high], self._piece_E[low:high]
            key_e = (cost_P[self._start_E[low:high]] + cost_T[piece_e]) << _LENGTH_BITS
            key_e += LONGEST_PIECE - length_e
            best = np.minimum.reduceat(key_e, self._group[first:last] - low)
            wins_e = key_e == np.repeat(best, np.diff(bounds[first : last + 1]))
            end = self._end[first:last]
            cost_P[end], length_P[end], piece_P[end] = best >> _LENGTH_BITS, length_e[wins_e], piece_e[wins_e]
        return cost_P, length_P, piece_P

    def costs(self, cost_T: Numbers) -> Numbers:
        """Return the cost of the cheapest cut of each word, with pieces of these costs (0 to 2**40)."""
        return self._cheapest(cost_T)[0][self._after_W]

    def counts(self, cost_T: Numbers, count_W: Numbers) -> Numbers:
        """Return how often each piece stands in the cheapest cuts of all words, each word `count_W` times.

        A word that no cut leads through counts for nothing.
        """
        cost_P, length_P, piece_P = self._cheapest(cost_T)
        counts_T = np.zeros(len(cost_T), dtype=np.int64)
        open_W = np.flatnonzero(cost_P[self._after_W] < ENDLESS)
        place = self._after_W[open_W]
        while len(open_W):
            np.add.at(counts_T, piece_P[place], count_W[open_W])
            place = place - length_P[place]
            left = place > self._first_W[open_W]
            open_W, place = open_W[left], place[left]
        return counts_T


def _edges(points_P: npt.NDArray[np.uint32], pieces: Sequence[str]) -> tuple[_Small, npt.NDArray[np.int8], _Small]:
    """Find each piece wherever it stands: start, length and number of the piece."""
    keys, targets, ends = _trie(pieces)
    start = np.arange(len(points_P), dtype=np.int32)
    node = np.zeros(len(points_P), dtype=np.int64)
    starts, lengths, numbers = [], [], []
    for length in range(1, LONGEST_PIECE + 1):
        key = (node << _POINT_BITS) | points_P[start + (length - 1)]
        where = np.searchsorted(keys, key).clip(max=len(keys) - 1)
        known = keys[where] == key  # never past a word: no piece holds what comes after it
        start, node = start[known], targets[where[known]]
        piece = ends[node]
        here = piece >= 0
        starts.append(start[here])
        lengths.append(np.full(len(starts[-1]), length, dtype=np.int8))
        numbers.append(piece[here])
    return np.concatenate(starts), np.concatenate(lengths), np.concatenate(numbers)


def _trie(pieces: Sequence[str]) -> tuple[Numbers, Numbers, _Small]:
    """Return (node, character) as sorted keys, the node that each leads to, and which piece ends at a node, or -1."""
    size_T = np.array([len(piece) for piece in pieces], dtype=np.int64)
    first_T = size_T.cumsum() - size_T
    points = np.frombuffer("".join(pieces).encode("utf-32-le"), dtype=np.uint32)
    node_T = np.zeros(len(pieces), dtype=np.int64)
    keys: list[Numbers] = []
    ends = [np.array([-1], dtype=np.int32)]
    nodes = 1
    for length in range(1, LONGEST_PIECE + 1):
        longer = np.flatnonzero(size_T >= length)
        # Nodes of a level are numbered after those of the level before it, so that all keys together are sorted.
        found, which = np.unique(
            (node_T[longer] << _POINT_BITS) | points[first_T[longer] + length - 1], return_inverse=True
        )
        whole = size_T[longer] == length
        here = np.full(len(found), -1, dtype=np.int32)
        here[which[whole]] = longer[whole]
        node_T[longer] = nodes + which
        keys.append(found)
        ends.append(here)
        nodes += len(found)
    return np.concatenate(keys), np.arange(1, nodes), np.concatenate(ends)
