"""The paper's two-segment examples (section "pretraining data" of the released code, `electra.md` 1.3).

Lines of a document are gathered until they fill a row, then split into two contiguous segments. Where the released code
throws away what does not fit, the rest is carried over to the next row, so every token of a document is in some row;
with `carry_over=False` it is thrown away here too.
Randomness comes from the document itself and the seed, so that rows depend neither on workers nor on the order of
documents.

Everything here is arithmetic on spans: a span is (start, stop) in the token stream of one document.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Span = tuple[int, int]

SINGLE_SEGMENT = 0.1
"""How often a row is one segment only."""
SHORT_TARGET = 0.05
"""How often a row's target length is drawn uniformly from 5 to the row length instead of being the row length."""
SHORTEST_TARGET = 5
EITHER_SEGMENT = 0.5
"""How often a line that overfills the first segment still joins it."""

_ENDLESS = 100_000  # the released code's "no goal" for single segments


@dataclass(frozen=True)
class Row:
    """One example: the spans of the first and of the second segment, without special tokens; `second` may be empty."""

    first: tuple[Span, ...]
    second: tuple[Span, ...]

    @property
    def tokens(self) -> int:
        """Number of tokens that come from the text."""
        return _size(self.first) + _size(self.second)

    def moved(self, by: int) -> Row:
        """Return the row in a stream in which the document begins `by` tokens later."""
        return Row(
            tuple((start + by, stop + by) for start, stop in self.first),
            tuple((start + by, stop + by) for start, stop in self.second),
        )


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
