"""The second phase of finding duplicates: from what was scanned to which documents are left out.

One process, bounded memory: a byte for each document, and partitions of the keys in files of which one is in memory at
a time. A document is exactly a duplicate if an earlier one has its digest. It is nearly one if its signature agrees
with an earlier document's in all bytes of some band and, over all bytes, says a similarity of at least the threshold.
"Earlier" is the order of the corpus. Bands are gone through one after another, and what was left out is not compared
any more: whatever is left out was like an earlier document that was still there. The first of a group is always kept.

Letters: N documents of the corpus; R rows of a partition's block, with what is kept of the blocks before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from electra_cli.data.dedup_scan import ScanFolder, ScanRecord, read_entries
from electra_cli.data.partitions import AT_ONCE, Partitions, Rows
from electra_cli.data.shingles import mixed
from electra_cli.data.signatures import Signatures, band_keys, bands_for, enough_alike

KEPT, EXACT, NEAR = range(3)
"""What is decided of a document."""
LEADERS = 100
"""With how many documents of the same band one is compared, the first ones that are unlike each other."""

_READ = 65_536  # entries read at once
_PAIRS = 65_536  # pairs of signatures compared at once, 128 bytes each

Verdicts = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Advance = Callable[[int], None]
Alike = Callable[[Places, Places], Mask]


class Scans:
    """The scans of all pieces as one sequence of documents.

    Attributes:
        offsets: the number of each piece's first document, and the number of all documents at the end.
    """

    def __init__(self, folder: ScanFolder, records: Sequence[ScanRecord]) -> None:
        self.folder = folder
        self.offsets: Places = np.cumsum([0, *(record.documents for record in records)], dtype=np.int64)
        self._numbers = [record.number for record in records]

    @property
    def documents(self) -> int:
        """Number of documents."""
        return int(self.offsets[-1])

    def digests(self) -> Iterator[Rows]:
        """Yield rows of a document's digest, two numbers, and its place in the corpus."""
        for places, entries in self._read():
            yield np.column_stack([entries["digest"], places.astype(np.uint64)])

    def bands(self, band: int, *, width: int, verdicts: Verdicts) -> Iterator[Rows]:
        """Yield rows of a band's key and the place of each document that has a signature and is not left out yet."""
        for places, entries in self._read():
            wanted = (verdicts[places] == KEPT) & entries["signature"].any(axis=1)
            keys = band_keys(entries["signature"][wanted], band, width=width)
            yield np.column_stack([mixed(keys), places[wanted].astype(np.uint64)])

    def signatures(self, places: Places) -> Signatures:
        """Return the signatures of documents anywhere in the corpus, given in ascending order."""
        found = np.empty((len(places), self.folder.entry["signature"].shape[0]), dtype=np.uint8)
        piece = np.searchsorted(self.offsets, places, side="right") - 1
        cuts = np.flatnonzero(np.diff(piece, prepend=-1)).tolist()
        for start, stop in zip(cuts, [*cuts[1:], len(places)], strict=True):
            number = int(piece[start])
            # Mapped for a moment: only the pages with wanted entries are read.
            entries = np.memmap(self.folder.file(self._numbers[number]), dtype=self.folder.entry, mode="r")
            found[start:stop] = entries["signature"][places[start:stop] - self.offsets[number]]
        return found

    def _read(self) -> Iterator[tuple[Places, np.ndarray]]:
        for number, start, end in zip(
            self._numbers, self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True
        ):
            place = start
            for entries in read_entries(self.folder, number, at_once=_READ):
                yield np.arange(place, place + len(entries)), entries
                place += len(entries)
            if place != end:
                raise RuntimeError(f"scan {number} has {place - start} documents, its record says {end - start}")


def passes(threshold: float | None) -> int:
    """Return how often `decide` goes through all documents: once, and once more for each band."""
    return 1 + (0 if threshold is None else bands_for(threshold)[0])


def decide(
    scans: Scans, work: Path, *, threshold: float | None, at_once: int = AT_ONCE, advance: Advance = lambda _: None
) -> Verdicts:
    """Return what is decided of each document, in the order of the corpus: (N,) of `KEPT`, `EXACT`, `NEAR`.

    Args:
        scans: of all pieces.
        work: a scratch folder, made here and removed.
        threshold: estimated similarity from which a document is nearly a duplicate; None for exact ones only.
        at_once: rows of a partition in memory; it changes nothing else.
        advance: told after each of the `passes`.
    """
    verdicts = np.full(scans.documents, KEPT, dtype=np.uint8)
    _decide_exact(scans, verdicts, Partitions(work, rows=scans.documents, columns=3, at_once=at_once))
    advance(1)
    if threshold is not None:
        bands, width = bands_for(threshold)
        needed = enough_alike(threshold)
        for band in range(bands):
            partitions = Partitions(work, rows=scans.documents, columns=2, at_once=at_once)
            partitions.fill(scans.bands(band, width=width, verdicts=verdicts))
            _decide_band(partitions, verdicts, alike=lambda one, other: _alike(scans, one, other, needed=needed))
            advance(1)
    return verdicts


