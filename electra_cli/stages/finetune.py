"""Finetune a pretrained encoder on a labelled task: one of GLUE's nine, or the user's own file.

Nothing heavy is imported here at module level: finding out that the result is already there takes no time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from electra_cli.artifacts import Artifact, InputRef, Recipe, claim, content_of_files, open_artifact
from electra_cli.config import Settings, execution, setting, shaping
from electra_cli.errors import ArtifactError, DataError, UsageError
from electra_cli.reporting import Reporter, Silent
from electra_cli.stages.outcome import Outcome

if TYPE_CHECKING:
    from electra_cli.tasks.task import Examples, Task

STAGE = "finetune"
STAGE_VERSION = 1
MANY_LABELS = 20  # more than this, and more than half as many as there are rows, look like numbers or ids


class FinetuneSettings(Settings):
    """How a task is learnt; where nothing is said, the paper's values (appendix, Table 7)."""

    init: Literal["checkpoint", "random"] = setting(
        "checkpoint", "where the encoder's weights come from; random keeps only architecture and tokenizer (a baseline)"
    )
    seed: int = setting(0, "fixes the head's first weights, the order of the rows and the dropout", ge=0, lt=2**63)
    seeds: int = setting(
        1, "how many runs, with seed, seed + 1, …; the published model is the one with the median score", ge=1, le=100
    )
    epochs: int | None = setting(
        None, "passes over the training data; the task's own if not given: 10 for rte and sts-b, 3 for the others", ge=1
    )
    batch_size: int = setting(32, "rows in a step (paper: 32)", ge=1, le=65536)
    learning_rate: float | None = setting(
        None, "peak; by the size of the encoder if not given: 3e-4 up to width 256, 1e-4 below 1024, 5e-5 above", gt=0
    )
    layerwise_decay: float | None = setting(
        None, "factor on the learning rate from one layer to the next below; 0.8, and 0.9 from width 1024", gt=0, le=1
    )
    layerwise_decay_skips_depth: bool = setting(
        True, "whether the last layer gets the factor squared, as in the code behind the published results; paper: not"
    )
    warmup_proportion: float = setting(
        0.1, "share of the steps in which the learning rate rises (paper: 0.1)", ge=0, le=1
    )
    weight_decay: float = setting(0.0, "decoupled weight decay of matrices (paper: 0)", ge=0)
    clip: float = setting(1.0, "largest global norm of the gradient (released code: 1)", gt=0)
    dropout: float = setting(0.1, "dropout of hidden states and attention (paper: 0.1)", ge=0, lt=1)
    evaluate_every: int = setting(
        1, "epochs between evaluations on the held-out rows; the last epoch is always evaluated", ge=1
    )
    max_length: int | None = setting(
        None, "tokens in a row, special tokens included; longer texts are cut; the task's own if not given: 128", ge=8
    )
    swap_pairs: bool | None = setting(
        None, "also learn each pair in the other order; the task's own if not given: for mrpc and sts-b (released code)"
    )
    dev_fraction: float = setting(
        0.1, "share of the training file that is held out when there is no file to evaluate on", ge=0, lt=1
    )
    strict_data: bool = setting(False, "refuse to run when rows of the training file are in the held-out file too")
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "number format of training; auto is bf16 where the hardware computes it; scores are always fp32"
    )
    device: str = setting("auto", "cpu, cuda, cuda:1; auto is a GPU if there is one", shapes=False)


class ChosenSettings(FinetuneSettings):
    """The settings with what depends on the task and the encoder's size filled in."""

    epochs: int
    learning_rate: float
    layerwise_decay: float
    max_length: int
    swap_pairs: bool


@dataclass(frozen=True)
class Source:
    """Where a task's rows come from.

    Attributes:
        task: the task; its labels are empty until the training file is read, unless they are fixed.
        train: the training file.
        dev: held-out files by name, the first is the one that counts; empty to hold out a part of the training file.
        read: reads one of the files.
        config: what the recipe says of it.
    """

    task: Task
    train: Path
    dev: Mapping[str, Path]
    read: Callable[[Path], Examples]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """A task with its labels known, and its rows read and checked."""

    task: Task
    train: Examples
    dev: Mapping[str, Examples]


