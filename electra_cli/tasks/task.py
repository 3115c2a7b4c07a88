"""What a finetuning task is, and the examples it learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

Kind = Literal["single_label", "regression"]


@dataclass(frozen=True)
class Task:
    """One finetuning task, everything about it that the finetuned model has to remember.

    Attributes:
        name: `mrpc`, `classify`, …
        kind: one label of several, or a number.
        labels: the labels in the order of their ids (C of them); empty for regression.
        text_columns: names of the one or two text columns of the training data.
        label_column: name of the label column.
        metrics: names in `tasks.metrics.METRICS`; the first is the one that counts.
        max_length: tokens in a row, special tokens included; longer texts are cut.
        epochs: passes over the training data, if nobody says otherwise.
        swap: whether training also sees each pair in the other order (the released code's `double_unordered`).
        scale: the lowest and highest possible target of a regression; training sees targets mapped to 0…1.
        source: which reader understands the task's files.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    text_columns: tuple[str, ...]
    label_column: str
    metrics: tuple[str, ...]
    max_length: int = 128
    epochs: int = 3
    swap: bool = False
    scale: tuple[float, float] | None = None
    source: Literal["glue", "table"] = "table"

    @property
    def outputs(self) -> int:
        """Width of the model's output layer: C, or 1 for regression."""
        return 1 if self.kind == "regression" else len(self.labels)

    @property
    def paired(self) -> bool:
        """Whether an example has two texts."""
        return len(self.text_columns) == 2

    def to_spec(self) -> dict[str, Any]:
        """The part of a model artifact's `spec` that lets it evaluate and predict without its training data."""
        return {
            "name": self.name,
            "type": self.kind,
            "labels": list(self.labels),
            "text_columns": list(self.text_columns),
            "label_column": self.label_column,
            "metrics": list(self.metrics),
            "max_length": self.max_length,
            "scale": None if self.scale is None else list(self.scale),
            "source": self.source,
        }

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Task:
        """The task that `to_spec` wrote; raises KeyError or ValueError on anything else."""
        if spec["type"] not in ("single_label", "regression") or spec.get("source", "table") not in ("glue", "table"):
            raise ValueError(f"unknown kind of task: {spec['type']!r} from {spec.get('source')!r}")
        scale = spec.get("scale")
        return cls(
            name=str(spec["name"]),
            kind=spec["type"],
            labels=tuple(str(label) for label in spec["labels"]),
            text_columns=tuple(str(name) for name in spec["text_columns"]),
            label_column=str(spec.get("label_column", "label")),
            metrics=tuple(str(name) for name in spec["metrics"]),
            max_length=int(spec["max_length"]),
            scale=None if scale is None else (float(scale[0]), float(scale[1])),
            source=spec.get("source", "table"),
        )


@dataclass(frozen=True)
class Examples:
    """The rows of one file, column by column.

    Attributes:
        path: the file, for messages.
        lines: line in the file at which each row starts, from 1.
        texts: first text of each row.
        pairs: second text of each row, None for tasks with one text.
        labels: each row's label as it stands in the file, None when the file has no labels.
        skipped: rows that were left out because they have too few columns (GLUE files only).
    """

    path: Path
    lines: Sequence[int]
    texts: Sequence[str]
    pairs: Sequence[str] | None
    labels: Sequence[str] | None
    skipped: int = 0

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.texts)

    def select(self, rows: Sequence[int]) -> Examples:
        """The given rows, in the given order."""
        return replace(
            self,
            lines=[self.lines[row] for row in rows],
            texts=[self.texts[row] for row in rows],
            pairs=None if self.pairs is None else [self.pairs[row] for row in rows],
            labels=None if self.labels is None else [self.labels[row] for row in rows],
        )

    def with_swapped_pairs(self) -> Examples:
        """Every row, then every row again with its two texts exchanged (paper's released code, `double_unordered`)."""
        if self.pairs is None:
            return self
        return replace(
            self,
            lines=[*self.lines, *self.lines],
            texts=[*self.texts, *self.pairs],
            pairs=[*self.pairs, *self.texts],
            labels=None if self.labels is None else [*self.labels, *self.labels],
        )
