"""The demo's text and labelled rows: docstrings of Python and of the packages that this tool needs, as plain files."""

from __future__ import annotations

import json
import os
import platform
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from electra_cli import __version__
from electra_cli.artifacts.storage import storage_errors
from electra_cli.errors import DataError
from electra_cli.reporting import Reporter

PACKAGES = 5  # labels of the task: the packages with the most docstrings
TRAIN_PER_LABEL = 100  # few labels show best what pretraining gives
DEV_PER_LABEL = 100  # at most
LONGEST_TEXT = 250  # characters of a labelled text: about 60 tokens


@dataclass(frozen=True)
class DemoData:
    """Where the demo's files lie.

    Attributes:
        corpus: documents separated by blank lines, a paragraph a line.
        train: few labelled rows, as many of each label: columns text and label.
        dev: labelled rows that are measured on; none of their text is in the corpus.
        labels: the labels.
        dev_rows: rows of `dev`.
    """

    corpus: Path
    train: Path
    dev: Path
    labels: tuple[str, ...]
    dev_rows: int


def prepare(folder: Path, *, report: Reporter) -> DemoData:
    """Write the demo's files into `folder`, or find them there from an earlier run on the same packages.

    Raises:
        DataError: this machine's packages have too few docstrings for a task.
        ResourceError: the folder cannot be written.
    """
    files = DemoData(folder / "corpus.txt", folder / "train.tsv", folder / "dev.tsv", (), 0)
    stamp, packages = folder / "packages.json", {"electra": __version__, **_read_from()}
    try:
        made = json.loads(stamp.read_bytes())
        if made["packages"] == packages:
            return DemoData(files.corpus, files.train, files.dev, tuple(made["labels"]), made["dev_rows"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    from electra_cli.data.docstrings import SourceDocstrings, installed_docstrings, split_docstrings

    with report.progress("reading docstrings", total=None, unit="files") as meter:

        def counted() -> Iterator[SourceDocstrings]:
            for source in installed_docstrings(packages):
                meter.advance()
                yield source

        data = split_docstrings(counted())
    by_package: dict[str, list[str]] = {}
    for text, package in data.labelled:
        by_package.setdefault(package, []).append(text[:LONGEST_TEXT])
    labels = sorted(sorted(by_package, key=lambda name: (-len(by_package[name]), name))[:PACKAGES])
    if len(labels) < 2 or min(len(by_package[name]) for name in labels) < TRAIN_PER_LABEL + 20:
        raise DataError(
            "the installed packages have too few docstrings for the demo's task",
            code="TOO_FEW_DOCSTRINGS",
            hint="run `make demo`, which installs what the tool needs",
        )
    train, dev = [], []
    for label in labels:
        texts = by_package[label]
        random.Random(f"demo {label}").shuffle(texts)
        train += [(text, label) for text in texts[:TRAIN_PER_LABEL]]
        dev += [(text, label) for text in texts[TRAIN_PER_LABEL : TRAIN_PER_LABEL + DEV_PER_LABEL]]
    random.Random("demo").shuffle(train)
    _write(files.corpus, "\n\n".join("\n".join(paragraphs) for paragraphs in data.documents) + "\n")
    for path, rows in ((files.train, train), (files.dev, dev)):
        _write(path, "".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *rows]))
    _write(stamp, json.dumps({"packages": packages, "labels": labels, "dev_rows": len(dev)}, indent=1) + "\n")
    return DemoData(files.corpus, files.train, files.dev, tuple(labels), len(dev))


def _read_from() -> dict[str, str]:
    """Name and version of everything whose docstrings the corpus holds."""
    from electra_cli.data.docstrings import required_distributions

    return {"python": platform.python_version(), **dict(sorted(required_distributions("electra-cli").items()))}


def _write(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
