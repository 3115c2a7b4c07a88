"""Rows placed by arithmetic against rows put together one by one."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.data.placement import placed
from electra_cli.data.segments import RowSpans, add_rows
from tests.data.plain_segments import rows_of

PAD, CLS, SEP = 0, 2, 3


def one_by_one(rows, stream, *, length, least):
    found = []
    for row in rows:
        if row.tokens < least:
            continue
        ids = [CLS]
        for segment in (row.first, row.second):
            for start, stop in segment:
                ids += stream[start:stop]
            if segment:
                ids.append(SEP)
            if segment is row.first:
                first = len(ids)
        found.append((ids + [PAD] * (length - len(ids)), len(ids), first))
    return found


@given(st.lists(st.integers(0, 40), max_size=40), st.integers(8, 64), st.integers(0, 2**32), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_rows_are_those_put_together_one_by_one(lengths, length, seed, least):
    stream = list(range(5, 5 + sum(lengths)))
    plain = list(rows_of(lengths, length=length, rng=random.Random(seed)))
    spans = RowSpans()
    add_rows(spans, lengths, start=0, length=length, rng=random.Random(seed))
    rows = placed(spans, length=length, least=least)
    ids_BL = rows.filled(np.array(stream, dtype=np.uint16), rest=PAD)
    assert ids_BL.dtype == np.uint16 and ids_BL.shape == (len(rows.lengths_B), length)
    ids_BL[:, 0] = CLS
    ids_BL.reshape(-1)[rows.seams()] = SEP
    found = list(zip(ids_BL.tolist(), rows.lengths_B.tolist(), rows.first_B.tolist(), strict=True))
    assert found == one_by_one(plain, stream, length=length, least=least)
    short = [row.tokens for row in plain if row.tokens < least]
    assert (rows.short, rows.short_tokens) == (len(short), sum(short))
