"""Shards: rows of token ids as Arrow IPC files, written by workers and read without copying.

A shard is one IPC *file* (a truncated stream would be a valid shorter stream) of ONE uncompressed record batch, so that
a row is found by arithmetic and a batch of rows is one `numpy` gather. Its columns are described in
docs/concepts/artifacts.md. Letters: B rows of a batch, L tokens of a row, N bytes of L bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from electra_cli.artifacts import Artifact
from electra_cli.errors import ArtifactError

Split = Literal["train", "val"]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowBatch:
    """Rows gathered from shards.

    Attributes:
        ids_BL: token ids, padded.
        lengths_B: tokens of each row, special tokens included.
        first_B: tokens of the first segment, with `[CLS]` and its `[SEP]`; equal to the length without a second.
        word_bits_BN: which tokens begin a word, eight a byte, the first in the lowest bit; None where the shards do not
            say.
    """

    ids_BL: Ids
    lengths_B: Ids
    first_B: Ids
    word_bits_BN: npt.NDArray[np.uint8] | None = None

    def word_starts(self) -> npt.NDArray[np.bool_] | None:
        """Which tokens begin a word: (B, L), or None where the shards do not say."""
        if self.word_bits_BN is None:
            return None
        return np.unpackbits(self.word_bits_BN, axis=1, count=self.ids_BL.shape[1], bitorder="little").view(np.bool_)


def shard_name(split: Split, piece: int, number: int = 0) -> str:
    """Return the name of file `number` of a piece of the corpus; names sort in the order of the text."""
    return f"{split}-{piece:06d}-{number:04d}.arrow"


def shard_schema(*, length: int, vocab_size: int, word_starts: bool = False) -> pa.Schema:
    """Return the schema of a shard: ids take 16 bits where the vocabulary allows it, word starts a bit a token."""
    ids = pa.uint16() if vocab_size <= 2**16 else pa.uint32()
    fields = [
        pa.field("input_ids", pa.list_(pa.field("item", ids, nullable=False), length), nullable=False),
        pa.field("length", pa.uint16(), nullable=False),
        pa.field("first", pa.uint16(), nullable=False),
    ]
    if word_starts:
        bits = pa.list_(pa.field("item", pa.uint8(), nullable=False), (length + 7) // 8)
        fields.append(pa.field("word_start", bits, nullable=False))
    return pa.schema(fields)


def shard_bytes(
    ids_BL: npt.NDArray[np.integer],
    lengths_B: npt.NDArray[np.integer],
    first_B: npt.NDArray[np.integer],
    *,
    vocab_size: int,
    word_start_BL: npt.NDArray[np.bool_] | None = None,
) -> bytes:
    """Return the contents of a shard file with these rows."""
    schema = shard_schema(length=ids_BL.shape[1], vocab_size=vocab_size, word_starts=word_start_BL is not None)
    kind = schema.field("input_ids").type
    width = np.uint16 if kind.value_type == pa.uint16() else np.uint32
    values = pa.array(np.ascontiguousarray(ids_BL, dtype=width).reshape(-1))
    columns = [
        pa.FixedSizeListArray.from_arrays(values, type=kind),
        pa.array(lengths_B.astype(np.uint16)),
        pa.array(first_B.astype(np.uint16)),
    ]
    if word_start_BL is not None:
        bits = pa.array(np.packbits(word_start_BL, axis=1, bitorder="little").reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(bits, type=schema.field("word_start").type))
    batch = pa.record_batch(columns, schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


class ShardSet:
    """The rows of one split of a shards artifact, memory-mapped.

    Each shard's hash is compared with the manifest's when the shard is first needed; no descriptor stays open.

    Attributes:
        rows: number of rows.
        length: tokens of a row, pads included.
        tokens: tokens of all rows without pads.
        vocab_size: ids are below it.
        word_starts: whether the rows say which of their tokens begin a word.

    Raises:
        ArtifactError: the artifact is not one of shards, or what its manifest says does not add up.
    """

    def __init__(self, artifact: Artifact, split: Split) -> None:
        if artifact.kind != "shards":
            raise ArtifactError(f"is a {artifact.kind}, expected shards", code="WRONG_KIND", where=str(artifact.path))
        self._artifact = artifact
        self.split = split
        spec = artifact.spec
        records = [
            record
            for record in sorted(artifact.manifest.files, key=lambda record: record.path)
            if record.path.startswith(f"{split}-")
        ]
        self._names = [record.path for record in records]
        counts = [record.rows or 0 for record in records]
        try:
            self.length = int(spec["length"])
            self.vocab_size = int(spec["vocab_size"])
            self.word_starts = bool(spec.get("word_starts", False))
            self.rows = int(spec["splits"][split]["rows"])
            self.tokens = int(spec["splits"][split]["tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._wrong(artifact.path, f"its manifest does not describe shards ({error!r})") from error
        if sum(counts) != self.rows or sum(record.tokens or 0 for record in records) != self.tokens:
            raise self._wrong(artifact.path, "the rows and tokens of its files do not add up to what its spec says")
        self._ends = np.cumsum([0, *counts])
        self._opened: dict[int, _Shard] = {}

    def gather(self, index_B: npt.NDArray[np.integer]) -> RowBatch:
        """Return the rows with these numbers, in this order.

        Raises:
            ArtifactError: a shard that is opened for it is damaged, or a row is not one of ours.
            IndexError: a number is outside the range.
        """
        index = np.asarray(index_B, dtype=np.int64)
        if index.size and (int(index.min()) < 0 or int(index.max()) >= self.rows):
            raise IndexError(f"row numbers must be from 0 to {self.rows - 1}")
        ids_BL = np.empty((len(index), self.length), dtype=np.int64)
        lengths_B = np.empty(len(index), dtype=np.int64)
        first_B = np.empty(len(index), dtype=np.int64)
        bits_BN = np.empty((len(index), (self.length + 7) // 8), dtype=np.uint8) if self.word_starts else None
        shard_of = np.searchsorted(self._ends, index, side="right") - 1
        for number in np.unique(shard_of).tolist():
            shard = self._shard(number)
            places = np.flatnonzero(shard_of == number)
            rows = index[places] - self._ends[number]
            ids, lengths, first = shard.ids[rows], shard.lengths[rows], shard.first[rows]
            self._check_rows(ids, lengths, first, self._names[number])
            ids_BL[places], lengths_B[places], first_B[places] = ids, lengths, first
            if bits_BN is not None and shard.word_bits is not None:
                bits_BN[places] = shard.word_bits[rows]
        return RowBatch(ids_BL, lengths_B, first_B, bits_BN)

    def place(self, row: int) -> tuple[str, int]:
        """Return the shard file that holds row number `row`, and the row's number within it.

        Raises:
            IndexError: the number is outside the range.
        """
        if not 0 <= row < self.rows:
            raise IndexError(f"row numbers must be from 0 to {self.rows - 1}")
        shard = int(np.searchsorted(self._ends, row, side="right")) - 1
        return self._names[shard], row - int(self._ends[shard])

    def check(self) -> None:
        """Open every shard and check every row of it: what `electra verify` does beyond the hashes."""
        for start in range(0, self.rows, 4096):
            self.gather(np.arange(start, min(start + 4096, self.rows)))

    def count_ids(self) -> Ids:
        """Return how often each id occurs in all rows, padding counted: (V,)."""
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        for start in range(0, self.rows, 4096):
            ids_BL = self.gather(np.arange(start, min(start + 4096, self.rows))).ids_BL
            counts += np.bincount(ids_BL.reshape(-1), minlength=self.vocab_size)
        return counts

    def _shard(self, number: int) -> _Shard:
        if number not in self._opened:
            name = self._names[number]
            path = self._artifact.check_file(name)
            schema = shard_schema(length=self.length, vocab_size=self.vocab_size, word_starts=self.word_starts)
            shard = _read_shard(path, schema)
            if len(shard.lengths) != self._ends[number + 1] - self._ends[number]:
                raise self._wrong(path, f"{len(shard.lengths)} rows, the manifest says otherwise")
            self._opened[number] = shard
        return self._opened[number]

    def _check_rows(
        self,
        ids: npt.NDArray[np.unsignedinteger],
        lengths: npt.NDArray[np.uint16],
        first: npt.NDArray[np.uint16],
        name: str,
    ) -> None:
        """Refuse numbers that would become a wrong index later, on a device that cannot say so."""
        largest = int(ids.max())
        if largest >= self.vocab_size:
            raise self._wrong(self._artifact.path / name, f"token id {largest} in a vocabulary of {self.vocab_size}")
        if int(first.min()) < 2 or bool((first > lengths).any()) or int(lengths.max()) > self.length:
            raise self._wrong(self._artifact.path / name, "the lengths of a row are impossible")

    def _wrong(self, path: Path, why: str) -> ArtifactError:
        return _bad_shard(path, why, self._artifact.path)


@dataclass(frozen=True)
class _Shard:
    """Views into one mapped file, which stays mapped as long as they live."""

    ids: npt.NDArray[np.unsignedinteger]
    lengths: npt.NDArray[np.uint16]
    first: npt.NDArray[np.uint16]
    word_bits: npt.NDArray[np.uint8] | None


def _read_shard(path: Path, schema: pa.Schema) -> _Shard:
    try:
        # Arrow closes the descriptor here; the mapping lives on with the arrays.
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            if not reader.schema.equals(schema, check_metadata=True):
                raise _bad_shard(path, "its columns are not those of a shard", path.parent)
            if reader.num_record_batches != 1:
                raise _bad_shard(path, f"it has {reader.num_record_batches} record batches, not one", path.parent)
            batch = reader.get_batch(0)
    except (OSError, pa.ArrowException) as error:
        raise _bad_shard(path, f"not an Arrow file ({error})", path.parent) from error
    batch.validate(full=True)
    ids, lengths, first, *more = (
        column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), -1)
        if pa.types.is_fixed_size_list(column.type)
        else column.to_numpy(zero_copy_only=True)
        for column in batch.columns
    )
    return _Shard(ids, lengths, first, more[0] if more else None)


def _bad_shard(path: Path, why: str, artifact: Path) -> ArtifactError:
    return ArtifactError(
        f"not a shard of electra: {why}",
        code="BAD_SHARD",
        where=str(path),
        hint=f"remove {artifact} and run again the command that made it",
    )
