"""Counting the distinct chunks of a corpus, cut only where BERT's pre-tokenizer cuts anyway.

Memory grows with the number of distinct chunks, not with the text. Characters that are always words of their own
(punctuation; CJK ideographs) are counted one by one and taken out of the text first: Chinese has no white space, and
whole sentences of it would each be a distinct chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from electra_cli.text.boundaries import CONTROLS, SEPARATORS, CutRule, standing_alone

_BLOCK = 4_000_000  # characters counted at once: a distinct chunk costs a step of Python once a block
_SPACE = 0x20
_KEEP, _DELETE, _CUT, _ALONE = range(4)


class ChunkCounter:
    """Counts of distinct chunks, fed line by line.

    Args:
        rule: where the tokenizer ends words.
    """

    def __init__(self, *, rule: CutRule) -> None:
        self._counts: Counter[str] = Counter()
        self._class_of = _classes(rule)
        self._alone = np.zeros(len(self._class_of), dtype=np.int64)
        # Lines of ASCII, which most are in many languages, need a fourth of the memory traffic: kept apart.
        self._ascii: list[str] = []
        self._wide: list[str] = []
        self._held = 0
        kinds = self._class_of[:128]
        self._to_spaces = bytes(_SPACE if kind >= _CUT else point for point, kind in enumerate(kinds)) + bytes(128)
        self._deleted = bytes(np.flatnonzero(kinds == _DELETE).tolist())

    def add(self, lines: Iterable[str]) -> None:
        """Count the chunks of `lines`."""
        for line in lines:
            (self._ascii if line.isascii() else self._wide).append(line)
            self._held += len(line)
            if self._held >= _BLOCK:
                self._flush()

    def total(self) -> dict[str, int]:
        """Return the counts of everything added so far."""
        self._flush()
        counts = dict(self._counts)
        for point in np.flatnonzero(self._alone).tolist():
            counts[chr(point)] = counts.get(chr(point), 0) + int(self._alone[point])
        return counts

    def _flush(self) -> None:
        # A line end is a separator like any other.
        if self._ascii:
            self._count(self._without_alone_ascii("\n".join(self._ascii)))
        if self._wide:
            self._count(self._without_alone("\n".join(self._wide)))
        self._ascii, self._wide, self._held = [], [], 0

    def _count(self, text: str) -> None:
        found = pc.value_counts(pc.utf8_split_whitespace(pa.array([text], pa.large_string())).values)
        for chunk, count in zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True):
            self._counts[chunk] += count
        self._counts.pop("", None)

    def _without_alone(self, text: str) -> str:
        """Count the characters that stand alone; return the rest with only spaces between chunks."""
        points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        kinds = self._class_of[points]
        self._alone += np.bincount(points[kinds == _ALONE], minlength=len(self._alone))
        points = np.where(kinds >= _CUT, np.uint32(_SPACE), points)
        if (kinds == _DELETE).any():
            points = points[kinds != _DELETE]
        return points.tobytes().decode("utf-32-le")

    def _without_alone_ascii(self, text: str) -> str:
        """Do the same for ASCII."""
        data = text.encode("ascii")
        found = np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=128)
        self._alone[:128] += np.where(self._class_of[:128] == _ALONE, found, 0)
        return data.translate(self._to_spaces, self._deleted).decode("ascii")


def _classes(rule: CutRule) -> npt.NDArray[np.uint8]:
    classes = np.full(0x110000, _KEEP, dtype=np.uint8)
    for ranges, kind in ((CONTROLS, _DELETE), (SEPARATORS, _CUT), (standing_alone(rule), _ALONE)):
        for first, last in ranges:
            classes[first : last + 1] = kind
    return classes
