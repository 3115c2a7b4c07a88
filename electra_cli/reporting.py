"""How a stage speaks without knowing who listens: notes, warnings and progress.

Stages take a `Reporter`; the command line gives one that draws bars or prints plain lines, a test or a notebook gives
`Silent` (the default) or its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol


class Meter(Protocol):
    """One running piece of work."""

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""

    def show(self, values: Mapping[str, float | str]) -> None:
        """Replace the figures shown beside the progress (losses, learning rate)."""


class Reporter(Protocol):
    """Where a stage's words go."""

    def note(self, message: str) -> None:
        """Say something worth reading."""

    def warn(self, message: str) -> None:
        """Say something that the user may have to act on."""

    @contextmanager
    def progress(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Meter]:
        """Show progress of `name`; `total` and `done` count `unit`s, `total` is None where nobody knows it."""
        yield SilentMeter()


class SilentMeter:
    """A meter that nobody reads."""

    def advance(self, amount: int = 1) -> None:
        """Ignore it."""

    def show(self, values: Mapping[str, float | str]) -> None:
        """Ignore it."""


class Silent:
    """A reporter that nobody listens to: for libraries and tests."""

    def note(self, message: str) -> None:
        """Ignore it."""

    def warn(self, message: str) -> None:
        """Ignore it."""

    @contextmanager
    def progress(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Meter]:
        """Hand out a meter that nobody reads."""
        yield SilentMeter()
