"""Training and held-out rows: dividing one file, and finding rows that stand in both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from electra_cli.tasks.task import Examples


def split_off(examples: Examples, fraction: float) -> tuple[Examples, Examples]:
    """The rows divided into training and held-out ones, about `fraction` of them held out.

    A row's side depends on nothing but its text, so equal texts stay together, and neither the order of the file nor
    rows added later move a row to the other side. Rows of a label that would be left without a training row stay in
    training.
    """
    held = [_position(key) < fraction for key in _keys(examples)]
    labels = examples.labels or [""] * len(examples)
    trained = {label for label, is_held in zip(labels, held, strict=True) if not is_held}
    sides: tuple[list[int], list[int]] = ([], [])
    for row, is_held in enumerate(held):
        sides[is_held and labels[row] in trained].append(row)
    return examples.select(sides[0]), examples.select(sides[1])


def shared_rows(train: Examples, dev: Examples) -> int:
    """How many rows of `dev` have the same text or texts as a row of `train`."""
    known = set(_keys(train))
    return sum(key in known for key in _keys(dev))


def _keys(examples: Examples) -> Iterator[bytes]:
    """Yields a digest of each row's text or texts."""
    pairs = examples.pairs if examples.pairs is not None else [""] * len(examples)
    for text, pair in zip(examples.texts, pairs, strict=True):
        yield hashlib.sha256(f"{len(text)}:{text}{pair}".encode()).digest()[:16]


def _position(key: bytes) -> float:
    """A number in [0, 1), uniform over keys."""
    return int.from_bytes(key[:6], "big") / 2**48
