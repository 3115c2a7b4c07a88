"""The data of a pretraining run: its phases, the parts that each mixes, held-out rows, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, groupby
from typing import Any

from electra_cli.artifacts import Artifact
from electra_cli.data.masking import MaskingRule, masked_slots
from electra_cli.data.mixture import apportion, mixture_weights
from electra_cli.data.shards import ShardSet
from electra_cli.errors import UsageError
from electra_cli.model.pretraining import Electra
from electra_cli.runtime.counters import key
from electra_cli.runtime.machine import Machine
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.stages.pretrain_sources import groups_of
from electra_cli.stages.rows import HELD_OUT_SEED, CountedBatch, MaskedRows
from electra_cli.training.flops import row_flops
from electra_cli.training.plan import RowPlan, StepRows, row_plan
from electra_cli.training.work import RowStock, Work

PHASE = 12  # purpose of a draw, part of its key


def stocks_of(sources: Sequence[Artifact], settings: PretrainSettings, *, model: Electra) -> list[RowStock]:
    """What the phases draw from, and what a step computes for a row.

    Of `model` only the shapes count. A mixture has all rows of its parts, and the tokens that as many rows have where
    they are drawn by its weights.
    """
    shapes = (model.discriminator.shape, model.generator_shape)
    stocks = []
    for group, weights in zip(groups_of(sources, settings), weights_of(sources, settings), strict=True):
        length = group[0].spec["length"]
        slots = masked_slots(settings.objective.mask_fraction, length=length)
        flops = row_flops(*shapes, length=length, slots=slots, variant=model.variant)
        counts = [source.spec["splits"]["train"] for source in group]
        rows, whole = sum(count["rows"] for count in counts), sum(weights)
        # [CLS] and [SEP] around each piece of packed rows; else nine rows in ten have a second [SEP]
        specials = [2 * count["pieces"] if "pieces" in count else 3 * count["rows"] for count in counts]
        tokens, special = (
            sum(
                Fraction(weight * rows * number, whole * count["rows"])
                for weight, count, number in zip(weights, counts, numbers, strict=True)
            )
            for numbers in ([count["tokens"] for count in counts], specials)
        )
        stocks.append(RowStock(rows, round(tokens), flops, round(special)))
    return stocks


def weights_of(sources: Sequence[Artifact], settings: PretrainSettings) -> list[tuple[int, ...]]:
    """The weights of the parts that each phase mixes."""
    mixture = settings.mixture
    return [
        mixture_weights(
            [source.spec["splits"]["train"]["rows"] for source in group],
            weights=mixture.weights,
            temperature=mixture.temperature,
        )
        for group in groups_of(sources, settings)
    ]


def parts_of(sources: Sequence[Artifact], settings: PretrainSettings, *, plan: RowPlan) -> list[list[dict[str, Any]]]:
    """Of each phase, the parts that it mixes: content id, rows, share, and how often a whole run reads them."""
    phases = zip(groups_of(sources, settings), weights_of(sources, settings), plan.rows_before(plan.steps), strict=True)
    return [
        [
            {"shards": source.content_id, "rows": rows, "share": weight / sum(weights), "epochs": taken / rows}
            for source, weight, taken in zip(group, weights, apportion(weights, total), strict=True)
            for rows in (source.spec["splits"]["train"]["rows"],)
        ]
        for group, weights, total in phases
    ]


def work_of(sources: Sequence[Artifact], settings: PretrainSettings, *, stocks: Sequence[RowStock]) -> Work:
    """The rows of each step, and what they add up to.

    Raises:
        UsageError: a phase would have no step.
    """
    optimizer, phases = settings.optimizer, settings.phases
    try:
        plan = row_plan(
            steps=optimizer.steps,
            lengths=[group[0].spec["length"] for group in groups_of(sources, settings)],
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


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows of one part of a phase.

    Attributes:
        part: its number, from 1.
        source: where they lie.
        rows: the rows.
        weight: of the part.
    """

    part: int
    source: Artifact
    rows: MaskedRows
    weight: int


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
        self.work = work_of(sources, settings, stocks=stocks_of(sources, settings, model=model))
        self.plan = self.work.plan
        self.parts = parts_of(sources, settings, plan=self.plan)
        self.rows: list[MaskedRows] = []
        self.held_out: list[list[HeldOut]] = []  # of each phase, of those parts that have some
        shared: Any = {"rule": rule, "machine": machine, "with_candidates": settings.objective.kind == "electric"}
        groups = zip(groups_of(sources, settings), weights_of(sources, settings), strict=True)
        for number, (group, weights) in enumerate(groups):
            # The first phase draws by the run's seed itself, the others by keys of their own: a second look at the same
            # shards is in another order, with other masks.
            seed = settings.seed if number == 0 else abs(key(settings.seed, PHASE, number))
            self.rows.append(MaskedRows(ShardSet(group, "train"), seed=seed, weights=weights, **shared))
            self.held_out.append(
                [
                    HeldOut(part, source, MaskedRows(ShardSet(source, "val"), seed=HELD_OUT_SEED, **shared), weight)
                    for part, (source, weight) in enumerate(zip(group, weights, strict=True), start=1)
                    if source.spec["splits"].get("val", {}).get("rows", 0)
                ]
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

    def evaluated(self, number: int, *, limit: int) -> list[tuple[MaskedRows, int]]:
        """The held-out rows of a phase, and how many of each part are measured: by its weight, at least one."""
        found = self.held_out[number]
        counts = apportion([part.weight for part in found], limit)
        return [(part.rows, min(max(1, n), part.rows.shards.rows)) for part, n in zip(found, counts, strict=True)]

    def mixed(self, step: int) -> dict[str, list[float]]:
        """What a record of a mixture says besides: what the phase took of each part so far, as shares and as epochs."""
        number = self.plan.at(max(0, step - 1))
        order = self.rows[number].order
        if len(order.part_rows) == 1:
            return {}
        taken = order.taken(self.plan.rows_before(step)[number])
        epochs = [count / rows for count, rows in zip(taken, order.part_rows, strict=True)]
        return {"part_shares": [count / sum(taken) for count in taken], "part_epochs": epochs}

    def label(self, step: int) -> dict[str, Any]:
        """What a record of a run of several phases says besides: the phase of the last of `step` steps, from 1."""
        return {} if len(self.rows) == 1 else {"phase": self.plan.at(max(0, step - 1)) + 1}

    def ends(self, step: int) -> bool:
        """Whether `step` steps end a phase (and perhaps the run)."""
        return any(phase.stop == step for phase in self.plan.phases)
