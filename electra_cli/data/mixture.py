"""Rows of several corpora in one order: which row, of which part, stands at each position of a run.

The order is cut into blocks of 1,024 positions. How many of a block's rows are of which part follows from the weights
by Webster's method of apportionment over all rows up to the block's end less those up to its beginning: it never takes
back what it gave, so that any block is found without those before it, and over a run each part gets its share to within
a few rows. Within a block the parts are shuffled; each part's own rows come in the order that a run over them alone
would see, epoch by epoch. So a position is all that has to be remembered, whoever asks and whatever was asked before.

Letters: B positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from electra_cli.data.order import sample_index
from electra_cli.runtime.counters import key

Ids = npt.NDArray[np.int64]

BLOCK = 1024  # positions in which each part has its exact number of rows
SPAN = 32 * BLOCK  # positions that are looked up at once, at most: a call has a cost, whatever it is asked for
UNITS = 2**32  # weights are multiples of one of so many shares

PART, SHUFFLE = 13, 14  # purposes of draws, part of their keys


def mixture_weights(
    part_rows: Sequence[int], *, weights: Sequence[float] | None = None, temperature: float = 1.0
) -> tuple[int, ...]:
    """Return how the parts are weighted, as whole numbers (of about 2^32 in all), the same on every machine.

    Args:
        part_rows: rows of each part.
        weights: of each part, beside each other; None: proportional to rows^(1 / temperature).
        temperature: 1 leaves the parts as large as they are; above it small ones get more (XLM-R's alpha is 1 / T).
    """
    with localcontext(prec=40):  # powers of floats are not the same everywhere
        if weights is not None:
            wanted = [Decimal(weight) for weight in weights]
        else:
            wanted = [Decimal(rows) ** (1 / Decimal(temperature)) for rows in part_rows]
        return tuple(max(1, round(weight / sum(wanted) * UNITS)) for weight in wanted)


def apportion(weights: Sequence[int], total: int) -> tuple[int, ...]:
    """Share `total` rows among parts by Webster's method: those of a larger total are never fewer for any part."""
    whole = sum(weights)
    counts = [
        (2 * total * weight + whole) // (2 * whole) for weight in weights
    ]  # rounded shares, a few too many or few
    parts = range(len(weights))
    while (missing := total - sum(counts)) > 0:
        counts[min(parts, key=lambda part: (Fraction(2 * counts[part] + 1, weights[part]), part))] += 1
    for _ in range(-missing):
        counts[max(parts, key=lambda part: (Fraction(2 * counts[part] - 1, weights[part]), part))] -= 1
    return tuple(counts)


class RowOrder:
    """The endless order of the rows of one or several parts, numbered through from the first part's on.

    Args:
        seed: of the run. A single part has the order of `sample_index` under it, epoch after epoch.
        part_rows: rows of each part.
        weights: of each part, from `mixture_weights`; by default in proportion to the rows.
    """

    def __init__(self, seed: int, part_rows: Sequence[int], *, weights: Sequence[int] | None = None) -> None:
        self.part_rows = tuple(part_rows)
        self.weights = tuple(weights) if weights is not None else mixture_weights(part_rows)
        self._starts = tuple(accumulate(self.part_rows, initial=0))[:-1]
        # The first part is drawn by the run's seed itself, as if it were alone.
        self._seeds = [seed if part == 0 else abs(key(seed, PART, part)) for part in range(len(self.part_rows))]
        self._shuffle = abs(key(seed, SHUFFLE))
        needed = min(SPAN, 1 << max(0, sum(self.part_rows) - 1).bit_length())
        self._span = needed if len(self.part_rows) == 1 else max(BLOCK, needed)
        self._kept: dict[int, tuple[Ids, Ids]] = {}

    def rows(self, start: int, size: int) -> tuple[Ids, Ids]:
        """Return the `size` rows from position `start` on: their numbers, and the epoch of its part that each is in."""
        spans = range(start // self._span, (start + size - 1) // self._span + 1)
        kept = self._kept
        found = {span: kept[span] if span in kept else self._look_up(span) for span in spans}
        self._kept = found
        if len(found) == 1:
            index_B, epoch_B = found[spans[0]]
        else:
            index_B, epoch_B = (np.concatenate([pair[which] for pair in found.values()]) for which in (0, 1))
        first = start - spans[0] * self._span
        return index_B[first : first + size], epoch_B[first : first + size]

    def taken(self, position: int) -> tuple[int, ...]:
        """Return how many rows of each part stand before `position`."""
        if len(self.part_rows) == 1:
            return (position,)
        block, within = divmod(position, BLOCK)
        part_B, _ = self._block(block)
        counts = np.bincount(part_B[:within], minlength=len(self.part_rows))
        return tuple(int(n) for n in apportion(self.weights, block * BLOCK) + counts)

    def _look_up(self, span: int) -> tuple[Ids, Ids]:
        first = span * self._span
        if len(self.part_rows) == 1:
            return self._of_part(0, np.arange(first, first + self._span, dtype=np.int64))
        blocks = [self._block(first // BLOCK + number) for number in range(self._span // BLOCK)]
        part_B, place_B = (np.concatenate([pair[which] for pair in blocks]) for which in (0, 1))
        index_B, epoch_B = np.empty_like(place_B), np.empty_like(place_B)
        for part in range(len(self.part_rows)):
            here = np.flatnonzero(part_B == part)
            index_B[here], epoch_B[here] = self._of_part(part, place_B[here])
        return index_B, epoch_B

    def _of_part(self, part: int, place_B: Ids) -> tuple[Ids, Ids]:
        """The rows at these places of a part's own endless order, and their epochs."""
        rows = self.part_rows[part]
        epoch_B, within_B = np.divmod(place_B, rows)
        index_B = np.empty_like(place_B)
        for epoch in np.unique(epoch_B).tolist():
            here = epoch_B == epoch
            index_B[here] = sample_index(self._seeds[part], epoch, within_B[here], rows=rows)
        return index_B + self._starts[part], epoch_B

    def _block(self, block: int) -> tuple[Ids, Ids]:
        """Which part each position of a block is of, and the place in the part's own order."""
        before, after = (np.array(apportion(self.weights, (block + n) * BLOCK)) for n in (0, 1))
        ends = np.cumsum(after - before)
        slot_B = sample_index(self._shuffle, block, np.arange(BLOCK), rows=BLOCK)
        part_B = np.searchsorted(ends, slot_B, side="right")
        # Slots from ends[part - 1] on are the part's, the first of them its next row.
        return part_B, slot_B + (after - ends)[part_B]
