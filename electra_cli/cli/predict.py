"""`electra predict`: rows in, answers out, line by line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from electra_cli.cli.options import ConfigFile, PrintConfig, Quiet, Sets, Where
from electra_cli.cli.ui import emit, session

if TYPE_CHECKING:
    from electra_cli.stages.predict import Input


def predict(
    where: Where,
    source: Annotated[
        str,
        typer.Argument(metavar="[INPUT]", help="Rows to answer: .jsonl, .csv or .tsv; - is JSON lines on stdin."),
    ] = "-",
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default=False)] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
) -> None:
    """Answer rows with a finetuned model.

    Each JSON line has `text` (and `text_b` for tasks with two texts), or the columns of the training file. Each answer
    is a JSON line with `label` and `probabilities`, or `score`; `id` is handed through. Answers keep the order of rows.
    """
    with session("predict", quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import predict as stage

        resolved = resolve(stage.PredictSettings, file=config, sets=sets or (), flags={"device": device})
        if print_config:
            ui.print_config(resolved)
            return
        if source == "-" and sys.stdin.isatty():
            ui.note("reading JSON lines from the terminal; end with Ctrl-D")
        for answer in stage.run(where, _input(source), settings=resolved.settings, report=ui):
            emit(json.dumps(answer, allow_nan=False).encode("ascii") + b"\n")


def _input(source: str) -> Input:
    from electra_cli.stages.predict import Input

    return Input("stdin", sys.stdin.buffer) if source == "-" else Input(source, Path(source))
