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
from electra_cli.text.word_starts import word_starts

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
        carry_over: whether what does not fit a row begins the next one.
        word_starts: whether rows say which of their tokens begin a word of the text.
    """

    folder: Path
    tokenizer: Path
    recipe_id: str
    length: int
    min_row_tokens: int
    seed: int
    carry_over: bool = True
    word_starts: bool = False


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
    """What a complete unit holds; `rows` 0 means that it has no file.

    `tokens` counts special tokens, not pads; `words` the words that begin in rows, where the plan asks for them.
    """

    name: str
    split: str
    recipe_id: str
    sha256: str
    rows: int
    tokens: int
    documents: int
    dropped: dict[str, int]
    words: int = 0


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
        rows, stream, starts = self._rows(task, dropped)
        sha256, tokens, words = "", 0, 0
        if rows:
            ids_BL, lengths_B, first_B = self._laid_out(rows, stream)
            start_BL = None if starts is None else _word_starts(rows, starts, length=self._plan.length)
            data = shard_bytes(
                ids_BL, lengths_B, first_B, vocab_size=self._tokenizer.vocab_size, word_start_BL=start_BL
            )
            sha256, tokens = hashlib.sha256(data).hexdigest(), int(lengths_B.sum())
            words = 0 if start_BL is None else int(start_BL.sum())
            path = self._plan.folder / task.name
            with storage_errors(path):
                write_durably(path, data)
        counts = (len(rows), tokens, task.documents, dict(dropped), words)
        record = UnitRecord(task.name, task.split, self._plan.recipe_id, sha256, *counts)
        path = _record_path(self._plan.folder, task.name)
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
            write_durably(path, json.dumps(asdict(record)).encode("ascii"))
        return record

    def _rows(
        self, task: UnitTask, dropped: Counter[str]
    ) -> tuple[list[Row], npt.NDArray[np.int64], npt.NDArray[np.bool_] | None]:
        """Return the rows of all documents, the token stream of the whole unit that their spans count in, and which of
        its tokens begin a word (None unless the plan asks for it).
        """
        documents = [(text, text.decode("utf-8").split("\n")) for text in task.text.split(_BETWEEN)]
        everything = [line for _, lines in documents for line in lines]
        encoded = self._tokenizer.encode_lines(everything)
        rows: list[Row] = []
        line = start = 0
        for text, lines in documents:
            lengths = [len(ids) for ids in encoded[line : line + len(lines)]]
            line += len(lines)
            rng = document_random(digest_of(text), seed=self._plan.seed)
            left = sum(lengths)
            for row in rows_of(lengths, length=self._plan.length, rng=rng, carry_over=self._plan.carry_over):
                left -= row.tokens
                if row.tokens < self._plan.min_row_tokens:
                    dropped["short_rows"] += 1
                else:
                    rows.append(row.moved(start))
            if left:
                dropped["overflow_tokens"] += left
            start += sum(lengths)
        stream = np.concatenate(encoded)
        if not self._plan.word_starts:
            return rows, stream, None
        return rows, stream, np.concatenate(word_starts(self._tokenizer, everything, encoded))

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


def _word_starts(rows: list[Row], starts: npt.NDArray[np.bool_], *, length: int) -> npt.NDArray[np.bool_]:
    """Return which tokens of the laid-out rows begin a word of the text: (rows, length); special tokens begin none.

    The first token of a span does whatever the text says: what stood before it is elsewhere.
    """
    start_BL = np.zeros((len(rows), length), dtype=np.bool_)
    for number, row in enumerate(rows):
        place = 1
        for segment in (row.first, row.second):
            for start, stop in segment:
                start_BL[number, place : place + stop - start] = starts[start:stop]
                start_BL[number, place] = True
                place += stop - start
            place += 1
    return start_BL


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
