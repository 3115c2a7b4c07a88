"""Encoding text by the unit instead of by the line: every distinct chunk is tokenized once, then it is looked up.

Text is cut into chunks where the tokenizer cuts anyway (`text.chunks`). The ids of each come from a table that outlives
the text (`text.word_table`), and what is not there the library encodes, all of a block in one call
(`text.bulk_encoding`). Python sees single chunks only if they are new or longer than 32 bytes.
docs/concepts/encoding.md says why the ids are the library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from electra_cli.text.boundaries import SPACE
from electra_cli.text.bulk_encoding import BulkEncoder
from electra_cli.text.chunks import MARGIN, Block, Chunker
from electra_cli.text.tokenizer import Tokenizer, refuse_surrogates
from electra_cli.text.word_table import LANE, MISSING, Lanes, Values, WordTable

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]
Ids = npt.NDArray[np.unsignedinteger]

_LANES = MARGIN // LANE  # a longer chunk is looked up in a dictionary
# Bytes cut at once: few enough for the processor's caches. A new cache begins with little, since a chunk that it does
# not know yet costs a step of Python as often as it occurs in a block.
_FIRST_BLOCK, _BLOCK = 2**15, 2**19
# A chunk's value says where its ids lie among all ids kept: the place, shifted by this, and their number. No chunk has
# more characters than LONGEST_RUN, and no character more than a few tokens.
_COUNT_BITS = 24
_COUNT = (1 << _COUNT_BITS) - 1
# What follows a chunk in its last lane, by the number of bytes that are the chunk's: 0xFF stands in no UTF-8.
_FILL = np.array([(2**64 - 1) >> (8 * n) << (8 * n) for n in range(LANE)] + [0], dtype=np.uint64)


@dataclass(frozen=True)
class EncodedText:
    """The ids of some lines.

    Attributes:
        ids_N: of all lines, one after another, without special tokens; 16 bits wide where the vocabulary allows it.
        line_lengths: tokens of each line.
        word_starts_N: which tokens begin a word, a word being what stands between white space; None if not asked for.
    """

    ids_N: Ids
    line_lengths: Places
    word_starts_N: Flags | None = None


class WordCache:
    """Encodes text with one tokenizer and remembers chunks; the ids are those of `Tokenizer.encode_lines`.

    Memory stays bounded: a full cache is emptied, and text is worked on half a mebibyte at a time.

    Args:
        tokenizer: whose ids are wanted.
        entries: chunks remembered.
        long_bytes: bytes of chunks longer than 32 bytes remembered.
    """

    def __init__(self, tokenizer: Tokenizer, *, entries: int = 2**20, long_bytes: int = 2**25) -> None:
        self._chunker = Chunker(tokenizer.cut_rule)
        self._bulk = BulkEncoder(tokenizer)
        self._width = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
        self._entries, self._long_bytes = entries, long_bytes
        self._block = _FIRST_BLOCK
        self._used = self._held = self._long_held = 0
        self._ids: Ids = np.empty(0, dtype=self._width)
        self._forget()

    def encode_lines(self, lines: Sequence[str], *, word_starts: bool = False) -> EncodedText:
        """Encode lines; a newline within one is white space like any other.

        Raises:
            DataError: a line holds half of a surrogate pair.
        """
        text = "\n".join(lines)
        if text.count("\n") != max(0, len(lines) - 1):
            text = "\n".join([line.replace("\n", " ") for line in lines])
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError:
            refuse_surrogates(lines)
            raise
        found = self.encode(data, word_starts=word_starts)
        return found if lines else EncodedText(found.ids_N, found.line_lengths[:0], found.word_starts_N)

    def encode(self, text: bytes, *, word_starts: bool = False) -> EncodedText:
        """Encode UTF-8 text, in which newlines part the lines: one line more than there are newlines."""
        ids: list[Ids] = [np.empty(0, dtype=self._width)]
        line_ends: list[Places] = [np.zeros(1, dtype=np.int64)]
        words = _WordStarts() if word_starts else None
        position = tokens = 0
        while position < len(text):
            block = self._chunker.cut(text, position, size=self._block)
            self._block = min(2 * self._block, _BLOCK)
            position += len(block.kinds_N)
            values = self._values(block)
            counts = values & _COUNT
            before = np.concatenate([[0], counts.cumsum()])
            ids.append(self._gathered(values >> _COUNT_BITS, counts, before))
            line_ends.append(before[np.searchsorted(block.starts_C, block.newlines())] + tokens)
            tokens += int(before[-1])
            if words is not None:
                words.add(block, counts)
        line_ends.append(np.array([tokens]))
        ends = np.concatenate(line_ends)
        return EncodedText(np.concatenate(ids), ends[1:] - ends[:-1], None if words is None else words.all())

    def _values(self, block: Block) -> Values:
        """Return the value of each chunk; those not known before are known afterwards."""
        if self._held >= self._entries or self._long_held >= self._long_bytes:
            self._forget()
        starts, lengths = block.starts_C, block.stops_C - block.starts_C
        short = lengths <= LANE
        values = self._tables[0].find(_columns(block, starts, lengths, 1), short)
        longer = np.flatnonzero(~short)
        lanes_of = (lengths[longer] + (LANE - 1)) // LANE
        for table in self._tables[1:]:
            places = longer[lanes_of == table.lanes]
            values[places] = table.find(_columns(block, starts[places], lengths[places], table.lanes))
        places = longer[lanes_of > _LANES]
        values[places] = [self._long.get(chunk, MISSING) for chunk in block.chunks(places)]
        unseen = np.flatnonzero(values == MISSING)
        if len(unseen):
            values[unseen] = self._learnt(block, unseen)
        return values

    def _learnt(self, block: Block, unseen: Places) -> Values:
        """Encode chunks that are not known, remember them, and return the value of each."""
        chunks = block.chunks(unseen)
        place_of = dict(zip(chunks, unseen.tolist(), strict=True))
        texts: list[bytes] = []
        parts: list[Values] = []
        for some, ids, counts in self._bulk.encode(list(place_of)):
            texts += some
            parts.append(self._kept(ids, counts))
        values = np.concatenate(parts)
        places = np.array([place_of[text] for text in texts])
        starts, lengths = block.starts_C[places], block.stops_C[places] - block.starts_C[places]
        for table in self._tables:
            fits = np.flatnonzero((lengths > LANE * (table.lanes - 1)) & (lengths <= LANE * table.lanes))
            table.add(_columns(block, starts[fits], lengths[fits], table.lanes), values[fits])
        for number in np.flatnonzero(lengths > LANE * _LANES).tolist():
            self._long[texts[number]] = int(values[number])
            self._long_held += len(texts[number])
        self._held += len(texts)
        value_of = dict(zip(texts, values.tolist(), strict=True))
        return np.array([value_of[chunk] for chunk in chunks])

    def _kept(self, ids: npt.NDArray[np.int64], counts: Places) -> Values:
        """Keep the ids of some chunks; return the chunks' values."""
        used = self._used + len(ids)
        if used > len(self._ids):
            grown = np.empty(2 * used, dtype=self._width)
            grown[: self._used] = self._ids[: self._used]
            self._ids = grown
        self._ids[self._used : used] = ids
        values: Values = (self._used + counts.cumsum() - counts) << _COUNT_BITS | counts
        self._used = used
        return values

    def _gathered(self, first: Places, counts: Places, before: Places) -> Ids:
        """Return the ids of all chunks, which lie from `first` on among all kept, and come after `before` others."""
        found = np.empty(before[-1], dtype=self._width)
        some = counts > 0
        if not some.all():
            first, counts, before = first[some], counts[some], np.append(before[:-1][some], before[-1])
        found[before[:-1]] = self._ids.take(first)
        # Most chunks have one token; the others' second and further ones, all in one go.
        many = np.flatnonzero(counts > 1)
        more = counts[many] - 1
        shift = more.cumsum() - more - 1
        step = np.arange(int(more.sum()))
        found[np.repeat(before[many] - shift, more) + step] = self._ids.take(
            np.repeat(first[many] - shift, more) + step
        )
        return found

    def _forget(self) -> None:
        self._tables = [WordTable(lanes) for lanes in range(1, _LANES + 1)]
        self._long: dict[bytes, int] = {}
        self._ids = np.empty(2**16, dtype=self._width)
        self._used = self._held = self._long_held = 0


