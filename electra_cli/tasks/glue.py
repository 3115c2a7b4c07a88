"""The nine GLUE tasks and their TSV files.

Layout of the files: Wang et al. 2019 and the readers of the released ELECTRA code. Columns are found by their header
where the file has one, because column numbers differ between train, dev and test and between copies of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from electra_cli.errors import DataError
from electra_cli.tasks.lines import read_lines, stored_file
from electra_cli.tasks.task import Examples, Task

MAX_BROKEN_ROWS = 0.001  # share of rows with too few columns; the official QQP files have a few, a wrong file has many


@dataclass(frozen=True)
class GlueTask:
    """A task and where its files lie.

    Attributes:
        task: what the model has to know.
        folders: folder names under the GLUE folder; the first is the official one.
        dev: name of each labelled held-out set and its file; the first is the one that counts.
        positions: column numbers (from 0) for files that have no header line.
    """

    task: Task
    folders: tuple[str, ...]
    dev: Mapping[str, str]
    positions: Mapping[str, int] | None = None
    train: str = "train.tsv"


def _pair(
    name: str,
    columns: tuple[str, str, str],
    labels: tuple[str, ...],
    metrics: tuple[str, ...] = ("accuracy",),
    *,
    epochs: int = 3,
    swap: bool = False,
) -> Task:
    first, second, label = columns
    return Task(name, "single_label", labels, (first, second), label, metrics, epochs=epochs, swap=swap, source="glue")


_SENTENCES = ("sentence1", "sentence2", "label")
_ENTAILMENT = ("entailment", "not_entailment")

GLUE: Mapping[str, GlueTask] = {
    "cola": GlueTask(
        Task("cola", "single_label", ("0", "1"), ("sentence",), "label", ("matthews", "accuracy"), source="glue"),
        folders=("CoLA", "cola"),
        dev={"dev": "dev.tsv"},
        positions={"sentence": 3, "label": 1},
    ),
    "sst-2": GlueTask(
        Task("sst-2", "single_label", ("0", "1"), ("sentence",), "label", ("accuracy",), source="glue"),
        folders=("SST-2", "sst-2", "SST", "sst", "sst2"),
        dev={"dev": "dev.tsv"},
    ),
    "mrpc": GlueTask(
        _pair("mrpc", ("#1 String", "#2 String", "Quality"), ("0", "1"), ("accuracy", "f1"), swap=True),
        folders=("MRPC", "mrpc"),
        dev={"dev": "dev.tsv"},
    ),
    "sts-b": GlueTask(
        Task(
            "sts-b",
            "regression",
            (),
            ("sentence1", "sentence2"),
            "score",
            ("spearman", "pearson"),
            epochs=10,
            swap=True,
            scale=(0.0, 5.0),
            source="glue",
        ),
        folders=("STS-B", "sts-b", "STS", "sts", "stsb"),
        dev={"dev": "dev.tsv"},
    ),
    "qqp": GlueTask(
        _pair("qqp", ("question1", "question2", "is_duplicate"), ("0", "1"), ("accuracy", "f1")),
        folders=("QQP", "qqp"),
        dev={"dev": "dev.tsv"},
    ),
    "mnli": GlueTask(
        _pair("mnli", ("sentence1", "sentence2", "gold_label"), ("contradiction", "entailment", "neutral")),
        folders=("MNLI", "mnli"),
        dev={"dev": "dev_matched.tsv", "dev_mismatched": "dev_mismatched.tsv"},
    ),
    "qnli": GlueTask(
        _pair("qnli", ("question", "sentence", "label"), _ENTAILMENT), folders=("QNLI", "qnli"), dev={"dev": "dev.tsv"}
    ),
    "rte": GlueTask(_pair("rte", _SENTENCES, _ENTAILMENT, epochs=10), folders=("RTE", "rte"), dev={"dev": "dev.tsv"}),
    "wnli": GlueTask(_pair("wnli", _SENTENCES, ("0", "1")), folders=("WNLI", "wnli"), dev={"dev": "dev.tsv"}),
}


def task_folder(data: Path, entry: GlueTask) -> Path:
    """The folder with the task's files: `data` itself, or the sub-folder with the task's name."""
    if not data.is_dir():
        raise DataError("no such folder", code="MISSING_INPUT", where=str(data))
    for folder in (data, *(data / name for name in entry.folders)):
        if (folder / entry.train).is_file() or (folder / f"{entry.train}.xz").is_file():
            return folder
    raise DataError(
        f"no {entry.train} here or in {' or '.join(entry.folders[:2])}",
        code="MISSING_INPUT",
        where=str(data),
        hint="give the GLUE folder, or the task's own folder with its standard TSV files",
    )


def train_file(data: Path, entry: GlueTask) -> Path:
    """The task's training file under the folder `data`."""
    return stored_file(task_folder(data, entry) / entry.train)


def dev_files(data: Path, entry: GlueTask) -> dict[str, Path]:
    """The task's labelled held-out files under the folder `data`, those that are there; the first one must be."""
    folder = task_folder(data, entry)
    found: dict[str, Path] = {}
    for name, file in entry.dev.items():
        if not found or (folder / file).is_file() or (folder / f"{file}.xz").is_file():
            found[name] = stored_file(folder / file)
    return found


def read_glue(path: Path, entry: GlueTask) -> Examples:
    """Rows of one of the task's TSV files; a file without the label column (a test set) has `labels` None.

    Quotes mean nothing in these files, so rows are split at tabs by hand: the csv module would join the rows between
    two unbalanced quotes. Rows with too few columns are left out and counted, as in the released code; more than one in
    a thousand of them is a DataError.
    """
    task = entry.task
    rows = (
        (number, line.rstrip("\n").removesuffix("\r").split("\t")) for number, line in read_lines(stored_file(path))
    )
    first = next(rows, None)
    if first is None:
        raise DataError("the file is empty", code="NO_ROWS", where=str(path))
    has_header = set(task.text_columns) <= set(first[1])
    place = _columns(first[1], entry, has_header=has_header, where=str(path))
    lines: list[int] = []
    columns: dict[str, list[str]] = {name: [] for name in place}
    skipped = 0
    for number, fields in rows if has_header else chain([first], rows):
        if fields == [""]:
            continue
        if len(fields) <= max(place.values()):
            skipped += 1
            continue
        lines.append(number)
        for name, position in place.items():
            columns[name].append(fields[position])
    if not lines or skipped > MAX_BROKEN_ROWS * (len(lines) + skipped) + 1:
        raise DataError(
            f"{skipped} of {len(lines) + skipped} rows have too few columns; expected {', '.join(place)}",
            code="RAGGED_ROWS" if skipped else "NO_ROWS",
            where=str(path),
        )
    text, *pair = task.text_columns
    return Examples(
        path, lines, columns[text], columns[pair[0]] if pair else None, columns.get(task.label_column), skipped
    )


def _columns(header: list[str], entry: GlueTask, *, has_header: bool, where: str) -> dict[str, int]:
    """Position of each of the task's columns that the file has."""
    task = entry.task
    wanted = (*task.text_columns, task.label_column)
    if not has_header:
        if entry.positions is None:
            raise DataError(
                f"the first line has no column {' or '.join(task.text_columns)}",
                code="MISSING_COLUMN",
                where=f"{where}:1",
                hint=f"{task.name} files have a header line with {', '.join(wanted)}",
            )
        return dict(entry.positions)
    if len(set(header)) != len(header):
        raise DataError("a column name stands twice in the header", code="DUPLICATE_COLUMN", where=f"{where}:1")
    return {name: header.index(name) for name in wanted if name in header}
