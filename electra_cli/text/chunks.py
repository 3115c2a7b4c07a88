"""Cutting UTF-8 text into chunks that can be encoded one by one, without looking at single characters in Python.

Each byte gets a kind from a table, those of non-ASCII characters by their code point; where a chunk begins and ends
then follows from comparing neighbours. A chunk is a character that stands alone, or everything between two cuts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from electra_cli.text.boundaries import ALONE, REST, SEPARATORS, SPACE, WORD, CutRule

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

MARGIN = 32
"""Bytes that may be read after the end of a block's text."""
_NEWLINE = 0x0A


@dataclass(frozen=True)
class Block:
    """A piece of text and the chunks in it; letters: C chunks, N bytes.

    Attributes:
        data: the bytes, in lower case as far as ASCII where the rule allows it, and at least `MARGIN` more.
        kinds_N: SPACE, WORD, ALONE or REST (`text.boundaries`) of each byte.
        starts_C: where each chunk begins.
        stops_C: where it ends.
    """

    data: Bytes
    kinds_N: Bytes
    starts_C: Places
    stops_C: Places

    @cached_property
    def raw(self) -> bytes:
        """The bytes as Python's, for slicing."""
        return self.data.tobytes()

    def chunks(self, places: Places) -> list[bytes]:
        """Return the chunks with these numbers."""
        raw = self.raw
        starts, stops = self.starts_C[places].tolist(), self.stops_C[places].tolist()
        return [raw[start:stop] for start, stop in zip(starts, stops, strict=True)]

    def newlines(self) -> Places:
        """Return where the newlines are."""
        return np.flatnonzero(self.data[: len(self.kinds_N)] == _NEWLINE)

    def after_space(self, at_start: bool, /) -> npt.NDArray[np.bool_]:
        """Say of each chunk whether white space stands before it, and `at_start` before the block: (C,)."""
        spaces = np.empty(len(self.kinds_N) + 1, dtype=np.bool_)
        spaces[0] = at_start
        np.equal(self.kinds_N, SPACE, out=spaces[1:])
        found: npt.NDArray[np.bool_] = spaces[self.starts_C]
        return found


class Chunker:
    """Cuts text by one rule."""

    def __init__(self, rule: CutRule) -> None:
        self._lowercase = rule.lowercase
        self._kind_of = _kinds(rule)
        self._kind_of_byte = self._kind_of[:128].tobytes() + bytes([WORD]) * 128

    def cut(self, text: bytes, start: int, *, size: int) -> Block:
        """Cut about `size` bytes from `start` on; the block ends where a chunk ends, so one may be longer.

        Args:
            text: valid UTF-8.
            start: the beginning of the text, or the end of another block.
            size: in bytes; doubled until a chunk ends within it.
        """
        while True:
            stop = min(start + size, len(text))
            while stop < len(text) and text[stop] & 0xC0 == 0x80:  # within a character
                stop += 1
            raw = text[start:stop]
            kinds = self._kinds(raw)
            end = len(raw) if stop == len(text) else _last_cut(kinds)
            if end:
                break
            size *= 2
        data = np.zeros(end + MARGIN, dtype=np.uint8)
        data[:end] = np.frombuffer(raw, dtype=np.uint8, count=end)
        if self._lowercase:
            upper = np.less(data - np.uint8(ord("A")), np.uint8(26))
            data |= np.negative(upper.view(np.uint8)) & np.uint8(0x20)
        kinds = kinds[:end]
        # Whether a byte belongs to the chunk of the byte before it; one more at the end, which does not.
        joined = np.zeros(end + 1, dtype=np.uint8)
        np.bitwise_and(kinds[1:], kinds[:-1], out=joined[1:end])
        joined &= WORD
        joined[1:end] |= kinds[1:] & REST
        taken, apart = kinds != SPACE, joined == 0
        return Block(data, kinds, np.flatnonzero(taken & apart[:-1]), np.flatnonzero(taken & apart[1:]) + 1)

    def _kinds(self, raw: bytes) -> Bytes:
        kinds = np.frombuffer(raw.translate(self._kind_of_byte), dtype=np.uint8)
        if raw.isascii():
            return kinds
        kinds = kinds.copy()
        data = np.frombuffer(raw, dtype=np.uint8)
        first = np.flatnonzero(data >= 0xC0)
        lead = data[first]
        points = _code_points(data, first, lead)
        kind = self._kind_of[points]
        kinds[first] = kind
        # The other bytes of a character that is no part of a word: of white space they are white space.
        cuts = kind != WORD
        for more, least in ((1, 0xC0), (2, 0xE0), (3, 0xF0)):
            wide = np.flatnonzero(cuts & (lead >= least))
            kinds[first[wide] + more] = np.where(kind[wide] == ALONE, np.uint8(REST), np.uint8(SPACE))
        return kinds


def _code_points(data: Bytes, first: Places, lead: Bytes) -> npt.NDArray[np.int32]:
    """Return the code points of the characters of two to four bytes that begin at `first`."""

    def bits(places: Places, more: int) -> npt.NDArray[np.int32]:
        return data.take(places + more, mode="clip").astype(np.int32) & 0x3F

    second = bits(first, 1)
    points = (lead.astype(np.int32) & 0x0F) << 12 | second << 6 | bits(first, 2)
    two, four = np.flatnonzero(lead < 0xE0), np.flatnonzero(lead >= 0xF0)
    points[two] = (lead[two].astype(np.int32) & 0x1F) << 6 | second[two]
    points[four] = (points[four] & 0x7FFF) << 6 | bits(first[four], 3)
    return points


def _last_cut(kinds: Bytes) -> int:
    """Return the end of the last byte that is no part of a word, 0 if there is none."""
    for look in (4096, len(kinds)):
        found = np.flatnonzero(kinds[-look:] != WORD)
        if len(found):
            return int(found[-1]) + 1 + max(0, len(kinds) - look)
    return 0


def _kinds(rule: CutRule) -> Bytes:
    """Return SPACE, WORD or ALONE for each code point: (0x110000,)."""
    kinds = np.full(0x110000, WORD, dtype=np.uint8)
    for ranges, kind in ((SEPARATORS, SPACE), (rule.alone(), ALONE)):
        for first, last in ranges:
            kinds[first : last + 1] = kind
    return kinds
