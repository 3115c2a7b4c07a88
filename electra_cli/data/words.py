"""Counting the distinct chunks of a corpus, cut only where BERT's pre-tokenizer cuts anyway.

Memory grows with the number of distinct chunks, not with the text. Characters that are always words of their own
(punctuation; CJK ideographs) are counted one by one and taken out of the text first: Chinese has no white space, and
whole sentences of it would each be a distinct chunk.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from electra_cli.text.boundaries import CONTROLS, SEPARATORS, CutRule
from electra_cli.text.words import TOO_LONG

_BLOCK = 4_000_000  # characters counted at once: a distinct chunk costs a step of Python once a block
_ENDLESS = 100_000  # characters: the library would need gigabytes for a "word" of megabytes, which is [UNK] anyway
_SPACE = 0x20
_KEEP, _DELETE, _CUT, _ALONE = range(4)


class ChunkCounter:
    """Counts of distinct chunks, fed line by line.

    Args:
        rule: where the tokenizer ends words.
    """

    def __init__(self, *, rule: CutRule) -> None:
        self._counts: dict[str, int] = {}
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

    @property
    def distinct(self) -> int:
        """How many distinct chunks are held, about."""
        return len(self._counts)

    def drain(self) -> dict[str, int]:
        """Return the counts of everything added since the last time, and forget them."""
        counts = self.total()
        self._counts = {}
        self._alone[:] = 0
        pa.default_memory_pool().release_unused()  # what comes next needs memory that is not Arrow's
        return counts

    def total(self) -> dict[str, int]:
        """Return the counts of everything added so far; runs of more than 100,000 characters are `TOO_LONG`."""
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
        found = pc.value_counts(pc.split_pattern(pa.array([text], pa.large_string()), " ").values)
        chunks = found.field(0)
        if pc.max(pc.binary_length(chunks)).as_py() > _ENDLESS:
            chunks = pc.if_else(pc.greater(pc.utf8_length(chunks), _ENDLESS), TOO_LONG, chunks)
        count_of = self._counts.get
        for chunk, count in zip(chunks.to_pylist(), found.field(1).to_pylist(), strict=True):
            self._counts[chunk] = count_of(chunk, 0) + count
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
    for ranges, kind in ((CONTROLS, _DELETE), (SEPARATORS, _CUT), (rule.alone(), _ALONE)):
        for first, last in ranges:
            classes[first : last + 1] = kind
    return classes
