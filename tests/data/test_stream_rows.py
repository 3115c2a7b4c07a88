"""Stream rows against a slow reading of the rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from electra_cli.data.layouts import RowRule
from electra_cli.data.stream_rows import stream_rows
from electra_cli.text.tokenizer import Tokenizer
from tests.data.test_packing import CLS, PAD, SEP, documents_of, some_documents, tokenizer

__all__ = ["tokenizer"]

RULE = RowRule(length=32, min_row_tokens=5, seed=0, recipe="stream")


@pytest.mark.parametrize("length", [8, 32, 67])
@pytest.mark.parametrize("seed", range(4))
def test_rows_hold_what_a_slow_reading_of_the_rules_gives(length: int, seed: int, tokenizer: Tokenizer) -> None:
    documents = documents_of(some_documents(seed))
    rows = stream_rows(documents, tokenizer, replace(RULE, length=length))
    stream: list[int] = []
    for text in np.split(documents.stream, documents.document_ends()[:-1]):
        if len(text):
            stream += [SEP, *text.tolist()] if stream else text.tolist()
    expected = [stream[start : start + length - 2] for start in range(0, len(stream), length - 2)]
    last = [token for token in expected[-1] if token != SEP]
    short = len(last) < 5
    assert dict(rows.dropped) == ({"short_rows": 1, "short_row_tokens": len(last)} if short else {})
    whole = [[CLS, *part, SEP] for part in (expected[:-1] if short else expected)]
    assert rows.ids_BL.tolist() == [row + [PAD] * (length - len(row)) for row in whole]
    assert rows.lengths_B.tolist() == rows.first_B.tolist() == [len(row) for row in whole]
    assert rows.piece_start_BL is None
    assert rows.word_start_BL is not None and documents.starts is not None
    text = rows.ids_BL > SEP
    flags = np.zeros_like(text)
    flags[text] = documents.starts[rows.ids_BL[text] - 5]
    flags[:, 1] |= text[:, 1]
    assert (rows.word_start_BL == flags).all()


def test_a_short_end_is_left_out_with_its_separator(tokenizer: Tokenizer) -> None:
    rows = stream_rows(documents_of([[0], [28], [1, 2], [0], [2]]), tokenizer, RULE)
    assert rows.ids_BL.tolist() == [[CLS, *range(5, 33), SEP, 33, SEP]]
    assert dict(rows.dropped) == {"short_rows": 1, "short_row_tokens": 4}  # two of the second document, two of the last
    kept = stream_rows(documents_of([[0], [28], [1, 2], [0], [3]]), tokenizer, RULE)
    assert kept.ids_BL[1, :8].tolist() == [CLS, 34, 35, SEP, 36, 37, 38, SEP] and kept.lengths_B.tolist() == [32, 8]
    assert not kept.dropped
