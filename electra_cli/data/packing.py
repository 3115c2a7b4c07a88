"""Whole documents packed into rows: the arithmetic of where each piece of text goes.

A document that fits into a row stays whole; a longer one is cut into pieces of a row's length, at the end of a line
where one is near. Pieces are put together by best fit, the longest first: each goes into the row with the least room
that is still enough (Johnson, 1974; at most 11/9 of the fewest rows and less than one more). Every piece is
`[CLS] text [SEP]`, positions start anew in it, and attention stays within.

Everything depends on the texts of one unit and their order alone. Letters: N tokens or lines of the unit, D documents,
P pieces, B rows, L tokens in a row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from electra_cli.data.encoded import EncodedDocuments
from electra_cli.data.layouts import RowRule, Rows, blank_rows
from electra_cli.text.tokenizer import Tokenizer

Ints = npt.NDArray[np.int64]

LINE_TOLERANCE = 1 / 16
"""Share of a row that a cut gives up to fall on the end of a line: rows stay 99 % full (docs/guides/rows.md)."""
AROUND = 2  # tokens that a piece has besides its text: [CLS] and [SEP]


@dataclass(frozen=True)
class TextPieces:
    """Pieces of text as spans of the unit's stream of tokens, in its order.

    Attributes:
        start_P: the first token of each.
        stop_P: the token behind its last.
    """

    start_P: Ints
    stop_P: Ints

    @property
    def sizes_P(self) -> Ints:
        """Tokens of each piece, special ones not counted."""
        return self.stop_P - self.start_P

    def chosen(self, keep_P: npt.NDArray[np.bool_]) -> TextPieces:
        """Return the pieces for which `keep_P` holds."""
        return TextPieces(self.start_P[keep_P], self.stop_P[keep_P])


@dataclass(frozen=True)
class Placed:
    """Pieces with their places in the flattened rows, by row and then in the order of the text.

    Attributes:
        pieces: the pieces.
        begin_P: where the `[CLS]` of each stands in the rows laid end to end.
        rows: B.
    """

    pieces: TextPieces
    begin_P: Ints
    rows: int


def packed_rows(documents: EncodedDocuments, tokenizer: Tokenizer, rule: RowRule) -> Rows:
    """Pack whole documents, and pieces of long ones, into rows; each piece is `[CLS] text [SEP]`.

    Pieces with fewer than `rule.min_row_tokens` tokens are left out, and counted with what they hold.
    """
    pieces = cut_documents(documents.line_tokens.cumsum(), documents.document_ends(), room=rule.length - AROUND)
    long_enough_P = pieces.sizes_P >= rule.min_row_tokens
    dropped: Counter[str] = Counter()
    if short := len(long_enough_P) - int(long_enough_P.sum()):
        dropped.update(short_pieces=short, short_piece_tokens=int(pieces.sizes_P[~long_enough_P].sum()))
    placed = place(pieces.chosen(long_enough_P), length=rule.length)
    ids_BL = blank_rows(placed.rows, tokenizer, length=rule.length)
    flat, (to_N, from_N) = ids_BL.reshape(-1), places_of_text(placed)
    end_P = placed.begin_P + placed.pieces.sizes_P + 1
    flat[placed.begin_P], flat[end_P], flat[to_N] = tokenizer.cls_id, tokenizer.sep_id, documents.stream[from_N]
    begins_BL = np.zeros(ids_BL.shape, dtype=np.bool_)
    begins_BL.reshape(-1)[placed.begin_P] = True
    words_BL = None
    if documents.starts is not None:
        words_BL = np.zeros(ids_BL.shape, dtype=np.bool_)
        words_BL.reshape(-1)[to_N] = documents.starts[from_N]
        words_BL.reshape(-1)[placed.begin_P + 1] = True  # what stood before a piece is elsewhere
    lengths_B = np.zeros(placed.rows, dtype=np.int64)
    np.maximum.at(lengths_B, end_P // rule.length, end_P % rule.length + 1)
    return Rows(ids_BL, lengths_B, lengths_B, words_BL, begins_BL, dropped)


def cut_documents(line_ends_N: Ints, document_ends_D: Ints, *, room: int) -> TextPieces:
    """Cut documents into pieces of at most `room` tokens; those without tokens give none.

    Args:
        line_ends_N: the token behind the last of each line, ascending.
        document_ends_D: the same of each document.
        room: tokens of text that a row holds.
    """
    ends, tolerance = line_ends_N.tolist(), int(room * LINE_TOLERANCE)
    starts: list[int] = []
    stops: list[int] = []
    start = 0
    for stop in document_ends_D.tolist():
        while stop - start > room:
            furthest = start + room
            line = ends[bisect_right(ends, furthest) - 1] if ends[0] <= furthest else 0
            cut = line if line >= furthest - tolerance else furthest
            starts.append(start)
            stops.append(cut)
            start = cut
        if stop > start:
            starts.append(start)
            stops.append(stop)
        start = stop
    return TextPieces(np.array(starts, dtype=np.int64), np.array(stops, dtype=np.int64))


def best_fit(sizes_P: Ints, *, capacity: int) -> Ints:
    """Return the row of each piece: the longest pieces first, each into the row with the least room that is enough.

    Args:
        sizes_P: tokens of each piece, from 1 to `capacity`; of equal ones the earlier is placed first.
        capacity: tokens of a row.

    Returns:
        row_P, from 0, no number left out.
    """
    sizes = sizes_P.tolist()
    rows = [0] * len(sizes)
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    known = 0  # bit r is set where a row with room for r tokens is: the lowest at or above a size is one shift away
    opened = 0
    for piece in np.argsort(-sizes_P, kind="stable").tolist():
        size = sizes[piece]
        if fitting := known >> size:
            room = size + (fitting & -fitting).bit_length() - 1
            row = by_room[room].pop()
            if not by_room[room]:
                known ^= 1 << room
        else:
            room, row = capacity, opened
            opened += 1
        rows[piece] = row
        if left := room - size:
            by_room[left].append(row)
            known |= 1 << left
    return np.array(rows, dtype=np.int64)


def place(pieces: TextPieces, *, length: int) -> Placed:
    """Pack pieces into rows of `length` tokens; rows stand in the order of their first piece, pieces in the text's."""
    taken_P = pieces.sizes_P + AROUND
    count = len(taken_P)
    if not count:
        return Placed(pieces, np.empty(0, dtype=np.int64), 0)
    row_P = best_fit(taken_P, capacity=length)
    first_B = np.full(int(row_P.max()) + 1, count)
    np.minimum.at(first_B, row_P, np.arange(count))
    rank_B = np.empty_like(first_B)
    rank_B[np.argsort(first_B)] = np.arange(len(first_B))
    row_P = rank_B[row_P]
    order_P = np.argsort(row_P, kind="stable")
    row_P, taken_P = row_P[order_P], taken_P[order_P]
    before_P = taken_P.cumsum() - taken_P  # tokens of all pieces before, in this order
    opens_B = np.searchsorted(row_P, np.arange(len(first_B)))  # the first piece of each row
    begin_P = row_P * length + before_P - before_P[opens_B][row_P]
    return Placed(TextPieces(pieces.start_P[order_P], pieces.stop_P[order_P]), begin_P, len(first_B))


def places_of_text(placed: Placed) -> tuple[Ints, Ints]:
    """Return where each token of text stands in the flattened rows, and which token of the stream it is."""
    sizes_P = placed.pieces.sizes_P
    before_P = sizes_P.cumsum() - sizes_P
    count_N = np.arange(int(sizes_P.sum()))
    to_N = np.repeat(placed.begin_P + 1 - before_P, sizes_P) + count_N
    return to_N, np.repeat(placed.pieces.start_P - before_P, sizes_P) + count_N