def run_glue(
    checkpoint: Path | str,
    data: Path,
    out: Path,
    *,
    task: str,
    settings: FinetuneSettings,
    report: Reporter | None = None,
) -> Outcome:
    """Finetune `checkpoint` on the GLUE task called `task`, whose TSV files lie under the folder `data`.

    Raises UsageError (no such task), DataError (files), ArtifactError (not a pretrained checkpoint), DivergedError,
    Interrupted.
    """
    from electra_cli.tasks.glue import GLUE, dev_files, read_glue, train_file

    if task not in GLUE:
        raise UsageError(f"no GLUE task is called {task}", code="UNKNOWN_TASK", hint=f"there are: {', '.join(GLUE)}")
    entry = GLUE[task]
    source = Source(
        entry.task,
        train_file(data, entry),
        dev_files(data, entry),
        partial(read_glue, entry=entry),
        {"glue": task},
    )
    return _run(checkpoint, out, source, settings=settings, report=report or Silent())


def run_classify(
    checkpoint: Path | str,
    train: Path,
    out: Path,
    *,
    dev: Path | None = None,
    text_column: str = "text",
    pair_column: str | None = None,
    label_column: str = "label",
    settings: FinetuneSettings,
    report: Reporter | None = None,
) -> Outcome:
    """Finetune `checkpoint` to tell the labels of a CSV, TSV or JSON-lines file apart; errors as `run_glue`."""
    from electra_cli.tasks.lines import stored_file
    from electra_cli.tasks.tables import Columns, format_of, read_table
    from electra_cli.tasks.task import Task

    columns = Columns(text_column, pair_column, label_column)
    if len(set(columns.names)) < len(columns.names):
        raise UsageError("text, pair and label must be different columns", code="SAME_COLUMN", where="--text-column")
    texts = (text_column,) if pair_column is None else (text_column, pair_column)
    for path in (train, *([] if dev is None else [dev])):
        format_of(path)
    source = Source(
        Task("classify", "single_label", (), texts, label_column, ("accuracy", "macro_f1")),
        stored_file(train),
        {} if dev is None else {"dev": stored_file(dev)},
        partial(read_table, columns=columns),
        {"columns": list(columns.names), "format": format_of(train)},
    )
    return _run(checkpoint, out, source, settings=settings, report=report or Silent())


def _run(checkpoint: Path | str, out: Path, source: Source, *, settings: FinetuneSettings, report: Reporter) -> Outcome:
    pretrained = open_artifact(checkpoint, kinds=("checkpoint",), hashes=False)
    shape = discriminator_of(pretrained)
    chosen = with_defaults(settings, source.task, width=shape["hidden_size"], positions=shape["positions"])
    files = {"train": source.train, **source.dev}
    inputs = [pretrained.ref("checkpoint")] + [
        InputRef(name, "text", content_of_files([path], ordered=True, report=report)) for name, path in files.items()
    ]
    recipe = Recipe(
        kind="model",
        stage=STAGE,
        stage_version=STAGE_VERSION,
        config={"task": dict(source.config), **shaping(chosen)},
        inputs=tuple(inputs),
        execution=execution(chosen),
    )
    with claim(out, recipe, report=report) as claimed:
        if claimed.done is not None:
            return Outcome(claimed.done, "up to date", summary_of(claimed.done))
        draft = claimed.draft
        assert draft is not None
        rows = read_rows(source, settings=chosen, report=report)
        for record in pretrained.manifest.files:
            pretrained.check_file(record.path)

        from electra_cli.stages.classifier_training import train_and_write

        spec = train_and_write(pretrained, rows, draft, settings=chosen, report=report)
        artifact = draft.publish(spec=spec)
        return Outcome(artifact, "resumed" if draft.resumed else "built", summary_of(artifact))


