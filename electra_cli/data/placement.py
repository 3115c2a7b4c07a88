"""Where in rows of a fixed length the spans of a token stream go: arithmetic for all rows at once, then a copy a span.

Letters: B rows, L tokens of a row, S spans, N tokens of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from electra_cli.data.segments import RowSpans

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Placement:
    """Where the spans of rows go: `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`, then padding.

    Attributes:
        length: tokens of a row.
        starts_S, stops_S: spans of the stream.
        places_S: where each goes among the tokens of all rows.
        lengths_B: tokens of each row, special tokens included.
        first_B: tokens of the first segment, with `[CLS]` and its `[SEP]`.
        short: rows left out because they are too short.
        short_tokens: tokens of the text in those.
    """

    length: int
    starts_S: Numbers
    stops_S: Numbers
    places_S: Numbers
    lengths_B: Numbers
    first_B: Numbers
    short: int
    short_tokens: int

    def filled(self, stream_N: npt.NDArray[Any], *, rest: int) -> npt.NDArray[Any]:
        """Return rows that hold their spans of the stream, and `rest` everywhere else: (B, L), the stream's type."""
        rows_BL = np.full((len(self.lengths_B), self.length), rest, dtype=stream_N.dtype)
        flat = rows_BL.reshape(-1)
        spans = zip(self.places_S.tolist(), self.starts_S.tolist(), self.stops_S.tolist(), strict=True)
        for place, start, stop in spans:
            flat[place : place + stop - start] = stream_N[start:stop]
        return rows_BL

    def seams(self) -> Numbers:
        """Return the places of all `[SEP]` among the tokens of all rows, some of them twice."""
        row_B = np.arange(len(self.lengths_B)) * self.length
        return np.concatenate([row_B + self.first_B, row_B + self.lengths_B]) - 1


def placed(rows: RowSpans, *, length: int, least: int) -> Placement:
    """Say where the spans of rows go.

    Args:
        rows: of at most `length` tokens, special tokens included.
        length: tokens of a row.
        least: rows with fewer tokens from the text are left out.
    """
    starts_S, stops_S = np.array(rows.starts, dtype=np.int64), np.array(rows.stops, dtype=np.int64)
    first_spans, second_spans = np.array(rows.first, dtype=np.int64), np.array(rows.second, dtype=np.int64)
    # Tokens of all spans before a span, so that those of some spans in a row are a difference.
    before = np.concatenate([[0], (stops_S - starts_S).cumsum()])
    spans = first_spans + second_spans
    begins = spans.cumsum() - spans
    tokens = before[begins + spans] - before[begins]
    kept = tokens >= least
    number = kept.cumsum() - 1
    row_S = np.repeat(np.arange(len(spans)), spans)
    # After [CLS] and what the row holds before the span; in the second segment after a [SEP] too.
    in_second = np.arange(len(starts_S)) - begins[row_S] >= first_spans[row_S]
    places_S = number[row_S] * length + 1 + before[:-1] - before[begins[row_S]] + in_second
    some = kept[row_S]
    return Placement(
        length,
        starts_S[some],
        stops_S[some],
        places_S[some],
        lengths_B=(tokens + 2 + (second_spans > 0))[kept],
        first_B=(before[begins + first_spans] - before[begins] + 2)[kept],
        short=int(len(kept) - kept.sum()),
        short_tokens=int(tokens[~kept].sum()),
    )
