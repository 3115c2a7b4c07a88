"""`electra tokenize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from electra_cli.cli.options import TEXTS, ConfigFile, Dedup, Json, Out, PrintConfig, Quiet, Sets
from electra_cli.cli.ui import command_line, session
from electra_cli.errors import UsageError

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
VocabSize = Annotated[
    int | None, typer.Option(help="Entries of the vocabulary; 30522 if not given.", show_default=False)
]
Lowercase = Annotated[
    bool | None,
    typer.Option("--lowercase/--cased", help="Lower-case the text (the default) or not.", show_default=False),
]
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
    out: Out,
    texts: Annotated[list[str] | None, TEXTS] = None,
    model: ModelName = None,
    vocab_size: VocabSize = None,
    lowercase: Lowercase = None,
    weights: Weights = None,
    temperature: Temperature = None,
    workers: Workers = None,
    adopt: Adopt = None,
    dedup: Dedup = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a tokenizer from raw text, or adopt the vocabulary of another one.

    Plain text, wikiextractor output, JSON lines, CSV, TSV or Parquet; gzip, zstd, bz2, xz and lz4 are unpacked on the
    way. The same text always gives the same tokenizer, whatever the order of the files. With --weights or --temperature
    every TEXT is a corpus of its own, a language say, and counts for the share that it is given. An adopted
    vocabulary keeps its ids.
    """
    with session("tokenize", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import adopt as adopting
        from electra_cli.stages import tokenize as stage

        if adopt is not None:
            training = {"model": model, "vocab_size": vocab_size, "weights": weights, "temperature": temperature}
            _insist_on_nothing_else(**training, texts=texts or None, workers=workers, dedup=dedup)
            said = resolve(adopting.AdoptSettings, file=config, sets=sets or (), flags={"lowercase": lowercase})
            if print_config:
                ui.print_config(said)
            else:
                ui.published(adopting.run(adopt, out, settings=said.settings, report=ui), next_commands=[])
            return
        flags = {
            "model": model,
            "vocab_size": vocab_size,
            "lowercase": lowercase,
            "corpora.weights": None if weights is None else _numbers(weights),
            "corpora.temperature": temperature,
            "workers": workers,
            "dedup.match": dedup,
        }
        resolved = resolve(stage.TokenizeSettings, file=config, sets=sets or (), flags=flags)
        if print_config:
            ui.print_config(resolved)
            return
        outcome = stage.run(_insist_on_text(texts), out, settings=resolved.settings, report=ui)
        made = str(outcome.artifact.path)
        shard = ("electra", "shard", *(texts or ()), "--tokenizer", made, "--out", f"{out}-shards")
        ui.published(outcome, next_commands=[command_line(*shard)])


def _insist_on_text(texts: list[str] | None) -> list[str]:
    if texts:
        return texts
    raise UsageError(
        "no text is named, and no vocabulary to adopt",
        code="BAD_INPUT",
        hint="electra tokenize TEXT… -o DIR, or electra tokenize --adopt PATH -o DIR",
    )


def _insist_on_nothing_else(**given: object) -> None:
    if wrong := [name for name, value in given.items() if value is not None]:
        raise UsageError(
            f"--adopt takes a vocabulary as it is: {', '.join(wrong)} cannot be given with it",
            code="BAD_INPUT",
            hint="to train a vocabulary from text, leave --adopt out",
        )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{text!r} is not a list of numbers", code="BAD_SETTINGS", where="--weights", hint="for example 0.5,0.3,0.2"
        ) from None
