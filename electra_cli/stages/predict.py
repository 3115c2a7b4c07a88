"""Answer rows one after the other with a finetuned model, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from electra_cli.artifacts import open_artifact
from electra_cli.config import Settings, setting
from electra_cli.errors import DataError, ElectraError
from electra_cli.reporting import Reporter, Silent

if TYPE_CHECKING:
    from electra_cli.stages.classifiers import Answerer
    from electra_cli.tasks.lines import ByteLines
    from electra_cli.tasks.task import Task


class PredictSettings(Settings):
    """How rows are answered."""

    window: int = setting(
        1024, "rows read ahead and sorted by length; 1 answers each row before the next is read", ge=1, le=2**20
    )
    batch_size: int = setting(64, "rows computed at once", ge=1, le=65536)
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "fp32", "number format; auto is bf16 where the hardware has it"
    )
    device: str = setting("auto", "cpu, cuda, cuda:1; auto is a GPU if there is one")


@dataclass(frozen=True)
class Input:
    """Where rows come from: a file by its path, or open JSON lines; `name` is what messages call it."""

    name: str
    rows: Path | ByteLines


@dataclass(frozen=True)
class Question:
    """One row to answer: its texts, and what of it comes back (`id`)."""

    text: str
    pair: str | None
    echo: Mapping[str, Any] = field(default_factory=dict)


def run(
    model: Path | str, source: Input, *, settings: PredictSettings, report: Reporter | None = None
) -> Iterator[dict[str, Any]]:
    """Yields the answer to each row, in order.

    Args:
        model: the artifact of a finetuned model.
        source: JSON lines, each an object with `text` (and `text_b` for tasks with two texts), or with the names of the
            training file's text columns; `id` is handed through, blank lines are passed over. Or the path of such a
            file, or of a CSV or TSV file with the training file's text columns.
        settings: how.
        report: who listens.

    Yields:
        {"label": …, "probabilities": {label: …}}, or {"score": …} on the task's own scale for regression.

    Raises ArtifactError; DataError with the line for a row that can't be used, after the rows before it were answered.
    """
    artifact = open_artifact(model, kinds=("model",))

    from electra_cli.stages.classifiers import Answerer

    answerer = Answerer(artifact, device=settings.device, precision=settings.precision, batch_size=settings.batch_size)
    with (report or Silent()).progress("predict", total=None, unit="rows") as meter:
        for window in _windows(_questions(source, answerer.task), settings.window):
            yield from _answers(answerer, window.rows)
            meter.advance(len(window.rows))
            if window.problem is not None:
                raise window.problem


def question_of(row: dict[str, Any], task: Task, *, where: str) -> Question:
    """The texts of one JSON row under the task's own column names, or under `text` and `text_b`."""
    from electra_cli.tasks.tables import json_text

    general = ("text", "text_b")[: len(task.text_columns)]
    names = task.text_columns if all(name in row for name in task.text_columns) else general
    missing = [name for name in names if name not in row]
    if missing:
        own = "" if task.text_columns == general else f" (or {' and '.join(task.text_columns)})"
        raise DataError(
            f"no {' and no '.join(missing)}; {task.name} rows have {' and '.join(general)}{own}",
            code="MISSING_COLUMN",
            where=where,
        )
    texts = [json_text(row, name, where=where) for name in names]
    return Question(texts[0], texts[1] if task.paired else None, {"id": row["id"]} if "id" in row else {})


def _questions(source: Input, task: Task) -> Iterator[Question]:
    from electra_cli.tasks.lines import numbered_lines, read_lines, stored_file
    from electra_cli.tasks.tables import format_of, iterate_rows, parse_json

    if isinstance(source.rows, Path):
        path = stored_file(source.rows)
        if format_of(path) != "jsonl":
            for row in iterate_rows(path, task.text_columns):
                texts = [row.values[name] for name in task.text_columns]
                yield Question(texts[0], texts[1] if task.paired else None)
            return
        lines = read_lines(path)
    else:
        lines = numbered_lines(source.rows, where=source.name)
    for number, line in lines:
        if line.strip():
            where = f"{source.name}:{number}"
            yield question_of(parse_json(line, where=where), task, where=where)


@dataclass
class _Window:
    rows: list[Question]
    problem: ElectraError | None = None


def _windows(questions: Iterator[Question], size: int) -> Iterator[_Window]:
    """Yields up to `size` rows at a time; a problem comes with the rows before it, so that they are still answered."""
    window = _Window([])
    try:
        for question in questions:
            window.rows.append(question)
            if len(window.rows) == size:
                yield window
                window = _Window([])
    except ElectraError as problem:
        window.problem = problem
    if window.rows or window.problem is not None:
        yield window


def _answers(answerer: Answerer, rows: list[Question]) -> Iterator[dict[str, Any]]:
    if not rows:
        return
    pairs = [row.pair or "" for row in rows] if answerer.task.paired else None
    for row, answer in zip(rows, answerer.answer([row.text for row in rows], pairs), strict=True):
        yield {**row.echo, **answer}
