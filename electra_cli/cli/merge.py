"""`electra merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from electra_cli.cli.options import ConfigFile, Json, Out, PrintConfig, Quiet, Sets
from electra_cli.cli.ui import command_line, session


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(
            metavar="PART…",
            help="Parts made by `electra shard --part`, or the folder that holds them.",
            show_default=False,
        ),
    ],
    out: Out,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring the parts of shards together as the shards that one run would have made.

    All parts must be there and of one run, and every file is checked. The files are shared with the parts where the
    file system can (hard links), so that they take no more room; the parts can be removed afterwards.
    """
    with session("merge", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import merge as stage

        resolved = resolve(stage.MergeSettings, file=config, sets=sets or ())
        if print_config:
            ui.print_config(resolved)
            return
        outcome = stage.run(parts, out, settings=resolved.settings, report=ui)
        path = str(outcome.artifact.path)
        ui.published(
            outcome,
            next_commands=[command_line("electra", "pretrain", path, "--preset", "tiny", "--out", f"{out}-pretrained")],
        )
