"""The paper's two-segment examples (section "pretraining data" of the released code, `electra.md` 1.3).

Lines of a document are gathered until they fill a row, then split into two contiguous segments. Where the released code
throws away what does not fit, the rest is carried over to the next row, so every token of a document is in some row;
with `carry_over=False` it is thrown away here too.
Randomness comes from the document itself and the seed, so that rows depend neither on workers nor on the order of
documents.

Everything here is arithmetic on spans: a span is (start, stop) in the token stream. Rows are lists of numbers rather
than objects, since half a megabyte of text gives a thousand of them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Span = tuple[int, int]
Draw = Callable[[], float]

SINGLE_SEGMENT = 0.1
"""How often a row is one segment only."""
SHORT_TARGET = 0.05
"""How often a row's target length is drawn uniformly from 5 to the row length instead of being the row length."""
SHORTEST_TARGET = 5
EITHER_SEGMENT = 0.5
"""How often a line that overfills the first segment still joins it."""

_ENDLESS = 100_000  # the released code's "no goal" for single segments


@dataclass
class RowSpans:
    """Rows as spans of a token stream, without special tokens; each row's spans of the first segment, then the others.

    Attributes:
        starts, stops: the spans of all rows.
        first: how many spans the first segment of each row has; at least one.
        second: how many its second segment has; may be none.
    """

    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)

    def tokens(self) -> int:
        """Return how many tokens the rows have from the text."""
        return sum(self.stops) - sum(self.starts)


def digest_of(text: bytes) -> bytes:
    """Return the sha256 of a document's text (lines joined by newlines, UTF-8): its name, wherever it comes from."""
    return hashlib.sha256(text).digest()


def is_held_out(digest: bytes, *, seed: int, fraction: float) -> bool:
    """Whether the document belongs to the held-out part; copies of a document always fall on the same side."""
    draw = hashlib.sha256(b"electra held-out %d " % seed + digest).digest()
    return int.from_bytes(draw[:8], "big") < fraction * 2**64


def document_random(digest: bytes, *, seed: int) -> random.Random:
    """Return the document's own source of randomness; only `.random()` of it is used, which no Python changes."""
    return random.Random(int.from_bytes(hashlib.sha256(b"electra segments %d " % seed + digest).digest(), "big"))


def add_rows(
    rows: RowSpans,
    line_lengths: Iterable[int],
    *,
    start: int,
    length: int,
    rng: random.Random,
    carry_over: bool = True,
) -> None:
    """Add the examples of one document in order.

    Rows have at most `length` - 2 tokens from the text (- 3 with two segments). Their spans cover the document exactly
    once, without `carry_over` at most once.

    Args:
        rows: where they are added.
        line_lengths: tokens of each line; lines without tokens are passed over.
        start: where the document begins in the token stream.
        length: tokens of a row, special tokens included; at least 5.
        rng: the document's randomness.
        carry_over: whether what does not fit a row begins the next one. Without, it is lost, as in the released code.
    """
    draw = rng.random
    pending: list[Span] = []
    held = 0
    # The released code keeps the target across documents; drawing it anew keeps its distribution.
    target = _target(length, draw)
    for count in line_lengths:
        if count == 0:
            continue
        pending.append((start, start + count))
        held += count
        start += count
        while held >= target:
            pending = _add_example(rows, pending, target, length, draw)
            if not carry_over:
                pending = []
            held = sum([stop - begin for begin, stop in pending])
            target = _target(length, draw)
    while pending:
        pending = _add_example(rows, pending, target, length, draw)
        if not carry_over:
            pending = []
        target = _target(length, draw)


def _target(length: int, draw: Draw) -> int:
    if draw() < SHORT_TARGET:
        return SHORTEST_TARGET + int(draw() * (length - SHORTEST_TARGET + 1))
    return length


def _add_example(rows: RowSpans, sentences: list[Span], target: int, length: int, draw: Draw) -> list[Span]:
    """Split sentences into two segments, cut both to the row and add it; return what did not fit, in order."""
    single = draw() < SINGLE_SEGMENT
    if len(sentences) == 1:  # most rows of long lines: no choice to make
        ((start, stop),) = sentences
        middle = min(stop, start + length - 2)
        rows.starts.append(start)
        rows.stops.append(middle)
        rows.first.append(1)
        rows.second.append(0)
        return [(middle, stop)] if middle < stop else []
    goal = _ENDLESS if single else (target - 3) // 2
    first: list[Span] = []
    second: list[Span] = []
    size = 0
    for sentence in sentences:
        tokens = sentence[1] - sentence[0]
        # A short line may still join the first segment after the second has begun: so does the released code.
        if not first or size + tokens < goal or (not second and size < goal and draw() < EITHER_SEGMENT):
            first.append(sentence)
            size += tokens
        else:
            second.append(sentence)
    rest: list[Span] = []
    rows.first.append(_add_spans(rows, first, length - 2, rest))
    rows.second.append(_add_spans(rows, second, max(0, length - min(size, length - 2) - 3), rest) if second else 0)
    rest.sort()
    return rest


def _add_spans(rows: RowSpans, spans: list[Span], room: int, rest: list[Span]) -> int:
    """Add what fits into `room` tokens, adjacent spans as one, the others to `rest`; return the number of spans."""
    starts, stops = rows.starts, rows.stops
    added, end = 0, -1
    for start, stop in spans:
        middle = min(stop, start + room)
        if middle > start:
            if start == end:
                stops[-1] = middle
            else:
                starts.append(start)
                stops.append(middle)
                added += 1
            end = middle
            room -= middle - start
        if stop > middle:
            rest.append((middle, stop))
    return added
