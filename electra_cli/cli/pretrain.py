"""`electra pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from electra_cli.cli.dry_run_page import dry_run_page
from electra_cli.cli.options import ConfigFile, Json, Out, Preset, PrintConfig, Quiet, Sets
from electra_cli.cli.ui import command_line, session
from electra_cli.errors import UsageError

if TYPE_CHECKING:
    from electra_cli.config import Resolved
    from electra_cli.stages.pretrain_settings import PretrainSettings

Shards = Annotated[
    list[Path],
    typer.Argument(
        metavar="SHARDS...", help="Shards to train on; several are a mixture, or phases.", show_default=False
    ),
]
Budget = Annotated[
    str | None, typer.Option(help="In place of steps: 24h, 90m, 2e9tok or 1e18flop.", show_default=False)
]
Mix = Annotated[
    str | None,
    typer.Option(metavar="W,W…", help="Weight of each of several shards, as 0.7,0.3.", show_default=False),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Measure a few steps, print what the run would take, and stop.")
]


def pretrain(
    shards: Shards,
    out: Out,
    preset: Preset = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.", show_default=False)] = None,
    budget: Budget = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a step.", show_default=False)] = None,
    mix: Mix = None,
    seed: Annotated[int | None, typer.Option(help="Fixes everything that is random.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default=False)] = None,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a generator and a discriminator on shards.

    Presets: tiny (a laptop), small, base, large (the paper's). The same command continues an interrupted run.
    """
    with session("pretrain", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import pretrain as stage
        from electra_cli.stages.pretrain_settings import PretrainSettings

        flags: dict[str, object] = {
            "optimizer.steps": steps,
            "optimizer.batch_size": batch_size,
            "seed": seed,
            "device": device,
        }
        flags |= {"budget": budget, "mixture.weights": _weights(mix)}
        resolved = resolve(PretrainSettings, preset=preset, file=config, sets=sets or (), flags=flags)
        _check_budget(resolved)
        if print_config:
            ui.print_config(resolved)
            return
        if dry_run:
            figures = stage.dry_run(shards, settings=resolved.settings, report=ui)
            ui.page(dry_run_page(figures), summary=figures)
            return
        outcome = stage.run(shards, out, settings=resolved.settings, report=ui)
        path = str(outcome.artifact.path)
        ui.published(
            outcome,
            next_commands=[
                command_line("electra", "evaluate", path, str(shards[-1])),
                command_line("electra", "finetune", "classify", path, "train.tsv", "--out", f"{out}-finetuned"),
                command_line("electra", "export", path, "--to", "hf", "--out", f"{out}-hf"),
            ],
        )


def _weights(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(weight) for weight in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{text!r} is no list of weights",
            code="BAD_WEIGHTS",
            where="--mix",
            hint="one number for each of the shards, with commas between them: --mix 0.7,0.3",
        ) from None


def _check_budget(resolved: Resolved[PretrainSettings]) -> None:
    """Refuse steps that were asked for beside a budget; a preset's or a file's give way to it."""
    if resolved.settings.budget is not None and resolved.sources["optimizer.steps"] in ("--set", "flag"):
        raise UsageError(
            "a budget and a number of steps exclude each other",
            code="BUDGET_AND_STEPS",
            where="--budget",
            hint="give one of them",
        )
