"""`electra pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from electra_cli.cli.options import ConfigFile, Json, Out, Preset, PrintConfig, Quiet, Sets
from electra_cli.cli.ui import command_line, session


def pretrain(
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="Shards to train on.", show_default=False)],
    out: Out,
    preset: Preset = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a step.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes everything that is random.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default=False)] = None,
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

        flags = {"optimizer.steps": steps, "optimizer.batch_size": batch_size, "seed": seed, "device": device}
        resolved = resolve(PretrainSettings, preset=preset, file=config, sets=sets or (), flags=flags)
        if print_config:
            ui.print_config(resolved)
            return
        outcome = stage.run(shards, out, settings=resolved.settings, report=ui)
        path = str(outcome.artifact.path)
        ui.published(
            outcome,
            next_commands=[
                command_line("electra", "evaluate", path, str(shards)),
                command_line("electra", "finetune", "classify", path, "train.tsv", "--out", f"{out}-finetuned"),
                command_line("electra", "export", path, "--to", "hf", "--out", f"{out}-hf"),
            ],
        )
