"""A hash table from short byte strings to numbers whose every operation is a few numpy calls for all of them.

A string of up to 32 bytes is a column of one to four 64-bit lanes, filled up with 0xFF, which no UTF-8 text holds. So
equal columns are equal strings and nothing else: the hash only says where to look.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Lanes = npt.NDArray[np.uint64]
Values = npt.NDArray[np.int64]

LANE = 8
"""Bytes a lane holds."""
MISSING = -1
"""The value of a string that is not in the table."""

_EMPTY = np.uint64(2**64 - 1)  # the lane of a string without bytes, which is never asked for
_PROBES = 8  # places that a string may be in; one that finds all of them taken is not kept
_ROOM = 2  # slots for each string, at least
_SMALLEST = 14  # log2 of the slots of a new table
# Odd, one a lane, so that the same bytes in another lane hash differently; their bits are those of the golden ratio,
# of the square roots of 2 and 3, and of pi.
_FACTORS = tuple(
    np.uint64(factor) for factor in (0x9E3779B97F4A7C15, 0xB504F333F9DE6485, 0xBB67AE8584CAA73B, 0x3243F6A8885A308D)
)


class WordTable:
    """Values, none of them negative, of strings that take exactly `lanes` lanes.

    Attributes:
        lanes: from 1 to 4.
        size: strings held.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.size = 0
        self._make(_SMALLEST)

    def find(self, columns: Lanes, eligible: npt.NDArray[np.bool_] | None = None) -> Values:
        """Return the value of each string, `MISSING` where the table does not hold it.

        Args:
            columns: (lanes, strings).
            eligible: which of the strings may be in this table; what is returned for others means nothing.
        """
        place = self._place(columns)
        found = self._values.take(place)
        left = np.flatnonzero(~self._same(columns, place))
        there = found[left]
        found[left] = MISSING
        # An empty slot ends the search, one that another string has taken does not.
        more = there != MISSING if eligible is None else (there != MISSING) & eligible[left]
        left = left[more]
        place = place[left]
        columns = columns[:, left]
        for _ in range(_PROBES - 1):
            if not len(left):
                break
            place = (place + 1) & self._mask
            there = self._values.take(place)
            same = self._same(columns, place)
            found[left[same]] = there[same]
            more = ~same & (there != MISSING)
            left, place, columns = left[more], place[more], columns[:, more]
        return found

    def add(self, columns: Lanes, values: Values) -> None:
        """Keep strings that are not in the table, each once; the lower its value, the sooner it will be found."""
        count = columns.shape[1]
        if _ROOM * (self.size + count) > len(self._values):
            self._grow(_ROOM * (self.size + count))
        self._insert(columns, values)

    def _insert(self, columns: Lanes, values: Values) -> None:
        # Of several that want one slot the last written has it, which reading back tells. Low values go last: they are
        # those of strings that came early, which are the frequent ones.
        left = np.argsort(-values, kind="stable")
        place = self._place(columns)[left]
        for _ in range(_PROBES):
            free = np.flatnonzero(self._values[place] == MISSING)
            self._values[place[free]] = free
            won = free[self._values[place[free]] == free]
            for lane in range(self.lanes):
                self._keys[lane, place[won]] = columns[lane, left[won]]
            self._values[place[won]] = values[left[won]]
            self.size += len(won)
            lost = np.ones(len(left), dtype=np.bool_)
            lost[won] = False
            left, place = left[lost], (place[lost] + 1) & self._mask
            if not len(left):
                return

    def _grow(self, slots: int) -> None:
        taken = np.flatnonzero(self._values != MISSING)
        keys, values = self._keys[:, taken], self._values[taken]
        self._make((slots - 1).bit_length())
        self.size = 0
        self._insert(keys, values)

    def _make(self, bits: int) -> None:
        self._keys = np.full((self.lanes, 1 << bits), _EMPTY, dtype=np.uint64)
        self._values = np.full(1 << bits, MISSING, dtype=np.int64)
        self._mask = (1 << bits) - 1
        self._shift = np.uint64(64 - bits)

    def _place(self, columns: Lanes) -> npt.NDArray[np.int64]:
        mixed = columns[0] * _FACTORS[0]
        for lane in range(1, self.lanes):
            mixed ^= mixed >> np.uint64(32)
            mixed += columns[lane] * _FACTORS[lane]
        mixed >>= self._shift
        place: npt.NDArray[np.int64] = mixed.view(np.int64)
        return place

    def _same(self, columns: Lanes, place: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        same: npt.NDArray[np.bool_] = self._keys[0].take(place) == columns[0]
        for lane in range(1, self.lanes):
            same &= self._keys[lane].take(place) == columns[lane]
        return same
