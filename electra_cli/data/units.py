"""Units: what one process makes of one piece of the corpus, as shard files and a record that they are complete.

What they hold depends on the text, the tokenizer and the settings alone, so any process may write them, and a piece
whose record is there is never done again. Pieces are independent: an interrupted run keeps those that it finished.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from electra_cli.artifacts.storage import storage_errors, write_durably
from electra_cli.data.corpus import Tally
from electra_cli.data.dedup import Duplicates
from electra_cli.data.encoded import encode_documents
from electra_cli.data.layouts import RowRule, Rows
from electra_cli.data.pieces import Piece, read_piece
from electra_cli.data.recipes import lay_out
from electra_cli.data.segments import digest_of, is_held_out
from electra_cli.data.shards import Split, shard_bytes, shard_name
from electra_cli.data.sources import CorpusSettings
from electra_cli.text.tokenizer import Tokenizer
from electra_cli.text.word_cache import WordCache

_BLOCK = 8 * 1024 * 1024
"""Bytes of text encoded at once: what the memory of a worker grows with."""


@dataclass(frozen=True)
class UnitPlan:
    """What all pieces of a run have in common.

    Attributes:
        folder: where shards and records are written.
        tokenizer: folder of the tokenizer's files.
        recipe_id: whose units these are.
        corpus: how the text is read.
        rule: how documents become rows.
        unit_bytes: text of one shard file.
        val_fraction: share of the documents held out.
        seed: of the choice of held-out documents.
        duplicates: which documents are left out because the corpus had them before; None: all stay.
    """

    folder: Path
    tokenizer: Path
    recipe_id: str
    corpus: CorpusSettings
    rule: RowRule
    unit_bytes: int
    val_fraction: float
    seed: int
    duplicates: Duplicates | None = None

    def start(self) -> Callable[[Piece], PieceRecord]:
        """Return what writes the units of a piece; called once in each process."""
        return PieceWriter(self).write


@dataclass(frozen=True)
class UnitFile:
    """A shard file; `tokens` counts special tokens, not pads; `words` those that begin in its rows, where asked for.

    `pieces` counts the pieces of text in packed rows, `unknown` the tokens [UNK].
    """

    name: str
    sha256: str
    rows: int
    tokens: int
    words: int = 0
    pieces: int = 0
    unknown: int = 0


@dataclass(frozen=True)
class PieceRecord:
    """What became of one piece: its files, none where it gives no rows, and what was read of it."""

    number: int
    recipe_id: str
    documents: int
    lines: int
    characters: int
    dropped: dict[str, int]
    files: tuple[UnitFile, ...]

    def tally(self) -> Tally:
        """What was read, and what was left out on the way to the rows."""
        return Tally(self.documents, self.lines, self.characters, Counter(self.dropped))


class PieceWriter:
    """Writes the units of pieces, in whatever process."""

    def __init__(self, plan: UnitPlan) -> None:
        self._plan = plan
        self._tokenizer = Tokenizer.load(plan.tokenizer)
        self._cache = WordCache(self._tokenizer)
        # On a cluster a machine that was given up may still be writing what another writes by now: the same bytes, but
        # not through the same temporary file.
        self._writer = secrets.token_hex(8)

    def write(self, piece: Piece) -> PieceRecord:
        """Read one piece, encode it, lay it out, write its files, and its record after them; all durable then."""
        plan, tally = self._plan, Tally()
        files: list[UnitFile] = []
        open_units = {split: _Unit(split) for split in ("train", "val")}
        block_bytes = min(_BLOCK, plan.unit_bytes)
        documents = read_piece(piece, plan.corpus, tally=tally)
        if plan.duplicates is not None:
            documents = plan.duplicates.left_out(piece.number, documents, tally=tally)
        for document in documents:
            text = "\n".join(document.lines).encode("utf-8")
            digest = digest_of(text)
            unit = open_units["val" if is_held_out(digest, seed=plan.seed, fraction=plan.val_fraction) else "train"]
            unit.take(text, digest)
            if unit.block_size >= block_bytes:
                self._lay_out(unit)
            if unit.size >= plan.unit_bytes:
                files += self._file(unit, piece, tally)
        for unit in open_units.values():
            files += self._file(unit, piece, tally)
        counts = (tally.documents, tally.lines, tally.characters, dict(sorted(tally.dropped.items())))
        record = PieceRecord(piece.number, plan.recipe_id, *counts, tuple(files))
        path = _record_path(plan.folder, piece.number)
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
            write_durably(path, json.dumps(asdict(record)).encode("ascii"), writer=self._writer)
        return record

    def _lay_out(self, unit: _Unit) -> None:
        """Turn the text that a unit holds into rows."""
        rule = self._plan.rule
        if unit.texts:
            documents = encode_documents(self._cache, unit.texts, unit.digests, with_word_starts=rule.word_starts)
            unit.rows.append(lay_out(documents, self._tokenizer, rule))
        unit.texts, unit.digests, unit.block_size = [], [], 0

    def _file(self, unit: _Unit, piece: Piece, tally: Tally) -> list[UnitFile]:
        """Write what a unit holds as its next file, and empty it; nothing where there is no row."""
        self._lay_out(unit)
        for rows in unit.rows:
            tally.dropped.update(rows.dropped)
        parts, unit.rows, unit.size = [rows for rows in unit.rows if len(rows.lengths_B)], [], 0
        if not parts:
            return []
        name = shard_name(unit.split, piece.number, unit.files)
        unit.files += 1
        starts_BL = _joined([rows.word_start_BL for rows in parts if rows.word_start_BL is not None])
        pieces_BL = _joined([rows.piece_start_BL for rows in parts if rows.piece_start_BL is not None])
        lengths_B = np.concatenate([rows.lengths_B for rows in parts])
        ids_BL = np.concatenate([rows.ids_BL for rows in parts])
        data = shard_bytes(
            ids_BL,
            lengths_B,
            np.concatenate([rows.first_B for rows in parts]),
            vocab_size=self._tokenizer.vocab_size,
            word_start_BL=starts_BL,
            piece_start_BL=pieces_BL,
        )
        path = self._plan.folder / name
        with storage_errors(path):
            write_durably(path, data, writer=self._writer)
        file = UnitFile(
            name,
            hashlib.sha256(data).hexdigest(),
            rows=len(lengths_B),
            tokens=int(lengths_B.sum()),
            words=0 if starts_BL is None else int(starts_BL.sum()),
            pieces=0 if pieces_BL is None else int(pieces_BL.sum()),
            unknown=int((ids_BL == self._tokenizer.unk_id).sum()),
        )
        return [file]


@dataclass
class _Unit:
    """A file in the making: rows of earlier blocks, and the text of the present one."""

    split: Split
    files: int = 0
    size: int = 0
    block_size: int = 0
    texts: list[bytes] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)

    def take(self, text: bytes, digest: bytes) -> None:
        self.texts.append(text)
        self.digests.append(digest)
        self.size += len(text)
        self.block_size += len(text)


def tally_of(records: Sequence[PieceRecord]) -> Tally:
    """Return what was read, and left out, in all of these pieces."""
    tally = Tally()
    for record in records:
        tally.add(record.tally())
    return tally


def record_of(body: Mapping[str, Any]) -> PieceRecord:
    """Return a record from its JSON form; TypeError or KeyError where that is of another version."""
    return PieceRecord(**{**body, "files": tuple(UnitFile(**file) for file in body["files"])})


def discard_torn(plan: UnitPlan) -> None:
    """Remove what writers that were killed left half-written; for the holder of the draft, before work begins."""
    with storage_errors(plan.folder):
        for folder in (plan.folder, plan.folder / "units"):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)


def finished_piece(plan: UnitPlan, piece: Piece) -> PieceRecord | None:
    """Return the record of a piece that an interrupted run finished, None where it must be done (again)."""
    try:
        record = record_of(json.loads(_record_path(plan.folder, piece.number).read_bytes()))
        if (record.recipe_id, record.number) != (plan.recipe_id, piece.number):
            return None
        for file in record.files:
            with open(plan.folder / file.name, "rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                    return None
    except (OSError, ValueError, TypeError, KeyError):  # missing, torn, or of another version
        return None
    return record


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray | None:
    return np.concatenate(parts) if parts else None


def _record_path(folder: Path, number: int) -> Path:
    return folder / "units" / f"{number:06d}.json"