def discriminator_of(checkpoint: Artifact) -> dict[str, Any]:
    """The shape of the network that a checkpoint has to offer for finetuning; ArtifactError if it has none."""
    architecture = checkpoint.spec.get("architecture", {})
    shape = architecture.get("discriminator") if isinstance(architecture, dict) else None
    if not isinstance(shape, dict):
        held = " and ".join(architecture) if isinstance(architecture, dict) and architecture else "no network"
        raise ArtifactError(
            f"this checkpoint holds {held}, and finetuning starts from a discriminator",
            code="NOT_A_DISCRIMINATOR",
            where=str(checkpoint.path),
            hint="give the checkpoint of a pretraining run",
        )
    return shape


def with_defaults(settings: FinetuneSettings, task: Task, *, width: int, positions: int) -> ChosenSettings:
    """The settings with everything that depends on the task and on the encoder's size filled in.

    What stands in the recipe is what happens: giving a default explicitly is the same recipe.
    """
    large = width >= 1024
    chosen = {
        "epochs": task.epochs,
        "max_length": min(task.max_length, positions),
        "learning_rate": 5e-5 if large else 1e-4 if width > 256 else 3e-4,
        "layerwise_decay": 0.9 if large else 0.8,
        "swap_pairs": task.swap,
    }
    given = {name: getattr(settings, name) for name in chosen if getattr(settings, name) is not None}
    if given.get("max_length", 0) > positions:
        raise UsageError(
            f"max_length {given['max_length']} is more than the {positions} positions that this encoder has",
            code="TOO_LONG",
            where="max_length",
            hint=f"--set max_length={positions}",
        )
    if given.get("swap_pairs") and not task.paired:
        raise UsageError(f"{task.name} has no pairs to swap", code="NO_PAIRS", where="swap_pairs")
    return ChosenSettings(**{**settings.model_dump(), **chosen, **given})


def read_rows(source: Source, *, settings: ChosenSettings, report: Reporter) -> Rows:
    """Read and check every file before anything long begins; raises DataError."""
    from electra_cli.tasks.labels import encode_labels, label_order
    from electra_cli.tasks.split import shared_rows, split_off

    train = source.read(source.train)
    dev = {name: source.read(path) for name, path in source.dev.items()}
    for examples in (train, *dev.values()):
        if examples.skipped:
            report.warn(f"{examples.path}: {examples.skipped} rows with too few columns are left out")
    if not dev and settings.dev_fraction > 0:
        train, held = split_off(train, settings.dev_fraction)
        dev = {"dev": held}
        report.note(f"{len(held)} of {len(held) + len(train)} rows are held out for evaluation (dev_fraction)")
    task = source.task
    if task.kind == "single_label" and not task.labels:
        task = replace(task, labels=label_order(train))
        if len(task.labels) > max(MANY_LABELS, len(train) // 2):
            report.warn(
                f"{len(task.labels)} labels in {len(train)} rows: is {task.label_column} the column of the labels?"
            )
    task = replace(task, max_length=settings.max_length, epochs=settings.epochs, swap=settings.swap_pairs)
    encode_labels(train, task)
    for name, examples in dev.items():
        encode_labels(examples, task)
        shared = shared_rows(train, examples)
        if shared:
            message = f"{shared} of {len(examples)} rows of {name} are in the training file too: scores will flatter"
            if settings.strict_data:
                raise DataError(message, code="SHARED_ROWS", where=str(examples.path), hint="remove them from one file")
            report.warn(message)
    return Rows(task, train, dev)


def summary_of(model: Artifact) -> dict[str, Any]:
    """The figures of a finetuned model that are worth a line, from its `metrics.json`.

    Names are those of `electra evaluate`; `majority.…` is what knowing nothing would have scored.
    """
    metrics = json.loads(model.file("metrics.json").read_text(encoding="utf-8"))
    summary: dict[str, Any] = {"task": metrics["task"]}
    for position, (name, scores) in enumerate(metrics["held_out"].items()):
        prefix = f"{name}." if position else ""
        summary |= {f"{prefix}{metric}": value for metric, value in scores.items() if metric != "one_label_predicted"}
    summary |= {f"majority.{metric}": value for metric, value in (metrics["majority"] or {}).items()}
    summary |= {f"{name}_rows": count for name, count in metrics["rows"].items()}
    return {**summary, "seed": metrics["seed"], "scores": [run["score"] for run in metrics["runs"]]}
