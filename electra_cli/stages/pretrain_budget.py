"""From what a run may cost to how many steps it takes.

The plan is made once, when the run begins, and lies in its folder as `plan.json`: whoever continues the run reads it
there, so a time measured on a busier day changes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import torch

from electra_cli.artifacts import Artifact, Draft
from electra_cli.artifacts.storage import storage_errors, write_durably
from electra_cli.errors import ArtifactError, UsageError
from electra_cli.reporting import Reporter
from electra_cli.stages.pretrain_pair import build_pair
from electra_cli.stages.pretrain_phases import stocks_of, work_of
from electra_cli.stages.pretrain_rehearsal import Rehearsal, rehearse
from electra_cli.stages.pretrain_run import PLAN
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.training.budget import most_steps, parse_budget

MARGIN = 0.03  # of a time budget, left for what a short measurement does not see
MEASURED_STEPS = 1_000_000  # of the settings that are measured, so that no phase is without a step


def within_budget(
    sources: Sequence[Artifact], draft: Draft, *, settings: PretrainSettings, report: Reporter
) -> PretrainSettings:
    """The settings with the steps that the budget allows: those of the run's plan, which is made if there is none.

    Raises:
        UsageError: the budget is too small for one step (of each phase).
        ArtifactError: the plan is damaged.
    """
    if settings.budget is None:
        return settings
    path = draft.path / PLAN
    with storage_errors(path):
        text = path.read_bytes() if path.exists() else None
    if text is not None:
        try:
            return with_steps(settings, int(json.loads(text)["steps"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"the run's plan is damaged: {error!r}",
                code="BAD_STATE",
                where=str(path),
                hint=f"remove {draft.path} to start anew",
            ) from error
    started = time.perf_counter()
    rehearsal = None
    if parse_budget(settings.budget).kind == "time":
        measured = with_steps(settings, MEASURED_STEPS)
        rehearsal = rehearse(sources, draft.recipe, settings=measured, report=report, folder=draft.path)
    spent = time.perf_counter() - started
    steps = steps_within(sources, settings, rehearsal=rehearsal, spent=spent)
    plan: dict[str, Any] = {"budget": settings.budget, "steps": steps}
    if rehearsal is not None:
        plan |= {"device": rehearsal.device, "precision": rehearsal.precision, "margin": MARGIN}
        plan |= {"measuring_seconds": spent, "step_seconds": rehearsal.step_seconds}
        plan |= {"evaluation_seconds": rehearsal.evaluation_seconds}
        plan |= {"checkpoint_seconds": rehearsal.checkpoint_seconds}
    with storage_errors(path):
        write_durably(path, json.dumps(plan, indent=2).encode("ascii") + b"\n")
    report.note(f"{settings.budget} are {steps:,} steps")
    return with_steps(settings, steps)


def steps_within(
    sources: Sequence[Artifact], settings: PretrainSettings, *, rehearsal: Rehearsal | None, spent: float = 0.0
) -> int:
    """The most steps that the settings' budget allows.

    Args:
        sources: the shards.
        settings: with a budget.
        rehearsal: what was measured; a time budget needs it.
        spent: seconds of a time budget that are gone already.

    Raises:
        UsageError: the budget is too small.
    """
    assert settings.budget is not None
    budget = parse_budget(settings.budget)
    limit = budget.amount * (1 - MARGIN) - spent if budget.kind == "time" else budget.amount
    with torch.device("meta"):  # shapes without weights
        longest = max(source.spec["length"] for source in sources)
        model = build_pair(settings, vocab_size=sources[0].spec["vocab_size"], length=longest)
    stocks = stocks_of(sources, settings, model=model)

    def cost(steps: int) -> float:
        changed = with_steps(settings, steps)
        try:
            work = work_of(sources, changed, stocks=stocks)
        except UsageError:  # too few steps for all phases: the cost of more of them decides
            return 0.0
        if budget.kind == "time":
            assert rehearsal is not None
            return rehearsal.seconds(work.plan, changed)
        return work.tokens_before(steps) if budget.kind == "tokens" else work.flops_before(steps)

    steps = most_steps(cost, limit)
    if not steps:
        raise UsageError(
            f"{settings.budget} are too little for a single step",
            code="BUDGET_TOO_SMALL",
            where="budget",
            hint="give more, or take a smaller model or batch",
        )
    work_of(sources, with_steps(settings, steps), stocks=stocks)  # or there are too few for all phases
    return steps


def with_steps(settings: PretrainSettings, steps: int) -> PretrainSettings:
    """The settings of a run of `steps` steps.

    Warm-up and ramp become a tenth of the steps where they are longer; a cadence longer than the run, a tenth of it.
    """
    tenth, optimizer = steps // 10, settings.optimizer
    shorter = {"warmup_steps": min(optimizer.warmup_steps, tenth), "ramp_steps": min(optimizer.ramp_steps, tenth)}
    evaluation, checkpoints = settings.evaluation, settings.checkpoints
    if evaluation.every > steps:
        evaluation = evaluation.model_copy(update={"every": max(1, tenth)})
    if checkpoints.every > steps:
        checkpoints = checkpoints.model_copy(update={"every": max(1, tenth)})
    changed = {"evaluation": evaluation, "checkpoints": checkpoints}
    return settings.model_copy(
        update={"optimizer": optimizer.model_copy(update={"steps": steps, **shorter}), **changed}
    )
