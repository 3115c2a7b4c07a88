"""Packed rows against a slow reading of the rules."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from electra_cli.data.encoded import EncodedDocuments, encode_documents
from electra_cli.data.layouts import RowRule, Rows
from electra_cli.data.packing import best_fit, cut_documents, packed_rows, place
from electra_cli.data.segments import digest_of
from electra_cli.text.tokenizer import Tokenizer
from electra_cli.text.word_cache import WordCache

PAD, CLS, SEP = 0, 2, 3
RULE = RowRule(length=32, min_row_tokens=5, seed=0, recipe="packed")


def documents_of(lines_of: list[list[int]], *, seed: int = 0) -> EncodedDocuments:
    """Documents with lines of these numbers of tokens; every token says where it stands, from 5 on."""
    line_tokens = np.array([tokens for lines in lines_of for tokens in lines], dtype=np.int64)
    stream = np.arange(5, 5 + int(line_tokens.sum()))
    starts = np.random.default_rng(seed).random(len(stream)) < 0.5
    lines = np.array([len(lines) for lines in lines_of], dtype=np.int64)
    return EncodedDocuments(stream, line_tokens, lines, [b""] * len(lines_of), starts)


def some_documents(seed: int, count: int = 60) -> list[list[int]]:
    dice = random.Random(seed)
    return [[dice.choice((0, 1, 3, 9, 30, 70)) for _ in range(dice.randint(1, 8))] for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    words = [chr(number) for number in range(0x3000, 0x3000 + 70_000) if not 0xD800 <= number < 0xE000]
    return Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words[:60_000]])


def pieces_in(rows: Rows) -> list[list[list[int]]]:
    """The text of each row's pieces, after looking at everything else in it."""
    assert rows.piece_start_BL is not None
    found = []
    for ids, length, first, starts in zip(
        rows.ids_BL.tolist(), rows.lengths_B.tolist(), rows.first_B.tolist(), rows.piece_start_BL, strict=True
    ):
        begins = np.flatnonzero(starts).tolist()
        assert begins[0] == 0 and first == length and set(ids[length:]) <= {PAD}
        row = []
        for begin, end in pairwise([*begins, length]):
            assert ids[begin] == CLS and ids[end - 1] == SEP
            row.append(ids[begin + 1 : end - 1])
            assert row[-1] and min(row[-1]) > SEP
        found.append(row)
    return found


