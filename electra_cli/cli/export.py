"""`electra export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from electra_cli.cli.options import ConfigFile, Json, Out, PrintConfig, Quiet, Sets, Where
from electra_cli.cli.ui import session


def export(
    artifact: Where,
    out: Out,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FORMAT", help="hf: a folder that transformers loads.", show_default=False),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="PART", help="Of a checkpoint: discriminator (the default) or generator.", show_default=False
        ),
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn a checkpoint or a finetuned model into a folder that other tools load.

    A fresh process reads the result, and its token ids and logits on real sentences are compared with the source's;
    what disagrees is not published.
    """
    with session("export", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import export as stage

        flags = {"to": to, "part": part}
        resolved = resolve(stage.ExportSettings, file=config, sets=sets or (), flags=flags)
        if print_config:
            ui.print_config(resolved)
            return
        outcome = stage.run(artifact, Path(out), settings=resolved.settings, report=ui)
        ui.published(outcome, next_commands=[_load_line(outcome.artifact.spec["class"], outcome.artifact.path)])


def _load_line(architecture: str, folder: Path) -> str:
    """The line of Python that loads the export."""
    return f'python -c "import transformers; transformers.{architecture}.from_pretrained({str(folder)!r})"'
