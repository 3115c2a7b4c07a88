"""A few real steps on a copy of the networks that is thrown away: what a run will take on this device."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from electra_cli.artifacts import Artifact, Draft, Recipe
from electra_cli.reporting import Reporter, Silent
from electra_cli.runtime.machine import keep_freed_memory
from electra_cli.runtime.memory import held_bytes, peak_bytes, reset_peak
from electra_cli.runtime.peak import Peak, peak_of
from electra_cli.stages.pretrain_run import PretrainRun
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.training.plan import RowPlan

SLOW_STEP = 10.0  # seconds; of steps that take longer, few are timed
MOST_SECONDS, FEWEST_STEPS, ENOUGH_SECONDS = 20.0, 3, 1.0
EVALUATED_PASSES = 4  # forward passes of an evaluation that are timed; the rest is as many times more


@dataclass(frozen=True)
class Rehearsal:
    """What was measured.

    Attributes:
        step_seconds: of a step with a full batch, for each phase.
        evaluation_seconds: of one whole evaluation, for each phase; 0 without held-out rows.
        checkpoint_seconds: of saving one.
        work_bytes: what activations and everything else but weights, gradients and moments took at most.
        peak_bytes: the most memory held: of the whole process on a CPU, of tensors on a GPU.
        peak: the device's best rate.
        device: its name.
        precision: the compute type.
    """

    step_seconds: tuple[float, ...]
    evaluation_seconds: tuple[float, ...]
    checkpoint_seconds: float
    work_bytes: int
    peak_bytes: int
    peak: Peak
    device: str
    precision: str

    def seconds(self, plan: RowPlan, settings: PretrainSettings) -> float:
        """How long a run takes: its steps, evaluations and checkpoints. Smaller batches of a ramp cost their share."""
        steps, every = plan.steps, settings.evaluation.every
        taken = sum(
            rows / phase.rows * seconds
            for rows, phase, seconds in zip(plan.rows_before(steps), plan.phases, self.step_seconds, strict=True)
        )
        evaluations = [phase.stop // every - phase.first // every + (phase.stop % every != 0) for phase in plan.phases]
        evaluations[0] += 1  # before the first step
        evaluations[-1] += settings.averaging.every is not None
        saved = steps // settings.checkpoints.every + sum(evaluations)  # each evaluation may find the best so far
        evaluating = sum(n * seconds for n, seconds in zip(evaluations, self.evaluation_seconds, strict=True))
        return taken + evaluating + saved * self.checkpoint_seconds


def rehearse(
    sources: Sequence[Artifact], recipe: Recipe, *, settings: PretrainSettings, report: Reporter, folder: Path | None
) -> Rehearsal:
    """Measure a few steps with full batches of each phase, a part of an evaluation, and a checkpoint.

    Args:
        sources: the shards.
        recipe: the run's.
        settings: the run's; its cadences and steps do not matter.
        report: for the word that it takes a moment.
        folder: where the checkpoint is written and removed again; None for the system's temporary folder.
    """
    keep_freed_memory()
    report.note("measuring a few steps on this device")
    with tempfile.TemporaryDirectory(prefix=".rehearsal-", dir=folder) as scratch:
        draft = Draft(Path(scratch), Path(scratch), recipe, resumed=False)
        run = PretrainRun(sources, draft, settings=settings, report=Silent())
        device = run.machine.device
        reset_peak(device)
        before = held_bytes(device)
        step_seconds = tuple(_step_seconds(run, number) for number in range(len(run.phases.rows)))
        peak = peak_bytes(device)
        gradients = sum(p.numel() * p.element_size() for p in run.model.parameters())
        evaluation_seconds = tuple(_evaluation_seconds(run, number) for number in range(len(run.phases.rows)))
        started = time.perf_counter()
        run.save()
        return Rehearsal(
            step_seconds=step_seconds,
            evaluation_seconds=evaluation_seconds,
            checkpoint_seconds=time.perf_counter() - started,
            work_bytes=max(0, peak - before - gradients),
            peak_bytes=peak,
            peak=peak_of(run.machine),
            device=run.machine.name,
            precision=run.machine.precision,
        )


def _step_seconds(run: PretrainRun, phase: int) -> float:
    """The mean time of a phase's full step, after two that only warm up.

    Where steps are slow, the second is timed already, unless it is so much faster than the first that something was
    compiled in that.
    """
    clock = _Clock(run.machine.device)
    steps = run.steps(run.phases.full_steps(phase), first=0)
    next(steps)
    first = clock.lap()
    next(steps)
    second = clock.lap()
    warm = first < SLOW_STEP or second < first / 2
    taken, total = (0, 0.0) if warm else (1, second)
    while taken == 0 or (total < MOST_SECONDS and (taken < FEWEST_STEPS or total < ENOUGH_SECONDS)):
        next(steps)
        taken, total = taken + 1, total + clock.lap()
    return total / taken


def _evaluation_seconds(run: PretrainRun, phase: int) -> float:
    if not run.phases.held_out[phase]:
        return 0.0
    whole = sum(count for _, count in run.phases.evaluated(phase, limit=run.settings.evaluation.rows))
    part = min(whole, EVALUATED_PASSES * run.phases.plan.phases[phase].largest_pass)
    run.measured(phase, limit=1)  # opens the shard and compares its hash
    clock = _Clock(run.machine.device)
    run.measured(phase, limit=part)
    return clock.lap() * whole / part


class _Clock:
    """Seconds between calls, the device's work included."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._last = device, 0.0
        self.lap()

    def lap(self) -> float:
        """Seconds since the last call."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        last, self._last = self._last, time.perf_counter()
        return self._last - last
