"""`electra finetune glue` and `electra finetune classify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from electra_cli.cli.options import ConfigFile, Json, Out, PrintConfig, Quiet, Sets
from electra_cli.cli.ui import Ui, command_line, session

if TYPE_CHECKING:
    from electra_cli.stages.outcome import Outcome

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="Pretrained checkpoint to start from.", show_default=False)
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training data.", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="Fixes everything that is random.", show_default=False)]
Seeds = Annotated[
    int | None, typer.Option(help="Runs with seed, seed + 1, …; the median one is kept.", show_default=False)
]
FromScratch = Annotated[
    bool, typer.Option("--from-scratch", help="Random weights in the checkpoint's architecture: a baseline.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default=False)]


def glue(
    checkpoint: Checkpoint,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="The GLUE folder, or the task's own.", show_default=False)
    ],
    out: Out,
    task: Annotated[
        str,
        typer.Option(
            metavar="TASK", help="cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte or wnli.", show_default=False
        ),
    ],
    epochs: Epochs = None,
    seed: Seed = None,
    seeds: Seeds = None,
    from_scratch: FromScratch = False,
    device: Device = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Finetune on one of the nine GLUE tasks.

    Reads the standard TSV files, learns with the paper's recipe and reports the task's metrics on its dev set.
    """
    with session("finetune glue", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import finetune as stage

        flags = _flags(epochs, seed, seeds, from_scratch, device)
        resolved = resolve(stage.FinetuneSettings, file=config, sets=sets or (), flags=flags)
        if print_config:
            ui.print_config(resolved)
            return
        outcome = stage.run_glue(checkpoint, data, out, task=task.lower(), settings=resolved.settings, report=ui)
        _published(ui, outcome, out, str(data))


def classify(
    checkpoint: Checkpoint,
    train: Annotated[
        Path, typer.Argument(metavar="TRAIN", help="Labelled rows: .csv, .tsv or .jsonl.", show_default=False)
    ],
    out: Out,
    dev: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rows to evaluate on; else a part of TRAIN is held out.", show_default=False),
    ] = None,
    text_column: Annotated[str, typer.Option(metavar="NAME", help="Column with the text.")] = "text",
    pair_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column with a second text.", show_default=False)
    ] = None,
    label_column: Annotated[str, typer.Option(metavar="NAME", help="Column with the label.")] = "label",
    epochs: Epochs = None,
    seed: Seed = None,
    seeds: Seeds = None,
    from_scratch: FromScratch = False,
    device: Device = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Finetune a classifier on your own labelled file.

    CSV and TSV need a header line; JSON lines have one object a line. Labels are taken as the text that they are.
    """
    with session("finetune classify", json=json, quiet=quiet) as ui:
        from electra_cli.config import resolve
        from electra_cli.stages import finetune as stage

        flags = _flags(epochs, seed, seeds, from_scratch, device)
        resolved = resolve(stage.FinetuneSettings, file=config, sets=sets or (), flags=flags)
        if print_config:
            ui.print_config(resolved)
            return
        outcome = stage.run_classify(
            checkpoint,
            train,
            out,
            dev=dev,
            text_column=text_column,
            pair_column=pair_column,
            label_column=label_column,
            settings=resolved.settings,
            report=ui,
        )
        _published(ui, outcome, out, str(dev or train))


def _flags(
    epochs: int | None, seed: int | None, seeds: int | None, from_scratch: bool, device: str | None
) -> dict[str, Any]:
    init = "random" if from_scratch else None
    return {"epochs": epochs, "seed": seed, "seeds": seeds, "init": init, "device": device}


def _published(ui: Ui, outcome: Outcome, out: Path, data: str) -> None:
    path = str(outcome.artifact.path)
    ui.published(
        outcome,
        next_commands=[
            command_line("electra", "evaluate", path, data),
            command_line("electra", "predict", path, "rows.jsonl"),
            command_line("electra", "export", path, "--to", "hf", "--out", f"{out}-hf"),
        ],
    )
