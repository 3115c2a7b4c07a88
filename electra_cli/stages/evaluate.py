"""Score a finetuned model on labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from electra_cli.artifacts import Artifact, open_artifact
from electra_cli.config import Settings, setting
from electra_cli.errors import UsageError
from electra_cli.reporting import Reporter, Silent

if TYPE_CHECKING:
    from electra_cli.tasks.task import Examples, Task


class EvaluateModelSettings(Settings):
    """How a finetuned model is evaluated."""

    batch_size: int = setting(64, "rows computed at once", ge=1, le=65536, shapes=False)
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "fp32", "number format; fp32 gives the scores that finetuning reported; auto is bf16 where the hardware has it"
    )
    device: str = setting("auto", "cpu, cuda, cuda:1; auto is a GPU if there is one", shapes=False)


def run(
    model: Path | str,
    data: Sequence[Path],
    *,
    settings: EvaluateModelSettings,
    report: Reporter | None = None,
) -> dict[str, float | int | None]:
    """The task's metrics of a model artifact on labelled rows, with the mean loss and the number of rows.

    Args:
        model: the artifact.
        data: one labelled file with the columns of the training file; for a GLUE task also the GLUE folder or the
            task's, whose held-out files are taken (a second one's metrics are called `dev_mismatched.accuracy`).
        settings: how.
        report: who listens.

    Raises ArtifactError, DataError (no labels, labels that training never saw), UsageError (not one path).
    """
    report = report or Silent()
    artifact = open_artifact(model, kinds=("model",))
    if len(data) != 1:
        raise UsageError(
            "a finetuned model is evaluated on one file or folder with labels",
            code="DATA_EXPECTED",
            where="DATA",
            hint=f"electra evaluate {model} DEV_FILE",
        )

    from electra_cli.stages.classifiers import Answerer, rate, to_zero_one, undefined
    from electra_cli.tasks.labels import encode_labels

    answerer = Answerer(artifact, device=settings.device, precision=settings.precision, batch_size=settings.batch_size)
    task = answerer.task
    sets = labelled_rows(task, data[0])
    targets = {name: encode_labels(examples, task) for name, examples in sets.items()}
    result: dict[str, float | int | None] = {}
    for name, examples in sets.items():
        with report.progress(f"evaluate {name}", total=len(examples), unit="rows") as meter:
            outputs_NC = answerer.outputs(examples, meter=meter)
        scores = rate(task, to_zero_one(task, outputs_NC), targets[name])
        if (problem := undefined(scores, task.metrics)) is not None:
            report.warn(f"{examples.path}: {problem}")
        prefix = "" if not result else f"{name}."
        result |= {f"{prefix}{metric}": value for metric, value in scores.items()} | {f"{prefix}rows": len(examples)}
    return result


def metric_names(artifact: Artifact) -> tuple[str, ...]:
    """The metrics that evaluating a model artifact gives, so that a gate can be checked before the work."""
    task = artifact.spec.get("task")
    return (*task["metrics"], "loss") if isinstance(task, dict) else ()


def labelled_rows(task: Task, path: Path) -> dict[str, Examples]:
    """The rows of a file, or of a GLUE task's held-out files, by name of the set."""
    from electra_cli.tasks.glue import GLUE, dev_files, read_glue
    from electra_cli.tasks.tables import Columns, read_table

    if task.source == "glue":
        entry = GLUE[task.name]
        files = dev_files(path, entry) if path.is_dir() else {"dev": path}
        return {name: read_glue(file, entry) for name, file in files.items()}
    text, *pair = task.text_columns
    return {"dev": read_table(path, Columns(text, pair[0] if pair else None, task.label_column))}
