"""Documents laid out as rows of a fixed length. Letters: B rows, L tokens of a row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from electra_cli.data.encoded import EncodedDocuments
from electra_cli.data.segments import Row, document_random, rows_of
from electra_cli.data.shards import RecipeName
from electra_cli.text.tokenizer import Ids, Tokenizer
from electra_cli.text.word_starts import Flags


@dataclass(frozen=True)
class RowRule:
    """How documents become rows.

    Attributes:
        length: tokens of a row.
        min_row_tokens: rows with fewer tokens from the text are left out.
        seed: of the segments' randomness.
        carry_over: whether what does not fit a row begins the next one.
        word_starts: whether rows say which of their tokens begin a word of the text.
        recipe: two segments a row, packed documents, or a stream.
    """

    length: int
    min_row_tokens: int
    seed: int
    carry_over: bool = True
    word_starts: bool = False
    recipe: RecipeName = "pairs"


@dataclass(frozen=True)
class Rows:
    """Rows as they go into a shard.

    Attributes:
        ids_BL: token ids, padded.
        lengths_B: tokens of each row, special tokens included.
        first_B: tokens of the first segment, with `[CLS]` and its `[SEP]`.
        word_start_BL: which tokens begin a word; None where the rule does not ask.
        piece_start_BL: where pieces of text begin that do not see each other; None where every row is one.
        dropped: reason → how many of the things that the reason names were left out.
    """

    ids_BL: npt.NDArray[np.integer]
    lengths_B: Ids
    first_B: Ids
    word_start_BL: Flags | None = None
    piece_start_BL: Flags | None = None
    dropped: Counter[str] = field(default_factory=Counter)


def two_segment_rows(documents: EncodedDocuments, tokenizer: Tokenizer, rule: RowRule) -> Rows:
    """Lay documents out as the paper's two-segment rows: `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`, padded."""
    dropped: Counter[str] = Counter()
    rows: list[Row] = []
    line = start = 0
    for count, digest in zip(documents.document_lines.tolist(), documents.digests, strict=True):
        lengths = documents.line_tokens[line : line + count].tolist()
        line += count
        left = sum(lengths)
        start_here, start = start, start + left
        rng = document_random(digest, seed=rule.seed)
        for row in rows_of(lengths, length=rule.length, rng=rng, carry_over=rule.carry_over):
            left -= row.tokens
            if row.tokens < rule.min_row_tokens:
                dropped.update(short_rows=1, short_row_tokens=row.tokens)
            else:
                rows.append(row.moved(start_here))
        if left:
            dropped["overflow_tokens"] += left
    ids_BL, lengths_B, first_B = _laid_out(rows, documents.stream, tokenizer, length=rule.length)
    starts_BL = None if documents.starts is None else _word_starts(rows, documents.starts, length=rule.length)
    return Rows(ids_BL, lengths_B, first_B, starts_BL, dropped=dropped)


def blank_rows(count: int, tokenizer: Tokenizer, *, length: int) -> npt.NDArray[np.unsignedinteger]:
    """Return rows of padding, in the type that shards store ids in."""
    width = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    return np.full((count, length), tokenizer.pad_id, dtype=width)


def _laid_out(
    rows: list[Row], stream: npt.NDArray[np.integer], tokenizer: Tokenizer, *, length: int
) -> tuple[npt.NDArray[np.integer], Ids, Ids]:
    """Return the ids of the rows, padded, with the lengths of rows and first segments."""
    ids_BL = blank_rows(len(rows), tokenizer, length=length)
    lengths_B = np.empty(len(rows), dtype=np.int64)
    first_B = np.empty(len(rows), dtype=np.int64)
    ids_BL[:, 0] = tokenizer.cls_id
    for number, row in enumerate(rows):
        ids_L = ids_BL[number]
        place = 1
        for segment in (row.first, row.second):
            for start, stop in segment:
                ids_L[place : place + stop - start] = stream[start:stop]
                place += stop - start
            if segment:
                ids_L[place] = tokenizer.sep_id
                place += 1
            if segment is row.first:
                first_B[number] = place
        lengths_B[number] = place
    return ids_BL, lengths_B, first_B


def _word_starts(rows: list[Row], starts: Flags, *, length: int) -> Flags:
    """Return which tokens of the laid-out rows begin a word of the text: (rows, length); special tokens begin none.

    The first token of a span does whatever the text says: what stood before it is elsewhere.
    """
    start_BL = np.zeros((len(rows), length), dtype=np.bool_)
    for number, row in enumerate(rows):
        place = 1
        for segment in (row.first, row.second):
            for start, stop in segment:
                start_BL[number, place : place + stop - start] = starts[start:stop]
                start_BL[number, place] = True
                place += stop - start
            place += 1
    return start_BL
