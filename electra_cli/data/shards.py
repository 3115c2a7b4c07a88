"""Shards: rows of token ids as Arrow IPC files, written by workers and read without copying.

A shard is one IPC *file* (a truncated stream would be a valid shorter stream) of ONE uncompressed record batch, so that
a row is found by arithmetic and a batch of rows is one `numpy` gather. Its columns are described in
docs/concepts/artifacts.md. Letters: B rows of a batch, L tokens of a row, N bytes of L bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from electra_cli.artifacts import ROW_KINDS, Artifact
from electra_cli.artifacts.manifest import FileRecord
from electra_cli.data.mapped import Columns, Ids, MappedFiles, bad_shard
from electra_cli.errors import ArtifactError

Split = Literal["train", "val"]
RecipeName = Literal["pairs", "packed", "stream"]

_AT_ONCE = 4096  # rows whose pieces are looked at together: a byte a token


@dataclass(frozen=True)
class RowBatch:
    """Rows copied from shards, in the types in which they are stored.

    Attributes:
        ids_BL: token ids, padded.
        lengths_B: tokens of each row, special tokens included.
        first_B: tokens of the first segment, with `[CLS]` and its `[SEP]`; equal to the length without a second.
        word_bits_BN: which tokens begin a word, eight a byte, the first in the lowest bit; None where the shards do not
            say.
        piece_bits_BN: the same for where a piece of text begins that sees no other; None where every row is one.
    """

    ids_BL: npt.NDArray[np.unsignedinteger]
    lengths_B: npt.NDArray[np.uint16]
    first_B: npt.NDArray[np.uint16]
    word_bits_BN: npt.NDArray[np.uint8] | None = None
    piece_bits_BN: npt.NDArray[np.uint8] | None = None

    def word_starts(self) -> npt.NDArray[np.bool_] | None:
        """Which tokens begin a word: (B, L), or None where the shards do not say."""
        return None if self.word_bits_BN is None else self._unpacked(self.word_bits_BN)

    def piece_starts(self) -> npt.NDArray[np.bool_] | None:
        """Which tokens begin a piece: (B, L), or None where no row of the batch has two."""
        if self.piece_bits_BN is None or bool((np.bitwise_count(self.piece_bits_BN).sum(1) == 1).all()):
            return None
        return self._unpacked(self.piece_bits_BN)

    def _unpacked(self, bits_BN: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        return np.unpackbits(bits_BN, axis=1, count=self.ids_BL.shape[1], bitorder="little").view(np.bool_)

    def part(self, start: int, stop: int) -> RowBatch:
        """Rows `start` to `stop`, not copied."""
        chosen: dict[str, Any] = {}
        for field in fields(self):
            rows = getattr(self, field.name)
            chosen[field.name] = None if rows is None else rows[start:stop]
        return RowBatch(**chosen)


def shard_name(split: Split, piece: int, number: int = 0) -> str:
    """Return the name of file `number` of a piece of the corpus; names sort in the order of the text."""
    return f"{split}-{piece:06d}-{number:04d}.arrow"


def shard_schema(*, length: int, vocab_size: int, word_starts: bool = False, piece_starts: bool = False) -> pa.Schema:
    """Return the schema of a shard: ids take 16 bits where the vocabulary allows it, starts a bit a token."""
    ids = pa.uint16() if vocab_size <= 2**16 else pa.uint32()
    fields = [
        pa.field("input_ids", pa.list_(pa.field("item", ids, nullable=False), length), nullable=False),
        pa.field("length", pa.uint16(), nullable=False),
        pa.field("first", pa.uint16(), nullable=False),
    ]
    bits = pa.list_(pa.field("item", pa.uint8(), nullable=False), (length + 7) // 8)
    for name, there in (("word_start", word_starts), ("piece_start", piece_starts)):
        if there:
            fields.append(pa.field(name, bits, nullable=False))
    return pa.schema(fields)


def shard_bytes(
    ids_BL: npt.NDArray[np.integer],
    lengths_B: npt.NDArray[np.integer],
    first_B: npt.NDArray[np.integer],
    *,
    vocab_size: int,
    word_start_BL: npt.NDArray[np.bool_] | None = None,
    piece_start_BL: npt.NDArray[np.bool_] | None = None,
) -> bytes:
    """Return the contents of a shard file with these rows."""
    schema = shard_schema(
        length=ids_BL.shape[1],
        vocab_size=vocab_size,
        word_starts=word_start_BL is not None,
        piece_starts=piece_start_BL is not None,
    )
    kind = schema.field("input_ids").type
    width = np.dtype(np.uint16 if kind.value_type == pa.uint16() else np.uint32)
    values = _column(np.ascontiguousarray(ids_BL, dtype=width).reshape(-1))
    columns = [
        pa.FixedSizeListArray.from_arrays(values, type=kind),
        _column(lengths_B.astype(np.uint16)),
        _column(first_B.astype(np.uint16)),
    ]
    for name, start_BL in (("word_start", word_start_BL), ("piece_start", piece_start_BL)):
        if start_BL is not None:
            bits = _column(np.packbits(start_BL, axis=1, bitorder="little").reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(bits, type=schema.field(name).type))
    batch = pa.record_batch(columns, schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _column(values: npt.NDArray[np.unsignedinteger]) -> pa.Array:
    # Not `pa.array`: that imports pandas where it is installed, a third of a second in each process.
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


class ShardSet:
    """The rows of one split of a shards artifact, or of several, one behind the other; memory-mapped.

    Each shard's hash and its rows are checked when the shard is first needed; no descriptor stays open.

    Args:
        artifacts: one, or several of one tokenizer, row length and kind of columns.
        split: which part of them.

    Attributes:
        rows: number of rows.
        part_rows: rows of each artifact.
        length: tokens of a row, pads included.
        tokens: tokens of all rows without pads.
        vocab_size: ids are below it.
        word_starts: whether the rows say which of their tokens begin a word.
        piece_starts: whether they hold pieces of text that do not see each other, and say where these begin.

    Raises:
        ArtifactError: an artifact is not one of shards, or what its manifest says does not add up.
    """

    def __init__(self, artifacts: Artifact | Sequence[Artifact], split: Split) -> None:
        self.split = split
        self._artifacts = [artifacts] if isinstance(artifacts, Artifact) else list(artifacts)
        parts = [_read_part(artifact, split) for artifact in self._artifacts]
        self._files = [
            (artifact, record) for artifact, part in zip(self._artifacts, parts, strict=True) for record in part.records
        ]
        self.length, self.vocab_size = parts[0].length, parts[0].vocab_size
        self.word_starts, self.piece_starts = parts[0].word_starts, parts[0].piece_starts
        self.part_rows = tuple(part.rows for part in parts)
        self.rows, self.tokens = sum(self.part_rows), sum(part.tokens for part in parts)
        counts = [record.rows or 0 for _, record in self._files]
        self._ends = np.cumsum([0, *counts])
        files = self._files  # and not self: mappings are to end with the set, not when cycles are collected
        self._mapped = MappedFiles(
            shard_schema(
                length=self.length,
                vocab_size=self.vocab_size,
                word_starts=self.word_starts,
                piece_starts=self.piece_starts,
            ),
            counts,
            first=lambda number: files[number][0].check_file(files[number][1].path),
            again=lambda number: f"{files[number][0].path}/{files[number][1].path}",
            check=partial(_check_rows, length=self.length, vocab_size=self.vocab_size),
        )

    def gather(self, index_B: npt.NDArray[np.integer]) -> RowBatch:
        """Return the rows with these numbers, in this order, as they are stored.

        Raises:
            ArtifactError: a shard that is opened for it is damaged, or one of its rows is not one of ours.
            IndexError: a number is outside the range.
        """
        index_B = np.asarray(index_B, dtype=np.int64)
        if index_B.size and (int(index_B.min()) < 0 or int(index_B.max()) >= self.rows):
            raise IndexError(f"row numbers must be from 0 to {self.rows - 1}")
        shard_B = np.searchsorted(self._ends, index_B, side="right") - 1
        columns = self._mapped.copy(shard_B, index_B - self._ends[shard_B])
        ids_BL, lengths_B, first_B = columns["input_ids"], columns["length"], columns["first"]
        return RowBatch(ids_BL, lengths_B, first_B, columns.get("word_start"), columns.get("piece_start"))

    def place(self, row: int) -> tuple[str, int]:
        """Return the shard that holds row number `row`, and the row's number within it.

        The shard is its file's name, behind its folder where there are several artifacts.

        Raises:
            IndexError: the number is outside the range.
        """
        if not 0 <= row < self.rows:
            raise IndexError(f"row numbers must be from 0 to {self.rows - 1}")
        shard = int(np.searchsorted(self._ends, row, side="right")) - 1
        artifact, record = self._files[shard]
        name = record.path if len(self._artifacts) == 1 else str(artifact.path / record.path)
        return name, row - int(self._ends[shard])

    def check(self) -> None:
        """Open every shard and check every row of it: what `electra verify` does beyond the hashes."""
        self.gather(np.unique(self._ends[:-1][np.diff(self._ends) > 0]))

    def count_ids(self, *, part: int) -> Ids:
        """Return how often each id occurs in the rows of one of the artifacts, padding counted: (V,)."""
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        first = sum(self.part_rows[:part])
        stop = first + self.part_rows[part]
        for start in range(first, stop, 4096):
            ids_BL = self.gather(np.arange(start, min(start + 4096, stop))).ids_BL
            counts += np.bincount(ids_BL.reshape(-1), minlength=self.vocab_size)
        return counts


def _check_rows(columns: Columns, path: Path, *, length: int, vocab_size: int) -> None:
    """Refuse numbers that would become a wrong index later, on a device that cannot say so."""
    ids_RL, lengths_R, first_R = columns["input_ids"], columns["length"], columns["first"]
    if (largest := int(ids_RL.max(initial=0))) >= vocab_size:
        raise bad_shard(path, f"token id {largest} in a vocabulary of {vocab_size}")
    shortest, longest = int(first_R.min(initial=2)), int(lengths_R.max(initial=0))
    if shortest < 2 or longest > length or bool((first_R > lengths_R).any()):
        raise bad_shard(path, "the lengths of a row are impossible")
    if (bits_RN := columns.get("piece_start")) is not None:
        for at in range(0, len(bits_RN), _AT_ONCE):
            start_RL = np.unpackbits(bits_RN[at : at + _AT_ONCE], axis=1, bitorder="little").view(np.bool_)
            padding_RL = np.arange(start_RL.shape[1]) >= lengths_R[at : at + _AT_ONCE, None]
            if not start_RL[:, 0].all() or bool((start_RL & padding_RL).any()):
                raise bad_shard(path, "a row's pieces do not begin in it")


@dataclass(frozen=True)
class _Part:
    """What an artifact's manifest says of one split."""

    records: list[FileRecord]
    length: int
    vocab_size: int
    word_starts: bool
    piece_starts: bool
    rows: int
    tokens: int


def _read_part(artifact: Artifact, split: Split) -> _Part:
    if artifact.kind not in ROW_KINDS:
        raise ArtifactError(f"is a {artifact.kind}, expected shards", code="WRONG_KIND", where=str(artifact.path))
    spec, files = artifact.spec, artifact.manifest.files
    records = sorted((record for record in files if record.path.startswith(f"{split}-")), key=lambda found: found.path)
    try:
        part = _Part(
            records,
            length=int(spec["length"]),
            vocab_size=int(spec["vocab_size"]),
            word_starts=bool(spec.get("word_starts", False)),
            piece_starts=bool(spec.get("piece_starts", False)),
            rows=int(spec["splits"][split]["rows"]),
            tokens=int(spec["splits"][split]["tokens"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        why = f"its manifest does not describe shards ({error!r})"
        raise bad_shard(artifact.path, why, artifact=artifact.path) from error
    counts = sum(record.rows or 0 for record in records), sum(record.tokens or 0 for record in records)
    if counts != (part.rows, part.tokens):
        why = "the rows and tokens of its files do not add up to what its spec says"
        raise bad_shard(artifact.path, why, artifact=artifact.path)
    return part
