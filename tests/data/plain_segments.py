"""The paper's rows, written plainly, one object a row: what `electra_cli.data.segments` is compared with."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from electra_cli.data.segments import EITHER_SEGMENT, SHORT_TARGET, SHORTEST_TARGET, SINGLE_SEGMENT, RowSpans, add_rows

Span = tuple[int, int]

_ENDLESS = 100_000


@dataclass(frozen=True)
class Row:
    """One example: the spans of the first and of the second segment, without special tokens; `second` may be empty."""

    first: tuple[Span, ...]
    second: tuple[Span, ...]

    @property
    def tokens(self) -> int:
        """Number of tokens that come from the text."""
        return _size(self.first) + _size(self.second)


def fast_rows_of(line_lengths, *, length, rng, carry_over=True, start=0) -> list[Row]:
    """Return what `add_rows` makes of a document."""
    spans = RowSpans()
    add_rows(spans, line_lengths, start=start, length=length, rng=rng, carry_over=carry_over)
    pairs = iter(zip(spans.starts, spans.stops, strict=True))
    rows = [
        Row(tuple(next(pairs) for _ in range(first)), tuple(next(pairs) for _ in range(second)))
        for first, second in zip(spans.first, spans.second, strict=True)
    ]
    assert next(pairs, None) is None
    assert spans.tokens() == sum(row.tokens for row in rows)
    return rows


def rows_of(line_lengths: Sequence[int], *, length: int, rng: random.Random, carry_over: bool = True) -> Iterator[Row]:
    """Yield the examples of one document in order.

    Args:
        line_lengths: tokens of each line; lines without tokens are passed over.
        length: tokens of a row, special tokens included; at least 5.
        rng: the document's randomness.
        carry_over: whether what does not fit a row begins the next one. Without, it is lost, as in the released code.

    Yields:
        Rows of at most `length` - 2 tokens from the text (- 3 with two segments). Their spans cover the document
        exactly once, without `carry_over` at most once.
    """
    pending: list[Span] = []
    held = start = 0
    # The released code keeps the target across documents; drawing it anew keeps its distribution.
    target = _target(length, rng)
    for count in line_lengths:
        if count == 0:
            continue
        pending.append((start, start + count))
        held += count
        start += count
        while held >= target:
            row, rest = _example(pending, target, length, rng)
            pending = rest if carry_over else []
            held = _size(pending)
            yield row
            target = _target(length, rng)
    while pending:
        row, rest = _example(pending, target, length, rng)
        pending = rest if carry_over else []
        yield row
        target = _target(length, rng)


def _target(length: int, rng: random.Random) -> int:
    if rng.random() < SHORT_TARGET:
        return SHORTEST_TARGET + int(rng.random() * (length - SHORTEST_TARGET + 1))
    return length


def _example(sentences: Sequence[Span], target: int, length: int, rng: random.Random) -> tuple[Row, list[Span]]:
    """Split sentences into two segments, cut both to the row; return the row and what did not fit, in order."""
    goal = _ENDLESS if rng.random() < SINGLE_SEGMENT else (target - 3) // 2
    first: list[Span] = []
    second: list[Span] = []
    size = 0
    for sentence in sentences:
        tokens = sentence[1] - sentence[0]
        # A short line may still join the first segment after the second has begun: so does the released code.
        if not first or size + tokens < goal or (not second and size < goal and rng.random() < EITHER_SEGMENT):
            first.append(sentence)
            size += tokens
        else:
            second.append(sentence)
    first, rest_first = _cut(first, length - 2)
    second, rest_second = _cut(second, max(0, length - _size(first) - 3))
    return Row(_merged(first), _merged(second)), sorted(rest_first + rest_second)


def _cut(spans: Sequence[Span], room: int) -> tuple[list[Span], list[Span]]:
    """Return the part of `spans` that fits into `room` tokens, and the rest."""
    kept: list[Span] = []
    rest: list[Span] = []
    for start, stop in spans:
        middle = min(stop, start + room)
        if middle > start:
            kept.append((start, middle))
        if stop > middle:
            rest.append((middle, stop))
        room -= middle - start
    return kept, rest


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Join spans that follow each other."""
    joined: list[Span] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)


def _size(spans: Sequence[Span]) -> int:
    return sum(stop - start for start, stop in spans)
