"""Signals become a flag that loops look at between steps; a second one ends the process at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class StopFlag:
    """Whether somebody asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def name(self) -> str:
        """The signal's name, for messages."""
        return signal.Signals(self.signal).name if self.signal is not None else "none"

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            # The second one: the user means now. Published artifacts are complete by construction.
            os._exit(128 + number)
        self.signal = number


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Catch TERM, INT, USR1 and USR2 for the length of a `with` block (main thread only)."""
    flag = StopFlag()
    before = {number: signal.signal(number, flag._receive) for number in STOPPING}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
