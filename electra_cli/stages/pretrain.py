"""Shards → a pretrained generator and discriminator."""

from __future__ import annotations

from pathlib import Path

from electra_cli.artifacts import Recipe, claim, open_artifact
from electra_cli.config import execution, shaping
from electra_cli.reporting import Reporter, Silent
from electra_cli.stages.outcome import Outcome
from electra_cli.stages.pretrain_settings import PretrainSettings

STAGE_VERSION = 2


def run(shards: Path, out: Path, *, settings: PretrainSettings, report: Reporter | None = None) -> Outcome:
    """Train on the shards at `shards` and publish the checkpoint in `out`; the same call continues or finds it done.

    Raises:
        UsageError: settings that do not fit each other or the shards.
        ArtifactError: the shards are damaged.
        DivergedError: loss or gradients stopped being finite.
        Interrupted: a signal came; everything is saved.
    """
    report = report or Silent()
    source = open_artifact(shards, kinds={"shards"})
    recipe = Recipe(
        kind="checkpoint",
        stage="pretrain",
        stage_version=STAGE_VERSION,
        config=shaping(settings),
        inputs=(source.ref("shards"),),
        execution=execution(settings),
    )
    with claim(out, recipe, report=report, growing=True) as held:
        if held.done is not None:
            return Outcome(held.done, "up to date", dict(held.done.spec.get("held_out", {})))
        assert held.draft is not None
        from electra_cli.stages.pretrain_run import pretrain

        return pretrain(source, held.draft, settings=settings, report=report)