def _decide_exact(scans: Scans, verdicts: Verdicts, partitions: Partitions) -> None:
    partitions.fill(scans.digests())
    for blocks in partitions:
        seen: Rows | None = None
        for block in blocks:
            rows = block if seen is None else np.concatenate([seen, block])
            # Stable: of equal digests the earliest stays in front. What was seen before is earlier than the block.
            rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
            again = np.zeros(len(rows), dtype=np.bool_)
            again[1:] = (rows[1:, :2] == rows[:-1, :2]).all(axis=1)
            verdicts[rows[again, 2].astype(np.int64)] = EXACT
            seen = rows[~again]
    partitions.remove()


def _decide_band(partitions: Partitions, verdicts: Verdicts, *, alike: Alike) -> None:
    for blocks in partitions:
        before = np.empty((0, 2), dtype=np.uint64)
        for block in blocks:
            new_R = np.repeat([False, True], [len(before), len(block)])
            rows = np.concatenate([before, block])
            order = np.argsort(rows[:, 0], kind="stable")  # so earlier documents of a key stay in front
            rows, new_R = rows[order], new_R[order]
            run_R = np.cumsum(np.diff(rows[:, 0], prepend=rows[:1, 0]) != 0)
            places_R = rows[:, 1].astype(np.int64)
            again_R = like_leaders(run_R, places_R, new_R, alike=alike)
            verdicts[places_R[again_R]] = NEAR
            rows, run_R = rows[~again_R], run_R[~again_R]
            before = rows[_ranks(run_R) < LEADERS]
    partitions.remove()


def like_leaders(run_R: Places, places_R: Places, new_R: Mask, *, alike: Alike) -> Mask:
    """Return which new documents are like an earlier one of their run that is not itself like one before it.

    Args:
        run_R: the run of each row, ascending; rows of a run have the same key and are in the order of the corpus.
        places_R: the document of each row.
        new_R: which are to be judged; the others were, and stay.
        alike: says which pairs of documents are alike.
    """
    again_R = np.zeros(len(run_R), dtype=np.bool_)
    left = _undecided(np.arange(len(run_R)), run_R, new_R)
    # In each round, of all runs at once, the first document that is left is compared with all after it.
    for _ in range(LEADERS):
        if not len(left):
            break
        first = np.diff(run_R[left], prepend=-1) != 0
        leaders = left[first][np.cumsum(first) - 1]
        judged = ~first & new_R[left]
        same = alike(places_R[leaders[judged]], places_R[left[judged]])
        again_R[left[judged][same]] = True
        left = _undecided(left[~first & ~again_R[left]], run_R, new_R)
    return again_R


def _undecided(left: Places, run_R: Places, new_R: Mask) -> Places:
    """Return the rows of runs in which something new stands behind the first."""
    if not len(left):
        return left
    first = np.diff(run_R[left], prepend=-1) != 0
    run = np.cumsum(first) - 1
    behind = np.bincount(run, weights=~first & new_R[left])
    undecided: Places = left[behind[run] > 0]
    return undecided


def _ranks(run_R: Places) -> Places:
    """Return how many rows of the same run stand before each."""
    first = np.diff(run_R, prepend=-1) != 0
    starts_R = np.flatnonzero(first)[np.cumsum(first) - 1]
    ranks_R: Places = np.arange(len(run_R)) - starts_R
    return ranks_R


def _alike(scans: Scans, one: Places, other: Places, *, needed: int) -> Mask:
    """Say which pairs of documents have signatures that agree in `needed` bytes."""
    found = np.zeros(len(one), dtype=np.bool_)
    for start in range(0, len(one), _PAIRS):
        pair = slice(start, start + _PAIRS)
        places, index = np.unique(np.concatenate([one[pair], other[pair]]), return_inverse=True)
        signatures = scans.signatures(places)
        ones, others = np.split(index, 2)
        found[pair] = (signatures[ones] == signatures[others]).sum(axis=1) >= needed
    return found
