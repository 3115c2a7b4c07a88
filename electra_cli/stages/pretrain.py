"""Shards → a pretrained generator and discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electra_cli.artifacts import Artifact, Recipe, claim
from electra_cli.config import execution, shaping
from electra_cli.reporting import Reporter, Silent
from electra_cli.stages.outcome import Outcome
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.stages.pretrain_sources import open_sources

STAGE_VERSION = 3


def run(
    shards: Path | Sequence[Path], out: Path, *, settings: PretrainSettings, report: Reporter | None = None
) -> Outcome:
    """Train on the shards at `shards` and publish the checkpoint in `out`; the same call continues or finds it done.

    Args:
        shards: one artifact, or those of a mixture; of several phases, those of each phase in its order.
        out: folder for the versions of the checkpoint.
        settings: see `PretrainSettings`.
        report: where progress and warnings go.

    Raises:
        UsageError: settings that do not fit each other or the shards.
        ArtifactError: the shards are damaged, or of different tokenizers.
        DivergedError: loss or gradients stopped being finite.
        Interrupted: a signal came; everything is saved.
    """
    report = report or Silent()
    sources = open_sources(shards, settings)
    with claim(out, _recipe(sources, settings), report=report, growing=True) as held:
        if held.done is not None:
            return Outcome(held.done, "up to date", dict(held.done.spec.get("held_out", {})))
        assert held.draft is not None
        from electra_cli.stages.pretrain_budget import within_budget
        from electra_cli.stages.pretrain_run import pretrain

        settings = within_budget(sources, held.draft, settings=settings, report=report)
        return pretrain(sources, held.draft, settings=settings, report=report)


def dry_run(
    shards: Path | Sequence[Path], *, settings: PretrainSettings, report: Reporter | None = None
) -> dict[str, Any]:
    """What `run` would do and take, by arithmetic and a few measured steps; nothing is published or kept.

    Raises:
        UsageError, ArtifactError: as `run`.
    """
    sources = open_sources(shards, settings)
    from electra_cli.stages.pretrain_dry_run import foresee

    return foresee(sources, _recipe(sources, settings), settings=settings, report=report or Silent())


def _recipe(sources: Sequence[Artifact], settings: PretrainSettings) -> Recipe:
    return Recipe(
        kind="checkpoint",
        stage="pretrain",
        stage_version=STAGE_VERSION,
        config=shaping(settings),
        inputs=tuple(source.ref("shards") for source in sources),
        execution=execution(settings),
    )
