"""`electra tokenize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from electra_cli.cli.options import ConfigFile, Json, Out, PrintConfig, Quiet, Sets
from electra_cli.cli.ui import command_line, session


def tokenize(
    texts: Annotated[
        list[Path],
        typer.Argument(metavar="TEXT…", help="Text files, folders, or - for standard input.", show_default=False),
    ],
    out: Out,
    vocab_size: Annotated[
        int | None, typer.Option(help="Entries of the vocabulary; 30522 if not given.", show_default=False)
    ] = None,
    lowercase: Annotated[
        bool | None,
        typer.Option("--lowercase/--cased", help="Lower-case the text (the default) or not.", show_default=False),
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a WordPiece tokenizer from raw text.

    Plain text, wikiextractor output, JSON lines or Parquet; gzip, zstd and bz2 are unpacked on the way. The same text
    always gives the same tokenizer, whatever the order of the files.
    """
    with session("tokenize", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import tokenize as stage

        flags = {"vocab_size": vocab_size, "lowercase": lowercase}
        resolved = resolve(stage.TokenizeSettings, file=config, sets=sets or (), flags=flags)
        if print_config:
            ui.print_config(resolved)
            return
        outcome = stage.run(texts, out, settings=resolved.settings, report=ui)
        path = str(outcome.artifact.path)
        ui.published(
            outcome,
            next_commands=[
                command_line("electra", "shard", *texts, "--tokenizer", path, "--out", f"{out}-shards"),
            ],
        )
