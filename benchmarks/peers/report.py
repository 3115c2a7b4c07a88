"""From samples to medians, ratios and goals."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.peers.contestants import CONTESTANTS, MEMORY_GOAL, ROOFLINE_GOAL, SPEED_GOALS
from benchmarks.peers.fleet import Sample


@dataclass(frozen=True)
class Line:
    """What came out for one contestant at one batch size.

    Attributes:
        name: of the contestant.
        batch: rows in a step.
        tokens_per_second: median of the samples that count.
        lowest: of them.
        highest: of them.
        tokens_per_cpu_second: median too; with one thread it says something on a loaded machine, with more the threads
            that wait for each other count as working.
        used: how many samples count.
        taken: how many there are.
        noisy: too few were quiet, so all of them count.
        peak_mb: largest resident memory of any of its processes.
    """

    name: str
    batch: int
    tokens_per_second: float
    lowest: float
    highest: float
    tokens_per_cpu_second: float
    used: int
    taken: int
    noisy: bool
    peak_mb: float


@dataclass(frozen=True)
class Ratio:
    """One comparison; `wanted` is None where nothing was asked for."""

    what: str
    ours: str
    peer: str
    batch: int
    ratio: float
    wanted: float | None
    noisy: bool

    @property
    def met(self) -> bool | None:
        if self.wanted is None:
            return None
        return self.ratio <= self.wanted if self.what == "memory" else self.ratio >= self.wanted


def counted(samples: Sequence[Sample]) -> tuple[list[Sample], bool]:
    """The samples that count, and whether they are noisy: the quiet ones if those are at least half, else all."""
    quiet = [sample for sample in samples if sample.quiet]
    return (quiet, False) if 2 * len(quiet) >= len(samples) else (list(samples), True)


def summarize(samples: Sequence[Sample]) -> list[Line]:
    """One line for each contestant and batch size, in the order of CONTESTANTS."""
    lines = []
    for batch in sorted({sample.batch for sample in samples}):
        for name in CONTESTANTS:
            taken = [sample for sample in samples if (sample.name, sample.batch) == (name, batch)]
            if not taken:
                continue
            used, noisy = counted(taken)
            speeds = [sample.tokens_per_second for sample in used]
            lines.append(
                Line(
                    name=name,
                    batch=batch,
                    tokens_per_second=statistics.median(speeds),
                    lowest=min(speeds),
                    highest=max(speeds),
                    tokens_per_cpu_second=statistics.median(sample.tokens_per_cpu_second for sample in used),
                    used=len(used),
                    taken=len(taken),
                    noisy=noisy,
                    peak_mb=max(sample.peak_mb for sample in taken),
                )
            )
    return lines


def ratios(lines: Sequence[Line]) -> list[Ratio]:
    """Ours beside every peer of the same run, with the goal where there is one."""
    found = {(line.name, line.batch): line for line in lines}
    result = []
    for ours in ("ours", "ours-fp32"):
        for batch in sorted({line.batch for line in lines}):
            for name in CONTESTANTS:
                mine, theirs = found.get((ours, batch)), found.get((name, batch))
                if name.startswith("ours") or mine is None or theirs is None:
                    continue
                if ours == "ours-fp32" and not CONTESTANTS[name].fp32:
                    continue
                goals = [goal for goal in SPEED_GOALS if (goal.ours, goal.peer) == (ours, name)]
                wanted = next((goal.ratio for goal in goals if batch in goal.batches), None)
                noisy = mine.noisy or theirs.noisy
                speed = mine.tokens_per_second / theirs.tokens_per_second
                result.append(Ratio("speed", ours, name, batch, speed, wanted, noisy))
                goal = MEMORY_GOAL
                if (goal.ours, goal.peer) == (ours, name):
                    wanted = goal.ratio if batch in goal.batches else None
                    result.append(Ratio("memory", ours, name, batch, mine.peak_mb / theirs.peak_mb, wanted, False))
    return result


def utilization(lines: Sequence[Line], rooflines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Useful arithmetic of our bf16 step as a share of the machine's products, for each batch size.

    Args:
        lines: from `summarize`.
        rooflines: answers of the roofline's workers, each with its batch.
    """
    result = []
    for line in lines:
        answers = [answer for answer in rooflines if answer["batch"] == line.batch]
        if line.name != "ours" or not answers:
            continue
        used = [answer for answer in answers if answer["quiet"]] or answers
        medians = {key: statistics.median(a["gflops"][key] for a in used) for key in used[0]["gflops"]}
        per_token = used[0]["flops_per_token"]
        achieved = line.tokens_per_second * per_token / 1e9
        shares = {key: achieved / medians[key] for key in ("best own", "weighted own", "best large")}
        result.append(
            {
                "batch": line.batch,
                "flops_per_token": per_token,
                "achieved_gflops": achieved,
                "gflops": medians,
                "share": shares,
                "wanted": ROOFLINE_GOAL,
                "noisy": line.noisy or not any(answer["quiet"] for answer in answers),
            }
        )
    return result


def table(lines: Sequence[Line], comparisons: Sequence[Ratio], used: Sequence[dict[str, Any]]) -> str:
    """Everything for a person to read."""
    text = [
        f"\n{'batch':>5}  {'':<58}{'tokens/s':>10}{'lowest-highest':>18}{'per CPU s':>11}{'samples':>9}{'peak MB':>9}"
    ]
    for line in lines:
        spread, used_of = f"{line.lowest:,.0f}-{line.highest:,.0f}", f"{line.used}/{line.taken}"
        text.append(
            f"{line.batch:>5}  {CONTESTANTS[line.name].title:<58}{line.tokens_per_second:>10,.0f}{spread:>18}"
            f"{line.tokens_per_cpu_second:>11,.0f}{used_of:>9}{line.peak_mb:>9,.0f}{'  noisy' if line.noisy else ''}"
        )
    if comparisons:
        text.append(f"\n{'batch':>5}  {'what':<8}{'comparison':<36}{'ratio':>7}{'goal':>9}")
    for item in comparisons:
        sign = "<=" if item.what == "memory" else ">="
        goal = "" if item.wanted is None else f"{sign} {item.wanted:g}"
        verdict = {None: "", True: "  met", False: "  missed"}[item.met] + ("  noisy" if item.noisy else "")
        text.append(
            f"{item.batch:>5}  {item.what:<8}{f'{item.ours} : {item.peer}':<36}{item.ratio:>7.2f}{goal:>9}{verdict}"
        )
    for item in used:
        text.append(
            f"\n{item['batch']:>5}  useful arithmetic {item['flops_per_token'] / 1e6:.1f} MFLOP/token, achieved "
            f"{item['achieved_gflops']:,.0f} GFLOP/s{'  noisy' if item['noisy'] else ''}"
        )
        for key, share in item["share"].items():
            goal = f", goal {item['wanted']:.0%}" if key == "best own" else ""
            text.append(f"{'':>7}{share:.1%} of {key} F.linear in bf16, {item['gflops'][key]:,.0f} GFLOP/s{goal}")
    return "\n".join(text)


def as_json(lines: Sequence[Line], comparisons: Sequence[Ratio], used: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same for a program."""
    return {
        "contestants": [asdict(line) for line in lines],
        "ratios": [{**asdict(item), "met": item.met} for item in comparisons],
        "roofline": list(used),
    }
