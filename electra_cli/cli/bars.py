"""Live progress bars, drawn by rich; imported only when there is a terminal to draw on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from electra_cli.cli.ui import duration, figure, printable, wants_color

_REDRAW_SECONDS = 0.1


class _Figures(ProgressColumn):
    """Count, rate, time left, and whatever the stage shows."""

    def render(self, task: Task) -> Text:
        unit = str(task.fields["unit"])
        small = "bytes" if unit == "bytes" else ""
        text = figure(int(task.completed), small)
        if task.total is not None:
            text += f"/{figure(int(task.total), small)}"
        if unit != "bytes":
            text += f" {unit}"
        rate = float(task.fields["rate"])
        if rate > 0:
            text += f"  {figure(rate, unit)}/s"
            if task.total is not None:
                text += f"  {duration((task.total - task.completed) / rate)} left"
        shown = "".join(f"  {key} {figure(value)}" for key, value in task.fields["values"].items())
        return Text(text + printable(shown), no_wrap=True, overflow="ellipsis")


class Bars:
    """All bars of one command, drawn together at the bottom of the terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, no_color=not wants_color(), highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            _Figures(),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._running = 0

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int) -> Iterator[BarMeter]:
        """Show one bar while the block runs."""
        if not self._running:
            self._progress.start()
        self._running += 1
        task = self._progress.add_task(printable(name), total=total, completed=done, unit=unit, rate=0.0, values={})
        meter = BarMeter(self._progress, task, done)
        try:
            yield meter
        finally:
            meter.redraw()
            self._progress.remove_task(task)
            self._running -= 1
            if not self._running:
                self._progress.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bars away while something else is printed."""
        if not self._running:
            yield
            return
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def stop(self) -> None:
        """Take the bars away for good."""
        self._progress.stop()


class BarMeter:
    """One bar; it is redrawn ten times a second however often it advances."""

    def __init__(self, progress: Progress, task: int, done: int) -> None:
        self._progress, self._task = progress, task
        self._first = self._count = done
        self._start = self._last = time.monotonic()
        self._values: Mapping[str, float | str] = {}

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""
        self._count += amount
        if time.monotonic() - self._last >= _REDRAW_SECONDS:
            self.redraw()

    def show(self, values: Mapping[str, float | str]) -> None:
        """Replace the figures shown beside the progress."""
        self._values = dict(values)

    def redraw(self) -> None:
        """Hand count, rate and figures to rich."""
        self._last = time.monotonic()
        elapsed = self._last - self._start
        rate = (self._count - self._first) / elapsed if elapsed > 0 else 0.0
        self._progress.update(self._task, completed=self._count, rate=rate, values=self._values)  # type: ignore[arg-type]
