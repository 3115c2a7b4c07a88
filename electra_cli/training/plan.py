"""Which rows each step takes: phases of different row lengths, and a batch that grows at the beginning.

All of it is a pure function of the step, so an interrupted run continues from its number alone. Importing this loads
nothing heavy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd


@dataclass(frozen=True)
class Ramp:
    """A linear growth of the rows in a step.

    Attributes:
        start: rows in the first step, of a batch of `full`.
        full: rows in a step after the ramp.
        steps: how long it grows; step `steps` is the first with a full batch.
    """

    start: int
    full: int
    steps: int


@dataclass(frozen=True)
class StepRows:
    """The rows of one step.

    Attributes:
        phase: the number of its phase, from 0.
        start: position of the first row in the phase's endless order.
        sizes: rows in each of its forward passes.
        number: forward passes in the run before this step's: what dropout's noise is drawn by.
    """

    phase: int
    start: int
    sizes: tuple[int, ...]
    number: int


@dataclass(frozen=True)
class Phase:
    """A stretch of steps over rows of one length.

    Attributes:
        first: its first step, counted from 0.
        stop: the step after its last.
        length: tokens in a row, pads included.
        rows: rows in a step with a full batch.
        micro_batch: rows in one forward pass, a divisor of `rows`; None for the whole step at once.
        ramp: the growth of the batch, counted from the run's first step.
    """

    first: int
    stop: int
    length: int
    rows: int
    micro_batch: int | None
    ramp: Ramp | None = None

    @property
    def steps(self) -> int:
        """How many steps it has."""
        return self.stop - self.first

    @property
    def largest_pass(self) -> int:
        """The most rows that a forward pass has."""
        return self.micro_batch or self.rows

    def rows_at(self, step: int) -> int:
        """Rows in a step; while the batch grows, the multiple of the micro-batch at or below the straight line.

        With no micro-batch it grows by multiples of what divides the ramp's start and end alike.
        """
        ramp = self.ramp
        if ramp is None or step >= ramp.steps:
            return self.rows
        unit = self.micro_batch or max(1, self.rows * gcd(ramp.start, ramp.full) // ramp.full)
        line, whole = ramp.start * ramp.steps + (ramp.full - ramp.start) * step, ramp.full * ramp.steps
        return min(self.rows, max(unit, self.rows * line // whole // unit * unit))

    def rows_before(self, step: int) -> int:
        """Rows in this phase's steps before `step`."""
        found, at, steps = 0, self.first, range(step)
        while at < step:  # one turn for each size that the batch has
            rows = self.rows_at(at)
            following = bisect_right(steps, rows, lo=at, key=self.rows_at)
            found += rows * (following - at)
            at = following
        return found

    def passes_before(self, step: int) -> int:
        """Forward passes in this phase's steps before `step`."""
        return step - self.first if self.micro_batch is None else self.rows_before(step) // self.micro_batch


@dataclass(frozen=True)
class RowPlan:
    """The phases of a run, in order; the first begins with step 0, each with the step after the one before."""

    phases: tuple[Phase, ...]

    @property
    def steps(self) -> int:
        """Steps in the run."""
        return self.phases[-1].stop

    def at(self, step: int) -> int:
        """The number of the phase, from 0, that takes `step`; the last one's for the end of the run."""
        return next((number for number, phase in enumerate(self.phases) if step < phase.stop), len(self.phases) - 1)

    def rows_before(self, step: int) -> tuple[int, ...]:
        """Rows taken before `step` from each phase."""
        return tuple(phase.rows_before(min(max(step, phase.first), phase.stop)) for phase in self.phases)

    def walk(self, first: int) -> Iterator[StepRows]:
        """Yield the rows of step `first` and of every step after it."""
        passes = 0
        for number, phase in enumerate(self.phases):
            at = min(max(first, phase.first), phase.stop)
            start, passes = phase.rows_before(at), passes + phase.passes_before(at)
            for step in range(at, phase.stop):
                rows = phase.rows_at(step)
                size = phase.micro_batch or rows
                yield StepRows(number, start, (size,) * (rows // size), passes)
                start, passes = start + rows, passes + rows // size


def row_plan(
    *,
    steps: int,
    lengths: Sequence[int],
    batch_size: int,
    micro_batch: int | None = None,
    shares: Sequence[float] | None = None,
    batch_sizes: Sequence[int] | None = None,
    ramp_from: int | None = None,
    ramp_steps: int = 0,
) -> RowPlan:
    """The plan of a run.

    Args:
        steps: optimizer steps.
        lengths: tokens in a row of each phase.
        batch_size: rows in a step of the first phase.
        micro_batch: rows in one forward pass of the first phase. Another phase gets the largest divisor of its batch
            with no more tokens in a pass.
        shares: each phase's share of the steps; None for one phase.
        batch_sizes: rows in a step of each phase; by default as many tokens as in the first.
        ramp_from: rows in the first step; None for no ramp.
        ramp_steps: steps over which the batch grows; other phases take the same share of their batch meanwhile.

    Raises:
        ValueError: a phase would have no step.
    """
    ramp = Ramp(ramp_from, batch_size, ramp_steps) if ramp_from is not None and ramp_steps else None
    ends = [round(steps * sum((shares or [1.0])[: number + 1])) for number in range(len(lengths) - 1)] + [steps]
    phases: list[Phase] = []
    for number, (length, stop) in enumerate(zip(lengths, ends, strict=True)):
        first = phases[-1].stop if phases else 0
        if stop <= first:
            raise ValueError(f"phase {number + 1} has no step: {steps} steps are too few for its share")
        rows = batch_sizes[number] if batch_sizes else max(1, batch_size * lengths[0] // length)
        micro = None
        if micro_batch is not None:
            most = max(1, micro_batch * lengths[0] // length)
            micro = next(size for size in range(min(most, rows), 0, -1) if rows % size == 0)
        phases.append(Phase(first, stop, length, rows, micro, ramp))
    return RowPlan(tuple(phases))
