"""`electra tokenize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from electra_cli.cli.options import ConfigFile, Json, Out, PrintConfig, Quiet, Sets
from electra_cli.cli.ui import command_line, session
from electra_cli.errors import UsageError

Texts = Annotated[
    list[Path] | None,
    typer.Argument(metavar="TEXT…", help="Text files, folders, or - for standard input.", show_default=False),
]
ModelName = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="wordpiece, bpe or unigram; wordpiece if not given.", show_default=False),
]
Adopt = Annotated[
    Path | None,
    typer.Option(
        "--adopt",
        metavar="PATH",
        help="Take over a vocab.txt, a tokenizer.json, or a folder of files of transformers; no text is needed.",
        show_default=False,
    ),
]


def tokenize(
    out: Out,
    texts: Texts = None,
    model: ModelName = None,
    vocab_size: Annotated[
        int | None, typer.Option(help="Entries of the vocabulary; 30522 if not given.", show_default=False)
    ] = None,
    lowercase: Annotated[
        bool | None,
        typer.Option("--lowercase/--cased", help="Lower-case the text (the default) or not.", show_default=False),
    ] = None,
    adopt: Adopt = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a tokenizer from raw text, or adopt the vocabulary of another one.

    Plain text, wikiextractor output, JSON lines or Parquet; gzip, zstd and bz2 are unpacked on the way. The same text
    always gives the same tokenizer, whatever the order of the files. An adopted vocabulary keeps its ids.
    """
    with session("tokenize", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import adopt as adopting
        from electra_cli.stages import tokenize as stage

        if adopt is not None:
            _insist_on_nothing_else(texts=texts, model=model, vocab_size=vocab_size)
            said = resolve(adopting.AdoptSettings, file=config, sets=sets or (), flags={"lowercase": lowercase})
            if print_config:
                ui.print_config(said)
            else:
                ui.published(adopting.run(adopt, out, settings=said.settings, report=ui), next_commands=[])
            return
        flags = {"model": model, "vocab_size": vocab_size, "lowercase": lowercase}
        resolved = resolve(stage.TokenizeSettings, file=config, sets=sets or (), flags=flags)
        if print_config:
            ui.print_config(resolved)
            return
        outcome = stage.run(_insist_on_text(texts), out, settings=resolved.settings, report=ui)
        shard = (
            "electra",
            "shard",
            *(texts or ()),
            "--tokenizer",
            str(outcome.artifact.path),
            "--out",
            f"{out}-shards",
        )
        ui.published(outcome, next_commands=[command_line(*shard)])


def _insist_on_text(texts: list[Path] | None) -> list[Path]:
    if texts:
        return texts
    raise UsageError(
        "no text is named, and no vocabulary to adopt",
        code="BAD_INPUT",
        hint="electra tokenize TEXT… -o DIR, or electra tokenize --adopt PATH -o DIR",
    )


def _insist_on_nothing_else(**given: object) -> None:
    if wrong := [name for name, value in given.items() if value]:
        raise UsageError(
            f"--adopt takes a vocabulary as it is: {', '.join(wrong)} cannot be given with it",
            code="BAD_INPUT",
            hint="to train a vocabulary from text, leave --adopt out",
        )
