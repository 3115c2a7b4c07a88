"""Does the exported folder say what the artifact says? Asked in a fresh process, on real sentences."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from electra_cli.errors import ArtifactError, ResourceError, WorkerError

TOLERANCE = 1e-5
"""Largest difference of two logits that passes, relative to the largest logit and never below it in absolute terms."""

ROW_LENGTH = 64  # tokens of a sentence that the logits are compared on; ids are compared on all


@dataclass(frozen=True)
class Question:
    """What both sides are asked.

    Attributes:
        texts: one or two texts each.
        ids: our tokenizer's ids of each, special tokens included, uncut.
        ids_BL, types_BL, mask_BL: the same cut and padded to a batch.
    """

    texts: Sequence[Sequence[str]]
    ids: Sequence[Sequence[int]]
    ids_BL: Tensor
    types_BL: Tensor
    mask_BL: Tensor


@dataclass(frozen=True)
class Agreement:
    """How far one reader of the folder is from us.

    Attributes:
        reader: who read it.
        texts: how many texts were tokenized.
        other_ids: how many of them came out with other ids.
        logits: how many logits were compared.
        difference: the largest difference, divided by the largest logit if that is more than 1.
        largest: the largest logit in absolute terms.
    """

    reader: str
    texts: int
    other_ids: int
    logits: int
    difference: float
    largest: float

    @property
    def holds(self) -> bool:
        """Whether ids are equal and logits within `TOLERANCE`; false for anything that is not a number."""
        return self.other_ids == 0 and self.difference <= TOLERANCE

    def describe(self) -> str:
        """One line for a person."""
        ids = "the same ids" if self.other_ids == 0 else f"other ids for {self.other_ids} of {self.texts} texts"
        if not self.logits:
            return f"{self.reader}: {ids}, logits of another shape"
        return f"{self.reader}: {ids}, {self.logits:,} logits at most {self.difference:.1e} apart"

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON values; a difference that is no number is null."""
        difference = self.difference if math.isfinite(self.difference) else None
        return {
            "reader": self.reader,
            "texts": self.texts,
            "other_ids": self.other_ids,
            "logits": self.logits,
            "largest_difference": difference,
            "tolerance": TOLERANCE,
        }


def sample_texts() -> list[list[str]]:
    """The sentences that ship with the package, each alone, then in pairs of neighbours."""
    text = resources.files("electra_cli").joinpath("samples/sentences.txt").read_text(encoding="utf-8")
    lines = text.removesuffix("\n").split("\n")
    return [[line] for line in lines] + [[a, b] for a, b in zip(lines[::2], lines[1::2], strict=False)]


def question(
    texts: Sequence[Sequence[str]], encoded: Sequence[tuple[Sequence[int], int]], *, positions: int
) -> Question:
    """Pad our encodings of `texts` to a batch.

    Args:
        texts: one or two texts each.
        encoded: ids of each with special tokens (plain integers), and the number of tokens of its first segment.
        positions: the model's; rows are cut there, or at `ROW_LENGTH`.
    """
    longest = min(positions, ROW_LENGTH, max(len(ids) for ids, _ in encoded))
    ids_BL = torch.zeros(len(encoded), longest, dtype=torch.int64)
    types_BL, mask_BL = torch.zeros_like(ids_BL), torch.zeros_like(ids_BL)
    for row, (ids, first) in enumerate(encoded):
        length = min(len(ids), longest)
        ids_BL[row, :length] = torch.tensor(ids[:length])
        types_BL[row, first:length] = 1
        mask_BL[row, :length] = 1
    return Question(texts, [ids for ids, _ in encoded], ids_BL, types_BL, mask_BL)


def compare(folder: Path, asked: Question, logits: Tensor) -> list[Agreement]:
    """Ask the readers in a fresh process and compare with ours.

    Args:
        folder: the exported folder.
        asked: the question.
        logits: our answer: (N, …) for the tokens of the batch that are no padding, or (B, C) for a classifier.

    Raises:
        ArtifactError: a reader could not read the folder (`EXPORT_UNREADABLE`).
        ResourceError: the disk for temporary files is full.
        WorkerError: the reading process was killed.
    """
    with tempfile.TemporaryDirectory(prefix="electra-export-") as scratch:
        exchange = Path(scratch)
        batch = {"ids_BL": asked.ids_BL, "types_BL": asked.types_BL, "mask_BL": asked.mask_BL}
        save_file(batch, exchange / "batch.safetensors")
        (exchange / "texts.json").write_text(json.dumps([list(pair) for pair in asked.texts]), encoding="utf-8")
        _reread(folder, exchange)
        answers = load_file(exchange / "answers.safetensors")
        ids = json.loads((exchange / "answers.json").read_text(encoding="utf-8"))
    return [_agreement(reader, ids[reader], answers[reader], asked, logits) for reader in ids]


def _reread(folder: Path, exchange: Path) -> None:
    command = [sys.executable, "-m", "electra_cli.exporting.reread", str(folder.resolve()), str(exchange)]
    finished = subprocess.run(
        command, cwd=exchange, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if finished.returncode < 0:
        raise WorkerError(
            f"the process that re-reads the export was killed by signal {-finished.returncode}",
            code="WORKER_DIED",
            hint="it needs about three times the model's size in memory",
        )
    if finished.returncode > 0:
        lines = finished.stderr.strip().splitlines() or ["no message"]
        if "No space left on device" in finished.stderr:
            raise ResourceError(
                "the disk is full: the logits to compare take up to a few hundred MB",
                code="DISK_FULL",
                where=str(exchange.parent),
                hint="free some space there, or point TMPDIR at a larger disk",
            )
        raise ArtifactError(
            f"what was written cannot be read back: {lines[-1]}",
            code="EXPORT_UNREADABLE",
            where=str(folder),
            hint="nothing was published; `electra verify` checks the source",
        )


def _environment() -> Mapping[str, str]:
    """Ours, with this very package importable and nothing fetched from anywhere."""
    here = str(Path(__file__).resolve().parents[2])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **offline, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}


def _agreement(reader: str, ids: Any, theirs: Tensor, asked: Question, ours: Tensor) -> Agreement:
    other = sum(list(mine) != yours for mine, yours in zip(asked.ids, ids, strict=True))
    if theirs.shape != ours.shape:
        return Agreement(reader, len(ids), other, 0, float("inf"), float("nan"))
    largest = float(theirs.abs().max())
    difference = float((ours.float() - theirs).abs().max()) / max(1.0, largest)
    return Agreement(reader, len(ids), other, theirs.numel(), difference, largest)
