"""`electra tokenize`."""

from __future__ import annotations

from typing import Annotated

import typer

from electra_cli.cli.options import ConfigFile, Json, Out, PrintConfig, Quiet, Sets
from electra_cli.cli.ui import command_line, session
from electra_cli.errors import UsageError

Weights = Annotated[
    str | None,
    typer.Option(
        metavar="W,W,…",
        help="A weight for each TEXT, which is then a corpus of its own: 0.5,0.3,0.2.",
        show_default=False,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="Weigh each TEXT, a corpus of its own, by its characters to the power of 1/temperature.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None, typer.Option(help="Processes that count words; one on each core if not given.", show_default=False)
]


def tokenize(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT…",
            help="Text files, folders, patterns, s3:// or gs:// URLs of such, or - for standard input.",
            show_default=False,
        ),
    ],
    out: Out,
    vocab_size: Annotated[
        int | None, typer.Option(help="Entries of the vocabulary; 30522 if not given.", show_default=False)
    ] = None,
    lowercase: Annotated[
        bool | None,
        typer.Option("--lowercase/--cased", help="Lower-case the text (the default) or not.", show_default=False),
    ] = None,
    weights: Weights = None,
    temperature: Temperature = None,
    workers: Workers = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a WordPiece tokenizer from raw text.

    Plain text, wikiextractor output, JSON lines, CSV, TSV or Parquet; gzip, zstd, bz2, xz and lz4 are unpacked on the
    way. The same text always gives the same tokenizer, whatever the order of the files. With --weights or --temperature
    every TEXT is a corpus of its own, a language say, and counts for the share that it is given.
    """
    with session("tokenize", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import tokenize as stage

        flags = {
            "vocab_size": vocab_size,
            "lowercase": lowercase,
            "corpora.weights": None if weights is None else _numbers(weights),
            "corpora.temperature": temperature,
            "workers": workers,
        }
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


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{text!r} is not a list of numbers", code="BAD_SETTINGS", where="--weights", hint="for example 0.5,0.3,0.2"
        ) from None
