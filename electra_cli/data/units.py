"""Units of work: a fixed amount of text becomes one shard file and a record that it is complete.

What a unit holds depends on the text, the tokenizer and the settings alone, so any process may write it, and one that
is complete is never written again. Units are independent: an interrupted run keeps those that it finished.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from electra_cli.artifacts.storage import storage_errors, write_durably
from electra_cli.data.corpus import Document
from electra_cli.data.segments import Row, digest_of, document_random, is_held_out, rows_of
from electra_cli.data.shards import Split, shard_bytes, shard_name
from electra_cli.text.tokenizer import Tokenizer

_BETWEEN = b"\0"  # between the documents of a unit; text holds none, the corpus reader takes them out


@dataclass(frozen=True)
class UnitPlan:
    """What all units of a run have in common.

    Attributes:
        folder: where shards and records are written.
        tokenizer: folder of the tokenizer's files.
        recipe_id: whose units these are.
        length: tokens of a row.
        min_row_tokens: rows with fewer tokens from the text are left out.
        seed: of the segments' randomness.
    """

    folder: Path
    tokenizer: Path
    recipe_id: str
    length: int
    min_row_tokens: int
    seed: int


@dataclass(frozen=True)
class UnitTask:
    """The text of one unit: documents of one split, in order."""

    split: Split
    number: int
    text: bytes
    documents: int

    @property
    def name(self) -> str:
        """The file that the unit becomes."""
        return shard_name(self.split, self.number)


@dataclass(frozen=True)
class UnitRecord:
    """What a complete unit holds; `rows` 0 means that it has no file. `tokens` counts special tokens, not pads."""

    name: str
    split: str
    recipe_id: str
    sha256: str
    rows: int
    tokens: int
    documents: int
    dropped: dict[str, int]


def plan_units(documents: Iterable[Document], *, unit_bytes: int, val_fraction: float, seed: int) -> Iterator[UnitTask]:
    """Yield units of about `unit_bytes` of UTF-8 each, held-out documents in units of their own."""
    texts: dict[Split, list[bytes]] = {"train": [], "val": []}
    sizes: dict[Split, int] = {"train": 0, "val": 0}
    numbers: dict[Split, int] = {"train": 0, "val": 0}

    def unit(split: Split) -> UnitTask:
        task = UnitTask(split, numbers[split], _BETWEEN.join(texts[split]), len(texts[split]))
        texts[split], sizes[split] = [], 0
        numbers[split] += 1
        return task

    for document in documents:
        text = "\n".join(document.lines).encode("utf-8")
        split: Split = "val" if is_held_out(digest_of(text), seed=seed, fraction=val_fraction) else "train"
        texts[split].append(text)
        sizes[split] += len(text)
        if sizes[split] >= unit_bytes:
            yield unit(split)
    for split in ("train", "val"):
        if texts[split]:
            yield unit(split)


class UnitWriter:
    """Writes units, in whatever process."""

    def __init__(self, plan: UnitPlan) -> None:
        self._plan = plan
        self._tokenizer = Tokenizer.load(plan.tokenizer)

    def write(self, task: UnitTask) -> UnitRecord:
        """Tokenise, segment and write one unit, and its record after it; both are durable then."""
        dropped: Counter[str] = Counter()
        rows, stream = self._rows(task, dropped)
        sha256, tokens = "", 0
        if rows:
            ids_BL, lengths_B, first_B = self._laid_out(rows, stream)
            data = shard_bytes(ids_BL, lengths_B, first_B, vocab_size=self._tokenizer.vocab_size)
            sha256, tokens = hashlib.sha256(data).hexdigest(), int(lengths_B.sum())
            path = self._plan.folder / task.name
            with storage_errors(path):
                write_durably(path, data)
        record = UnitRecord(
            task.name, task.split, self._plan.recipe_id, sha256, len(rows), tokens, task.documents, dict(dropped)
        )
        path = _record_path(self._plan.folder, task.name)
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
            write_durably(path, json.dumps(asdict(record)).encode("ascii"))
        return record

    def _rows(self, task: UnitTask, dropped: Counter[str]) -> tuple[list[Row], npt.NDArray[np.int64]]:
        """Return the rows of all documents, their spans counted in the token stream of the whole unit."""
        documents = [(text, text.decode("utf-8").split("\n")) for text in task.text.split(_BETWEEN)]
        encoded = self._tokenizer.encode_lines([line for _, lines in documents for line in lines])
        rows: list[Row] = []
        line = start = 0
        for text, lines in documents:
            lengths = [len(ids) for ids in encoded[line : line + len(lines)]]
            line += len(lines)
            rng = document_random(digest_of(text), seed=self._plan.seed)
            for row in rows_of(lengths, length=self._plan.length, rng=rng):
                if row.tokens < self._plan.min_row_tokens:
                    dropped["short_rows"] += 1
                else:
                    rows.append(row.moved(start))
            start += sum(lengths)
        return rows, np.concatenate(encoded)

    def _laid_out(
        self, rows: list[Row], stream: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`, padded, with the lengths of rows and first segments."""
        tokenizer = self._tokenizer
        ids_BL = np.full((len(rows), self._plan.length), tokenizer.pad_id, dtype=np.uint32)
        lengths_B = np.empty(len(rows), dtype=np.int64)
        first_B = np.empty(len(rows), dtype=np.int64)
        ids_BL[:, 0] = tokenizer.cls_id
        for number, row in enumerate(rows):
            ids_L = ids_BL[number]
            place = 1
            for segment in (row.first, row.second):
                for start, stop in segment:
                    ids_L[place : place + stop - start] = stream[start:stop]
                    place += stop - start
                if segment:
                    ids_L[place] = tokenizer.sep_id
                    place += 1
                if segment is row.first:
                    first_B[number] = place
            lengths_B[number] = place
        return ids_BL, lengths_B, first_B


def finished_unit(plan: UnitPlan, task: UnitTask) -> UnitRecord | None:
    """Return the record of a unit that an interrupted run finished, None where it must be written (again)."""
    try:
        body = json.loads(_record_path(plan.folder, task.name).read_bytes())
        record = UnitRecord(**body)
        if (record.recipe_id, record.name, record.documents) != (plan.recipe_id, task.name, task.documents):
            return None
        if record.rows:
            with open(plan.folder / task.name, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
                    return None
    except (OSError, ValueError, TypeError):  # missing, torn, or of another version
        return None
    return record


def _record_path(folder: Path, name: str) -> Path:
    return folder / "units" / f"{name}.json"
