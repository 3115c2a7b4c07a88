"""What the user sees: the product on stdout, the conversation on stderr.

`session` gives a command its `Ui`, which is also the `Reporter` of the stage that it calls. On a terminal progress is a
bar with rate and time left; elsewhere, and in CI, a plain line at intervals.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from electra_cli.errors import ElectraError
from electra_cli.reporting import Meter, SilentMeter

if TYPE_CHECKING:
    from electra_cli.artifacts import Artifact
    from electra_cli.cli.bars import Bars
    from electra_cli.config import Resolved, Settings
    from electra_cli.stages.outcome import Outcome

PLAIN_SECONDS = 10.0  # between two plain progress lines
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|[\ud800-\udfff]")


class OutputClosed(Exception):
    """Whoever read our stdout has gone (`| head`): stop quietly."""


def printable(text: str) -> str:
    """Return `text` with what could steer a terminal (escapes, controls, text-direction marks) made visible."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def wants_color() -> bool:
    """Whether stderr gets colours: NO_COLOR forbids, FORCE_COLOR demands, else a terminal that is not dumb."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def wants_bars() -> bool:
    """Whether progress is drawn live: a terminal that is not dumb, and not CI."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def say(label: str, message: str, *, color: str = "") -> None:
    """Print `label: message` on stderr; a lost stderr is no reason to stop."""
    head = f"\x1b[{color}m{label}:\x1b[0m " if label and color and wants_color() else f"{label}: " if label else ""
    with suppress(OSError, ValueError):
        print(head + printable(message), file=sys.stderr, flush=True)


def emit(data: bytes) -> None:
    """Write to stdout, at once; raises OutputClosed, or ResourceError where the disk under it is full."""
    from electra_cli.artifacts.storage import storage_errors

    if sys.stdout is None:
        return
    with storage_errors("standard output"):
        try:
            sys.stdout.flush()
            if hasattr(sys.stdout, "buffer"):
                sys.stdout.buffer.write(data)
            else:  # somebody collects text
                sys.stdout.write(data.decode("utf-8", "surrogateescape"))
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise OutputClosed from error


def emit_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object and a newline to stdout, in ASCII: it survives any locale and any file name."""
    emit(json.dumps(plain(value), allow_nan=False).encode("ascii") + b"\n")


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: nan and infinity as null, numpy's numbers as Python's, the rest as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    item = getattr(value, "item", None)
    return plain(item()) if callable(item) else str(value)


def error_json(error: ElectraError) -> dict[str, Any]:
    """Return the object that `--json` prints for an error."""
    body = {"code": error.code, "message": error.message, "where": error.where, "hint": error.hint}
    return {"ok": False, "error": {**body, "exit_code": int(error.exit_code)}}


def command_line(*parts: str | os.PathLike[str]) -> str:
    """Return a command as a shell takes it, every part quoted where needed."""
    return shlex.join(os.fspath(part) for part in parts)


def figure(value: Any, unit: str = "") -> str:
    """Return a number as people read it: thousands separated, four digits of a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if unit == "bytes":
        size = float(value)
        for name in ("bytes", "kB", "MB", "GB"):
            if abs(size) < 1000:
                return f"{size:.0f} {name}" if name == "bytes" else f"{size:.1f} {name}"
            size /= 1000
        return f"{size:.1f} TB"
    if isinstance(value, int):
        return f"{value:,}" + (f" {unit}" if unit else "")
    shown = f"{value:,.0f}" if math.isfinite(value) and abs(value) >= 1000 else f"{value:.4g}"
    return shown + (f" {unit}" if unit else "")


