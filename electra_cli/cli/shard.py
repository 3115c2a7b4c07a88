"""`electra shard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from electra_cli.cli.options import ConfigFile, Dedup, Json, Out, PrintConfig, Quiet, Sets, Texts
from electra_cli.cli.ui import command_line, session

Engine = Annotated[
    str | None, typer.Option(help="local or ray: where the processes run; local if not given.", show_default=False)
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Do part I of N only, which reads no more than its share; `electra merge` makes shards of all.",
        show_default=False,
    ),
]


def shard(
    texts: Texts,
    tokenizer: Annotated[
        Path, typer.Option("--tokenizer", "-t", metavar="DIR", help="Tokenizer to use.", show_default=False)
    ],
    out: Out,
    recipe: Annotated[
        str | None,
        typer.Option(help="Rows: pairs, packed or stream; pairs if not given.", show_default=False),
    ] = None,
    length: Annotated[int | None, typer.Option(help="Tokens of a row; 128 if not given.", show_default=False)] = None,
    val_fraction: Annotated[
        float | None, typer.Option(help="Share of the documents held out; 0.01 if not given.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; one on each core if not given.", show_default=False)
    ] = None,
    engine: Engine = None,
    part: Part = None,
    dedup: Dedup = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tokenize text, lay it out as rows (the paper's two segments each), and write shards for pretraining.

    The rows are the same whatever the number of workers; an interrupted run continues with the same command.
    """
    with session("shard", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.data.parts import parse_part
        from electra_cli.stages import shard as stage

        flags = {
            "recipe": recipe,
            "length": length,
            "val_fraction": val_fraction,
            "workers": workers,
            "engine": engine,
            "dedup.match": dedup,
        }
        resolved = resolve(stage.ShardSettings, file=config, sets=sets or (), flags=flags)
        if print_config:
            ui.print_config(resolved)
            return
        chosen = None if part is None else parse_part(part)
        outcome = stage.run(texts, tokenizer, out, settings=resolved.settings, report=ui, part=chosen)
        path = str(outcome.artifact.path)
        following = command_line("electra", "pretrain", path, "--preset", "tiny", "--out", f"{out}-pretrained")
        if chosen is not None:
            following = command_line("electra", "merge", str(out.parent), "--out", "DIR") + ", when all parts are there"
        ui.published(outcome, next_commands=[following])