def _columns(block: Block, starts: Places, lengths: Places, lanes: int) -> Lanes:
    """Return chunks of at most `lanes` lanes as a table's columns; of longer ones, their beginning."""
    # At every byte, the eight bytes from there on, without a copy.
    every = np.ndarray((len(block.data) - LANE + 1,), dtype="<u8", buffer=block.data, strides=(1,))
    columns = np.empty((lanes, len(starts)), dtype=np.uint64)
    for lane in range(lanes):
        columns[lane] = every[starts + LANE * lane]
        columns[lane] |= _FILL.take(lengths - LANE * lane, mode="clip")
    return columns


class _WordStarts:
    """Gathers which tokens begin a word, block by block."""

    def __init__(self) -> None:
        self._found: list[Flags] = [np.empty(0, dtype=np.bool_)]
        self._open = False  # whether the word that a block may continue has a token already
        self._after_space = True

    def add(self, block: Block, counts: Places) -> None:
        """Add the tokens of a block, given how many each chunk has."""
        after_space = block.after_space(self._after_space)
        self._after_space = bool(block.kinds_N[-1] == SPACE)
        number = after_space.cumsum()  # of each chunk's word; 0: begun in an earlier block
        words = np.repeat(number, counts)
        starts = np.empty(len(words), dtype=np.bool_)
        np.not_equal(words[1:], words[:-1], out=starts[1:])
        if len(words):
            starts[0] = words[0] > 0 or not self._open
        self._found.append(starts)
        if len(number) and (number[-1] > 0 or len(words)):
            self._open = bool(len(words) and words[-1] == number[-1])

    def all(self) -> Flags:
        """Return the flags of all blocks."""
        return np.concatenate(self._found)