def slow_pieces(documents: EncodedDocuments, room: int) -> list[list[int]]:
    """Each document's tokens, cut at the last line end in the last sixteenth of a row, else where the row is full."""
    pieces, line = [], 0
    stream = iter(documents.stream.tolist())
    for count in documents.document_lines.tolist():
        lines = [[next(stream) for _ in range(tokens)] for tokens in documents.line_tokens[line : line + count]]
        line += count
        text = [token for tokens in lines for token in tokens]
        ends = set(np.cumsum([len(tokens) for tokens in lines]).tolist())
        at = 0
        while len(text) - at > room:
            cut = next((c for c in range(at + room, at + room - room // 16 - 1, -1) if c in ends), at + room)
            pieces.append(text[at:cut])
            at = cut
        if text[at:]:
            pieces.append(text[at:])
    return pieces


@pytest.mark.parametrize("length", [8, 32, 67])
@pytest.mark.parametrize("seed", range(3))
def test_rows_hold_what_a_slow_reading_of_the_rules_gives(length: int, seed: int, tokenizer: Tokenizer) -> None:
    documents = documents_of(some_documents(seed))
    rows = packed_rows(documents, tokenizer, replace(RULE, length=length))
    expected = slow_pieces(documents, length - 2)
    kept = [piece for piece in expected if len(piece) >= 5]
    found = pieces_in(rows)
    assert sorted(piece for row in found for piece in row) == sorted(kept)
    assert [row[0] for row in found] == sorted(row[0] for row in found), "rows in the order of the text"
    assert all(row == sorted(row) for row in found), "and pieces within them"
    short = [len(piece) for piece in expected if len(piece) < 5]
    assert dict(rows.dropped) == {"short_pieces": len(short), "short_piece_tokens": sum(short)}
    assert short


def test_lines_are_not_cut_where_their_end_is_near(tokenizer: Tokenizer) -> None:
    rule = replace(RULE, length=162)  # ten tokens of tolerance
    (row, other), (last, second) = (
        pieces_in(packed_rows(documents_of([lines]), tokenizer, rule)) for lines in ([151, 100], [149, 100])
    )
    assert [len(piece) for piece in row + other] == [151, 100]
    assert [len(piece) for piece in last + second] == [160, 89]


def slow_best_fit(sizes: list[int], capacity: int) -> list[int]:
    room: list[int] = []
    rows = [0] * len(sizes)
    for piece in sorted(range(len(sizes)), key=lambda piece: -sizes[piece]):
        fitting = [row for row in range(len(room)) if room[row] >= sizes[piece]]
        row = min(fitting, key=lambda row: room[row], default=len(room))
        if row == len(room):
            room.append(capacity)
        room[row] -= sizes[piece]
        rows[piece] = row
    return rows


@pytest.mark.parametrize("capacity", [7, 64, 600])
def test_best_fit_leaves_the_room_that_the_plain_search_leaves(capacity: int) -> None:
    sizes = np.random.default_rng(capacity).integers(1, capacity + 1, 500)
    found, slow = best_fit(sizes, capacity=capacity), np.array(slow_best_fit(sizes.tolist(), capacity))
    filled, expected = np.bincount(found, weights=sizes), np.bincount(slow, weights=sizes)
    assert sorted(filled.tolist()) == sorted(expected.tolist()) and filled.max() <= capacity
    assert best_fit(np.array([5, 3, 2, 4, 1]), capacity=6).tolist() == [0, 2, 1, 1, 0]


def test_places_do_not_overlap_and_nothing_is_lost() -> None:
    documents = documents_of(some_documents(9, 400))
    pieces = cut_documents(documents.line_tokens.cumsum(), documents.document_ends(), room=30)
    assert (pieces.start_P[1:] == pieces.stop_P[:-1]).all() and pieces.stop_P[-1] == len(documents.stream)
    placed = place(pieces, length=32)
    end_P = placed.begin_P + placed.pieces.sizes_P + 2
    assert (placed.begin_P[1:] >= end_P[:-1]).all()
    assert (placed.begin_P // 32 == (end_P - 1) // 32).all(), "no piece lies in two rows"
    assert int(placed.pieces.sizes_P.sum()) == len(documents.stream)
    assert int((placed.pieces.sizes_P + 2).sum()) / (placed.rows * 32) > 0.97


def test_word_starts_follow_the_tokens(tokenizer: Tokenizer) -> None:
    documents = documents_of(some_documents(4))
    assert documents.starts is not None
    rows = packed_rows(documents, tokenizer, RULE)
    assert rows.word_start_BL is not None and rows.piece_start_BL is not None
    begins = np.zeros(rows.ids_BL.shape, dtype=bool)
    begins[:, 1:] = rows.piece_start_BL[:, :-1]
    text = rows.ids_BL > SEP
    expected = np.zeros_like(text)
    expected[text] = documents.starts[rows.ids_BL[text] - 5]
    assert (rows.word_start_BL == (expected | begins)).all()


def test_nothing_in_nothing_out(tokenizer: Tokenizer) -> None:
    rows = packed_rows(documents_of([[0], [0, 2], [4]]), tokenizer, RULE)
    assert rows.ids_BL.shape == (0, 32) and len(rows.lengths_B) == 0
    assert dict(rows.dropped) == {"short_pieces": 2, "short_piece_tokens": 6}


def test_a_document_of_one_piece_is_as_encoded(small_tokenizer: Tokenizer) -> None:
    text = b"the old cat sees the dog .\nthe red river ."
    rows = packed_rows(encode_documents(WordCache(small_tokenizer), [text], [digest_of(text)]), small_tokenizer, RULE)
    (row,) = pieces_in(rows)
    assert small_tokenizer.decode(row[0]) == "the old cat sees the dog. the red river."
    assert rows.word_start_BL is None
