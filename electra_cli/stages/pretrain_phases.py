"""The data of a pretraining run: a phase for each shards artifact, its rows, its held-out rows, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, groupby
from typing import Any

from electra_cli.artifacts import Artifact
from electra_cli.data.masking import MaskingRule, masked_slots
from electra_cli.data.shards import ShardSet
from electra_cli.errors import UsageError
from electra_cli.model.pretraining import Electra
from electra_cli.runtime.counters import key
from electra_cli.runtime.machine import Machine
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.stages.rows import HELD_OUT_SEED, CountedBatch, MaskedRows
from electra_cli.training.flops import row_flops
from electra_cli.training.plan import StepRows, row_plan
from electra_cli.training.work import RowStock, Work

PHASE = 12  # purpose of a draw, part of its key


def stocks_of(sources: Sequence[Artifact], *, fraction: float, model: Electra) -> list[RowStock]:
    """What the phases draw from, and what a step computes for a row of which `fraction` is masked.

    Of `model` only the shapes count.
    """
    shapes = (model.discriminator.shape, model.generator_shape)
    stocks = []
    for source in sources:
        train = ShardSet(source, "train")
        slots = masked_slots(fraction, length=train.length)
        flops = row_flops(*shapes, length=train.length, slots=slots, variant=model.variant)
        stocks.append(RowStock(train.rows, train.tokens, flops))
    return stocks


def work_of(sources: Sequence[Artifact], settings: PretrainSettings, *, stocks: Sequence[RowStock]) -> Work:
    """The rows of each step, and what they add up to.

    Raises:
        UsageError: a phase would have no step.
    """
    optimizer, phases = settings.optimizer, settings.phases
    try:
        plan = row_plan(
            steps=optimizer.steps,
            lengths=[source.spec["length"] for source in sources],
            batch_size=optimizer.batch_size,
            micro_batch=optimizer.micro_batch,
            shares=phases.shares,
            batch_sizes=phases.batch_sizes,
            ramp_from=optimizer.ramp_from,
            ramp_steps=optimizer.ramp_steps,
        )
    except ValueError as error:
        raise UsageError(
            str(error), code="PHASES_UNFIT", where="phases.shares", hint="more steps, or a larger share"
        ) from error
    return Work(plan, stocks)


class Phases:
    """The rows of a run, phase by phase.

    Args:
        sources: the shards artifacts, in the order of the phases.
        settings: of the run.
        rule: how rows are masked.
        model: for counting its arithmetic.
        machine: where batches go.
    """

    def __init__(
        self,
        sources: Sequence[Artifact],
        settings: PretrainSettings,
        *,
        rule: MaskingRule,
        model: Electra,
        machine: Machine,
    ) -> None:
        self.sources = sources
        self.work = work_of(sources, settings, stocks=stocks_of(sources, fraction=rule.fraction, model=model))
        self.plan = self.work.plan
        self.rows: list[MaskedRows] = []
        self.held_out: list[MaskedRows | None] = []
        shared: Any = {"rule": rule, "machine": machine, "with_candidates": settings.objective.kind == "electric"}
        for number, source in enumerate(sources):
            # The first phase draws by the run's seed itself, the others by keys of their own: a second look at the same
            # shards is in another order, with other masks.
            seed = settings.seed if number == 0 else abs(key(settings.seed, PHASE, number))
            self.rows.append(MaskedRows(ShardSet(source, "train"), seed=seed, **shared))
            held_out = source.spec["splits"].get("val", {}).get("rows", 0)
            self.held_out.append(
                MaskedRows(ShardSet(source, "val"), seed=HELD_OUT_SEED, **shared) if held_out else None
            )

    def batches(self, first: int) -> Iterator[list[CountedBatch]]:
        """Yield the micro-batches of step `first` and of every step after it."""
        for number, steps in groupby(self.plan.walk(first), key=lambda step: step.phase):
            yield from self.rows[number].steps(steps)

    def full_steps(self, number: int) -> Iterator[list[CountedBatch]]:
        """Yield steps with a full batch of a phase, endlessly: for measuring."""
        phase = self.plan.phases[number]
        sizes = (phase.largest_pass,) * (phase.rows // phase.largest_pass)
        return self.rows[number].steps(
            StepRows(number, step * phase.rows, sizes, step * len(sizes)) for step in count()
        )

    def label(self, step: int) -> dict[str, Any]:
        """What a record of a run of several phases says besides: the phase of the last of `step` steps, from 1."""
        return {} if len(self.rows) == 1 else {"phase": self.plan.at(max(0, step - 1)) + 1}

    def ends(self, step: int) -> bool:
        """Whether `step` steps end a phase (and perhaps the run)."""
        return any(phase.stop == step for phase in self.plan.phases)
