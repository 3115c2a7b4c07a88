"""Which rows of a step made its loss something that is not finite, by file and row, for the person who has to look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from electra_cli.data.shards import ShardSet
from electra_cli.model.pretraining import Electra, MaskedBatch
from electra_cli.stages.pair import Stage, Weights, pair_losses
from electra_cli.stages.rows import CountedBatch

NAMED = 16  # rows that a message names; a step may have thousands


def describe_failure(
    model: Electra,
    batches: Sequence[CountedBatch],
    *,
    shards: ShardSet,
    weights: Weights,
    dtype: torch.dtype,
    stage: Stage,
) -> str:
    """Say which rows of a step are to blame for a loss or gradient that is not finite.

    The step is computed again without dropout, whole, then in halves down to the rows whose own loss is not finite.
    Where weights are not finite already, or each row's loss is, the rows cannot tell, and all of the step are named.

    Args:
        model: with the weights that the step began with.
        batches: the step's micro-batches.
        shards: where their rows lie.
        weights: of the two losses.
        dtype: of the activations.
        stage: which network learns in the step.
    """
    everything = [int(row) for batch in batches for row in batch.rows_B]
    where = name_rows(shards, everything)
    broken = [name for name, tensor in model.named_parameters() if not bool(torch.isfinite(tensor).all())]
    bad = [row for batch in batches for row in _bad_rows(model, batch, weights=weights, dtype=dtype, stage=stage)]
    if bad and len(bad) < len(everything):
        return name_rows(shards, bad)
    if broken:
        more = f" and {len(broken) - 3} more weights" if len(broken) > 3 else ""
        return f"{', '.join(broken[:3])}{more} not finite before the step; its rows: {where}"
    if bad:
        return f"every row of the step: {where}"
    return f"each row's loss is finite without dropout; the step's rows: {where}"


def name_rows(shards: ShardSet, rows: Iterable[int]) -> str:
    """Rows by shard file and number within it: `train-000003-0000.arrow rows 17, 512 (global 40017, 40512)`."""
    ordered = sorted(set(rows))
    within: dict[str, list[tuple[int, int]]] = {}
    for row in ordered[:NAMED]:
        name, place = shards.place(row)
        within.setdefault(name, []).append((place, row))
    named = [
        f"{name} {'row' if len(found) == 1 else 'rows'} {', '.join(str(place) for place, _ in found)} "
        f"(global {', '.join(str(row) for _, row in found)})"
        for name, found in within.items()
    ]
    more = f" and {len(ordered) - NAMED} more" if len(ordered) > NAMED else ""
    return "; ".join(named) + more


@torch.no_grad()
def _bad_rows(
    model: Electra, batch: CountedBatch, *, weights: Weights, dtype: torch.dtype, stage: Stage
) -> Iterator[int]:
    """The rows whose own loss is not finite: a part with a finite loss holds none, any other is halved."""
    if bool(torch.isfinite(pair_losses(model, batch, weights=weights, noise=None, dtype=dtype, stage=stage).total)):
        return
    count = len(batch.rows_B)
    if count == 1:
        yield int(batch.rows_B[0])
        return
    for part in (slice(0, count // 2), slice(count // 2, count)):
        piece = replace(batch, batch=_rows(batch.batch, part), rows_B=batch.rows_B[part])
        yield from _bad_rows(model, piece, weights=weights, dtype=dtype, stage=stage)


def _rows(batch: MaskedBatch, part: slice) -> MaskedBatch:
    chosen: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        chosen[field.name] = None if value is None else value[part]
    return MaskedBatch(**chosen)
