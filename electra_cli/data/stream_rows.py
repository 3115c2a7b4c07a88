"""Rows that are cut from one stream of documents, as RoBERTa's FULL-SENTENCES (Liu et al., 2019, section 4.2).

The documents of a unit follow each other with a `[SEP]` between them, and every row is the next `[CLS] … [SEP]` of
them: full, whatever the documents' lengths, and attention reaches across their ends. Where a row ends at the end of a
document, the separator begins the next row.

Letters: N tokens of the unit, D documents, B rows, L tokens in a row.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from electra_cli.data.encoded import EncodedDocuments
from electra_cli.data.layouts import RowRule, Rows, blank_rows
from electra_cli.text.tokenizer import Tokenizer

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StreamPlaces:
    """Where the tokens of a stream stand in rows.

    Attributes:
        to_N: the place of each token of text in the rows laid end to end, of those that are in a row.
        separators: the places of the `[SEP]` between documents.
        lengths_B: tokens of each row, special ones counted: all but the last are full.
        left_out: tokens of text in the row that was too short.
    """

    to_N: Ints
    separators: Ints
    lengths_B: Ints
    left_out: int


def stream_rows(documents: EncodedDocuments, tokenizer: Tokenizer, rule: RowRule) -> Rows:
    """Cut documents, one after another, into full rows `[CLS] … [SEP]`; a last one that is short is padded.

    One with fewer than `rule.min_row_tokens` tokens from the text is left out, and counted with what it holds.
    """
    sizes_D = np.diff(documents.document_ends(), prepend=0)
    places = stream_places(sizes_D, length=rule.length, min_row_tokens=rule.min_row_tokens)
    ids_BL = blank_rows(len(places.lengths_B), tokenizer, length=rule.length)
    flat, kept = ids_BL.reshape(-1), len(places.to_N)
    flat[places.to_N], flat[places.separators] = documents.stream[:kept], tokenizer.sep_id
    ids_BL[:, 0] = tokenizer.cls_id
    ids_BL[np.arange(len(ids_BL)), places.lengths_B - 1] = tokenizer.sep_id
    words_BL = None
    if documents.starts is not None:
        words_BL = np.zeros(ids_BL.shape, dtype=np.bool_)
        words_BL.reshape(-1)[places.to_N] = documents.starts[:kept]
        words_BL[:, 1] = ids_BL[:, 1] != tokenizer.sep_id  # what stood before a row is elsewhere
    dropped = Counter(short_rows=1, short_row_tokens=places.left_out) if places.left_out else Counter[str]()
    return Rows(ids_BL, places.lengths_B, places.lengths_B, words_BL, dropped=dropped)


def stream_places(document_sizes_D: Ints, *, length: int, min_row_tokens: int) -> StreamPlaces:
    """Say where the tokens of a unit's documents go.

    Args:
        document_sizes_D: tokens of each document; those without are passed over.
        length: tokens of a row, special tokens included; at least 3.
        min_row_tokens: the last row is left out if it has fewer tokens from the text.
    """
    sizes_D = document_sizes_D[document_sizes_D > 0]
    room = length - 2
    # in the stream with separators, token i of document d stands at i + d
    in_stream_N = np.arange(int(sizes_D.sum())) + np.repeat(np.arange(len(sizes_D)), sizes_D)
    separators = (sizes_D.cumsum() + np.arange(len(sizes_D)))[:-1]
    total = len(in_stream_N) + len(separators)
    rows, rest = divmod(total, room)
    kept = total
    if rest:
        begin = total - rest
        if len(in_stream_N) - int(np.searchsorted(in_stream_N, begin)) < min_row_tokens:
            kept = begin
        else:
            rows += 1
    text_N, between = in_stream_N[in_stream_N < kept], separators[separators < kept]
    lengths_B = np.full(rows, length)
    if rows and kept % room:
        lengths_B[-1] = kept % room + 2
    left_out = len(in_stream_N) - len(text_N)
    return StreamPlaces(_in_rows(text_N, length), _in_rows(between, length), lengths_B, left_out)


def _in_rows(place_N: npt.NDArray[np.int64], length: int) -> Ints:
    """Places in the stream as places in the rows, each of which has a `[CLS]` before and a `[SEP]` behind its part."""
    row_N, column_N = np.divmod(place_N, length - 2)
    return np.asarray(row_N * length + column_N + 1)
