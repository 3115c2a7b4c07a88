"""Tells a run while it goes on that it is not learning: rules and bands over the records as they are written.

What is raised depends on the records alone, and a resumed run reads its earlier ones again, so that it raises what an
undisturbed run would have raised, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from electra_cli.reporting import Reporter
from electra_cli.training.bands import Size, bands_at
from electra_cli.training.health import RULES, Past, Plan, Record, number
from electra_cli.training.history import History, read_history

_OVER = {"train": 5, "held-out": 2, "embeddings": 2}  # records in a row that end an alarm


@dataclass(frozen=True)
class Finding:
    """Something that has begun to be wrong.

    Attributes:
        level: `warning`, or `note` for a figure outside its band, which may be the text's nature.
        code: a stable name.
        message: what was seen.
        advice: what to do.
    """

    level: Literal["warning", "note"]
    code: str
    message: str
    advice: str


@dataclass
class _Alarm:
    """Whether one thing is wrong just now, and for how many records in a row it has looked otherwise."""

    on: bool = False
    streak: int = 0

    def rises(self, *, wrong: bool, lines: int, over: int) -> bool:
        """Take one record's verdict; True where it is the last of `lines` that set the alarm off.

        It takes `over` records in a row that look right to end it, so that a figure near its threshold is told once.
        """
        self.streak = self.streak + 1 if wrong != self.on else 0
        if self.streak < (over if self.on else lines):
            return False
        self.on, self.streak = wrong, 0
        return wrong


class Watch:
    """Judges the records of one run, in order.

    Args:
        plan: what the rules have to know.
        size: which bands hold.
        tokens_per_step: real tokens of a step, for the bands.
    """

    def __init__(self, plan: Plan, *, size: Size, tokens_per_step: float) -> None:
        self.plan, self.size, self.tokens_per_step = plan, size, tokens_per_step
        self._past = Past()
        self._alarms: dict[tuple[str, str], _Alarm] = {}

    def see(self, record: Record) -> list[Finding]:
        """What begins to be wrong with this record; what goes on being wrong is not told again until it was right."""
        found = []
        for rule in RULES:
            if rule.kind == record["kind"]:
                message = rule.check(self.plan, self._past, record)
                if self._alarm(rule.code, rule.kind).rises(
                    wrong=message is not None, lines=rule.lines, over=_OVER[rule.kind]
                ):
                    found.append(Finding("warning", rule.code, str(message), rule.advice))
        if record["kind"] == "held-out":
            found += self._outside(record)
        self._past.add(record)
        return found

    def _outside(self, record: Record) -> list[Finding]:
        found = []
        tokens = record["step"] * self.tokens_per_step
        for band in bands_at(self.size, tokens):
            value = number(record, band.metric)
            wrong = value < band.low or value > band.high
            if self._alarm("OUT_OF_BAND", band.metric).rises(wrong=wrong, lines=1, over=_OVER["held-out"]):
                message = (
                    f"{band.metric} is {value:.3f} after {tokens:,.0f} tokens; {band.low:g} to {band.high:g} is "
                    f"expected of a {band.size} model ({band.source})"
                )
                advice = "other text, vocabulary or settings move it; compare with a run that you trust"
                found.append(Finding("note", "OUT_OF_BAND", message, advice))
        return found

    def _alarm(self, code: str, what: str) -> _Alarm:
        return self._alarms.setdefault((code, what), _Alarm())


class WatchedHistory(History):
    """A history whose records are judged as they are appended; what is found is recorded behind them, and told.

    Opening it reads again what the run wrote up to `last_step`, without telling it again.
    """

    def __init__(self, path: Path, *, last_step: int, watch: Watch, report: Reporter) -> None:
        super().__init__(path, last_step=last_step)
        self._watch, self._report = watch, report
        for record in read_history(path):
            self._watch.see(record)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record and what it shows to be wrong."""
        super().append(record)
        for finding in self._watch.see(record):
            told = {"code": finding.code, "message": finding.message, "advice": finding.advice}
            super().append({"step": record["step"], "kind": finding.level, **told})
            tell = self._report.warn if finding.level == "warning" else self._report.note
            tell(f"step {record['step']:,}: {finding.message}; {finding.advice} [{finding.code}]")
