"""What a pretraining run will take, before it begins: sizes, arithmetic, data, memory, time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from electra_cli.artifacts import Artifact, Recipe
from electra_cli.model.pretraining import Electra
from electra_cli.reporting import Reporter
from electra_cli.stages.pretrain_budget import steps_within, with_steps
from electra_cli.stages.pretrain_pair import build_pair
from electra_cli.stages.pretrain_phases import parts_of, stocks_of, work_of
from electra_cli.stages.pretrain_rehearsal import Rehearsal, rehearse
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.training.flops import paper_flops
from electra_cli.training.work import Work

# The names that parameters of any objective begin with → the part that they are counted in.
PARTS = {
    "embeddings": "embeddings",
    "discriminator": "discriminator",
    "generator": "generator",
    "towers": "generator",
    "discriminator_head": "discriminator_head",
    "word_head": "discriminator_head",
    "copy_gate": "discriminator_head",
    "generator_head": "generator_head",
}


def foresee(
    sources: Sequence[Artifact], recipe: Recipe, *, settings: PretrainSettings, report: Reporter
) -> dict[str, Any]:
    """The figures of a run, ready for JSON; see `stages.pretrain.dry_run`.

    Raises:
        UsageError: sizes that do not fit, or a budget that is too small.
    """
    started = time.perf_counter()
    spec = sources[0].spec
    with torch.device("meta"):  # shapes without weights
        longest = max(source.spec["length"] for source in sources)
        model = build_pair(settings, vocab_size=spec["vocab_size"], length=longest)
    stocks = stocks_of(sources, settings, model=model)
    work_of(sources, settings, stocks=stocks)  # refuses what does not fit before anything is measured
    rehearsal = rehearse(sources, recipe, settings=settings, report=report, folder=None)
    if settings.budget is not None:
        spent = time.perf_counter() - started
        settings = with_steps(settings, steps_within(sources, settings, rehearsal=rehearsal, spent=spent))
    work = work_of(sources, settings, stocks=stocks)
    parameters = count_parameters(model)
    return {
        "steps": work.plan.steps,
        "budget": settings.budget,
        "parameters": parameters,
        "flops": _flops(model, work),
        "data": _data(work, parts_of(sources, settings, plan=work.plan)),
        "memory": _memory(parameters["total"], rehearsal, averaging=settings.averaging.every is not None),
        "time": _time(work, rehearsal, settings),
    }


def count_parameters(model: Electra) -> dict[str, int]:
    """Parameters by part, shared ones once, and in total."""
    counts = dict.fromkeys(PARTS.values(), 0)
    for name, parameter in model.named_parameters():
        counts[PARTS[name.split(".")[0]]] += parameter.numel()
    return {**counts, "total": sum(counts.values())}


def _flops(model: Electra, work: Work) -> dict[str, Any]:
    steps, phases = work.plan.steps, work.plan.phases
    shapes = model.discriminator.shape, model.generator_shape
    taken = work.plan.rows_before(steps)
    return {
        "per_token": [stock.flops / phase.length for stock, phase in zip(work.stocks, phases, strict=True)],
        "per_step": [stock.flops * phase.rows for stock, phase in zip(work.stocks, phases, strict=True)],
        "run": float(work.flops_before(steps)),
        "released_count": sum(
            paper_flops(*shapes, length=phase.length, rows=rows) for phase, rows in zip(phases, taken, strict=True)
        ),
    }


def _data(work: Work, parts: list[list[dict[str, Any]]]) -> dict[str, Any]:
    tokens, positions = work.tokens_before(work.plan.steps), work.positions_before(work.plan.steps)
    phases = [
        {
            "steps": phase.steps,
            "length": phase.length,
            "rows_per_step": phase.rows,
            "first_step_rows": phase.rows_at(phase.first),
            "micro_batch": phase.largest_pass,
            "rows": stock.rows,
            "padding": 1 - stock.tokens / (stock.rows * phase.length),
            "epochs": epochs,
            **({"parts": mixed} if len(mixed) > 1 else {}),
        }
        for phase, stock, epochs, mixed in zip(work.plan.phases, work.stocks, work.epochs(), parts, strict=True)
    ]
    padding = 1 - tokens / positions
    return {"tokens": round(tokens), "tokens_with_padding": positions, "padding": padding, "phases": phases}


def _memory(parameters: int, rehearsal: Rehearsal, *, averaging: bool) -> dict[str, int]:
    """Bytes: float32 weights, gradients, two moments, perhaps an average; activations and the peak as measured."""
    return {
        "weights": 4 * parameters,
        "gradients": 4 * parameters,
        "moments": 8 * parameters,
        "average": 4 * parameters if averaging else 0,
        "activations": rehearsal.work_bytes,
        "peak": rehearsal.peak_bytes,
    }


def _time(work: Work, rehearsal: Rehearsal, settings: PretrainSettings) -> dict[str, Any]:
    phases = list(zip(work.plan.phases, work.stocks, rehearsal.step_seconds, strict=True))
    peak = rehearsal.peak.flops_per_second
    return {
        "device": rehearsal.device,
        "precision": rehearsal.precision,
        "step_seconds": list(rehearsal.step_seconds),
        "tokens_per_second": [phase.rows * phase.length / seconds for phase, _, seconds in phases],
        "mfu": [phase.rows * stock.flops / seconds / peak for phase, stock, seconds in phases],
        "peak_flops_per_second": peak,
        "peak_source": rehearsal.peak.source,
        "evaluation_seconds": list(rehearsal.evaluation_seconds),
        "checkpoint_seconds": rehearsal.checkpoint_seconds,
        "hours": rehearsal.seconds(work.plan, settings) / 3600,
    }
