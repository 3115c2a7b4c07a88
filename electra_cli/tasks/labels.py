"""Labels as text and as numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from electra_cli.errors import DataError
from electra_cli.tasks.task import Examples, Task

SHOWN = 5  # labels listed in a message


def label_order(examples: Examples) -> tuple[str, ...]:
    """The labels of a training file in the order of their ids: sorted, so that the file's order does not matter.

    Raises DataError for a file with one label only, from which nothing can be learnt.
    """
    labels = tuple(sorted(set(examples.labels or ())))
    if len(labels) < 2:
        what = f"the only label is {labels[0]!r}" if labels else "there are no labels"
        raise DataError(f"{what}: a classifier needs at least two", code="ONE_LABEL", where=str(examples.path))
    return labels


def encode_labels(examples: Examples, task: Task) -> np.ndarray:
    """Targets of each row: label ids (int64), or for regression numbers from 0 to 1 (float32).

    The ids come from `task`, which is to say from the training data, never from this file. Raises DataError for a file
    without labels and for a label that training never saw, or a target outside of the task's scale.
    """
    if examples.labels is None:
        raise DataError(
            f"the file has no column {task.label_column}: without labels there is nothing to compare with",
            code="NO_LABELS",
            where=str(examples.path),
            hint="use `electra predict` for files without labels",
        )
    return (
        _scaled(examples, examples.labels, task) if task.kind == "regression" else _ids(examples, examples.labels, task)
    )


def _ids(examples: Examples, labels: Sequence[str], task: Task) -> np.ndarray:
    ids = {label: number for number, label in enumerate(task.labels)}
    unseen = Counter(label for label in labels if label not in ids)
    if unseen:
        first = next(row for row, label in enumerate(labels) if label not in ids)
        listed = ", ".join(f"{label!r} ({count} rows)" for label, count in unseen.most_common(SHOWN))
        more = f" and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
        known = ", ".join(repr(label) for label in task.labels[: 2 * SHOWN])
        raise DataError(
            f"labels that training never saw: {listed}{more}; known are {known}"
            + (", …" if len(task.labels) > 2 * SHOWN else ""),
            code="UNSEEN_LABEL",
            where=f"{examples.path}:{examples.lines[first]}",
            hint="this looks like a test file without its labels" if set(unseen) == {"-1"} else None,
        )
    return np.array([ids[label] for label in labels], dtype=np.int64)


def _scaled(examples: Examples, labels: Sequence[str], task: Task) -> np.ndarray:
    low, high = task.scale or (0.0, 1.0)
    values = np.empty(len(labels), dtype=np.float32)
    for row, label in enumerate(labels):
        try:
            value = float(label)
        except ValueError:
            value = math.nan
        if not low <= value <= high:  # false for nan
            raise DataError(
                f"the target {label!r} is not a number from {low:g} to {high:g}",
                code="BAD_TARGET",
                where=f"{examples.path}:{examples.lines[row]}",
            )
        values[row] = (value - low) / (high - low)
    return values