def duration(seconds: float) -> str:
    """Return a time span as h:mm:ss, m:ss or seconds."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class PlainMeter:
    """Progress as a line now and then."""

    def __init__(self, name: str, total: int | None, unit: str, done: int, seconds: float) -> None:
        self.name, self.total, self.unit = name, total, unit
        self._first = self._count = done
        self._values: Mapping[str, float | str] = {}
        self._seconds = seconds
        self._start = self._last = time.monotonic()
        self._told: int | None = None

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""
        self._count += amount
        if time.monotonic() - self._last >= self._seconds:
            self._speak()

    def show(self, values: Mapping[str, float | str]) -> None:
        """Replace the figures shown beside the progress."""
        self._values = dict(values)

    def finish(self) -> None:
        """Say the last count, if there was a line before and it is no longer true."""
        if self._told is not None and self._count != self._told:
            self._speak()

    def _speak(self) -> None:
        self._last = time.monotonic()
        self._told = self._count
        elapsed = self._last - self._start
        rate = (self._count - self._first) / elapsed if elapsed > 0 else 0.0
        count = figure(self._count, "bytes" if self.unit == "bytes" else "")
        if self.total is not None:
            count += f" of {figure(self.total, 'bytes' if self.unit == 'bytes' else '')}"
        text = f"{count}{'' if self.unit == 'bytes' else ' ' + self.unit}, {figure(rate, self.unit)}/s"
        if self.total is not None and rate > 0:
            text += f", {duration((self.total - self._count) / rate)} left"
        for key, value in self._values.items():
            text += f", {key} {figure(value)}"
        say(self.name, text)


class Ui:
    """One command's conversation with the user; a `Reporter`."""

    def __init__(self, command: str, *, json: bool, quiet: bool, plain_seconds: float = PLAIN_SECONDS) -> None:
        self.command, self.json, self.quiet = command, json, quiet
        self._plain_seconds = plain_seconds
        self._bars: Bars | None = None

    def note(self, message: str) -> None:
        """Say something worth reading."""
        if not self.quiet:
            self._say("", message)

    def warn(self, message: str) -> None:
        """Say something that the user may have to act on."""
        self._say("warning", message, color="33")

    @contextmanager
    def progress(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Meter]:
        """Show progress of `name` in `unit`s while the block runs."""
        if self.quiet:
            yield SilentMeter()
        elif wants_bars():
            from electra_cli.cli.bars import Bars

            if self._bars is None:
                self._bars = Bars()
            with self._bars.task(name, total=total, unit=unit, done=done) as bar:
                yield bar
        else:
            meter = PlainMeter(name, total, unit, done, self._plain_seconds)
            yield meter
            meter.finish()

    def line(self, text: str) -> None:
        """Print one line of the product on stdout."""
        emit(text.encode("utf-8", "surrogateescape") + b"\n")

    def page(self, text: str, *, summary: Mapping[str, Any], artifact: Artifact | None = None) -> None:
        """Print what a command found out: `text` for people, or with `--json` the object with `summary`."""
        if self.json:
            self._object("ok", artifact, summary)
        else:
            self.line(printable(text))

    def print_config(self, resolved: Resolved[Settings]) -> None:
        """Print the settings as TOML that `--config` takes, each with its source."""
        from electra_cli.cli.settings_page import as_toml

        config = resolved.settings.model_dump(mode="json")
        if self.json:
            self._object("config", None, {"config": config, "sources": resolved.sources})
        else:
            self.line(printable(as_toml(resolved)))

    def published(self, outcome: Outcome, next_commands: Sequence[str] = ()) -> None:
        """Say what was made; the path (or with `--json` the object) is the one line on stdout."""
        artifact = outcome.artifact
        figures = ", ".join(f"{key} {figure(value)}" for key, value in outcome.summary.items() if _is_plain(value))
        self.note(f"{outcome.status}: {artifact.kind} {artifact.path}" + (f" ({figures})" if figures else ""))
        for command in next_commands:
            self.note(f"next: {command}")
        if self.json:
            self._object(outcome.status, artifact, outcome.summary)
        elif sys.stdout is not None and sys.stdout.isatty():
            self.line(printable(os.fspath(artifact.path)))
        else:
            emit(os.fsencode(artifact.path) + b"\n")

    def close(self) -> None:
        """End live displays."""
        if self._bars is not None:
            self._bars.stop()

    def _object(self, status: str, artifact: Artifact | None, summary: Mapping[str, Any]) -> None:
        emit_json(
            {
                "ok": True,
                "command": self.command,
                "status": status,
                "path": os.fspath(artifact.path) if artifact else None,
                "content_id": artifact.content_id if artifact else None,
                "summary": dict(summary),
            }
        )

    def _say(self, label: str, message: str, *, color: str = "") -> None:
        with self._bars.paused() if self._bars is not None else nullcontext():
            say(label, message, color=color)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


@contextmanager
def session(command: str, *, json: bool = False, quiet: bool = False) -> Iterator[Ui]:
    """Yield the `Ui` of `command`; errors pass through to the one boundary in `main`."""
    ui = Ui(command, json=json, quiet=quiet)
    try:
        yield ui
    finally:
        ui.close()
