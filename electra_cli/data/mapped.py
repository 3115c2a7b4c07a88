"""Shard files in memory: mapped, checked once, and any rows of any of them copied out in one numpy call a column.

Rows are found by their addresses. All mapped files lie in one address space, so the rows of a batch, which come from as
many files as there are rows where a corpus is large, are elements of one array that spans that space; copying them
costs the same whether they lie in one file or in thousands, and no Python runs for a row or a file. Only bytes of
mapped files are ever touched.

Letters: B rows of a batch, C columns of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from electra_cli.errors import ArtifactError

Ids = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[Any]]

# The kernel lets a process have 65,530 mappings (vm.max_map_count). The training rows of two phases leave 16,000 for
# the libraries and for evaluations, which read few rows.
MOST_MAPPED = 24_576


@dataclass(frozen=True)
class _Column:
    """How the rows of one column lie in memory: `width` numbers a row, one after the other; None for a plain number."""

    name: str
    dtype: np.dtype[Any]
    width: int | None

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * (1 if self.width is None else self.width)


class MappedFiles:
    """The rows of files of one schema, each of one record batch.

    Files are opened when a row of theirs is first wanted, and checked then. No descriptor stays open, and no more than
    `most` files stay mapped: those wanted longest ago make room.

    Args:
        schema: that every file has to have: plain numbers and fixed-size lists of them, nothing null.
        rows: of each file.
        first: number of a file → its path, the first time that it is opened, after comparing its hash.
        again: number of a file → its path, when it is mapped once more; only its size is compared then.
        check: columns of a whole file, its path → raises ArtifactError if what they say is impossible.
        most: files that are mapped at a time.
    """

    def __init__(
        self,
        schema: pa.Schema,
        rows: Sequence[int],
        *,
        first: Callable[[int], Path],
        again: Callable[[int], str],
        check: Callable[[Columns, Path], None],
        most: int = MOST_MAPPED,
    ) -> None:
        self._schema, self._rows, self._most = schema, rows, most
        self._first, self._again, self._check = first, again, check
        self._columns = [_column(field) for field in schema]
        self._row_bytes = np.array([column.row_bytes for column in self._columns], dtype=np.int64)
        self._offsets = np.zeros((len(self._columns), len(rows)), dtype=np.int64)  # of columns from a file's beginning
        self._sizes = np.zeros(len(rows), dtype=np.int64)  # of files that were opened, 0 for the others
        self._bases = np.zeros(len(rows), dtype=np.int64)  # addresses of mapped files, 0 for the others
        self._used = np.zeros(len(rows), dtype=np.int64)
        self._mapped: dict[int, pa.Buffer] = {}  # a mapping lives as long as a buffer that lies in it
        self._clock = 0
        self._lock = Lock()  # a file must not be unmapped while another thread copies from it

    def copy(self, file_B: Ids, row_B: Ids) -> Columns:
        """Copy rows, each given by its file and its number there, into one array a column, in this order.

        Raises:
            ArtifactError: a file that is opened for it is damaged.
        """
        if len(file_B) <= self._most:
            return self._copy(file_B, row_B)
        starts = range(0, len(file_B), self._most)  # each piece has rows of as many files as may be mapped at most
        pieces = [self._copy(file_B[at : at + self._most], row_B[at : at + self._most]) for at in starts]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _copy(self, file_B: Ids, row_B: Ids) -> Columns:
        with self._lock:
            base_B = self._bases[file_B]
            self._clock += 1
            self._used[file_B] = self._clock
            if not base_B.all():
                missing = np.unique(file_B[base_B == 0]).tolist()
                self._make_room(len(missing))
                for number in missing:
                    self._map(number)
                base_B = self._bases[file_B]
            address_CB = row_B * self._row_bytes[:, None]
            address_CB += base_B + self._offsets[:, file_B]
            return _copy_rows(address_CB, self._columns)

    def _map(self, number: int) -> None:
        if self._sizes[number]:
            path = self._again(number)
            try:
                with pa.memory_map(path) as source:
                    size = source.size()
                    held = source.read_buffer(1)  # a byte keeps all of it, and Arrow asks the kernel for no more ahead
            except (OSError, pa.ArrowException) as error:
                raise bad_shard(Path(path), f"cannot be mapped ({error})") from error
            if size != self._sizes[number]:
                raise bad_shard(Path(path), f"{size} bytes, when it was first opened it had {self._sizes[number]}")
        else:
            held = self._open(number, self._first(number))
        self._bases[number], self._mapped[number] = held.address, held

    def _open(self, number: int, path: Path) -> pa.Buffer:
        """Map a file that was never opened, check it, and remember where its columns lie."""
        try:
            with pa.memory_map(str(path)) as source:
                held = source.read_buffer()
            with pa.ipc.open_file(held) as reader:
                if not reader.schema.equals(self._schema, check_metadata=True):
                    raise bad_shard(path, "its columns are not those of a shard")
                if reader.num_record_batches != 1:
                    raise bad_shard(path, f"it has {reader.num_record_batches} record batches, not one")
                batch = reader.get_batch(0)
            batch.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            raise bad_shard(path, f"not an Arrow file ({error})") from error
        if batch.num_rows != self._rows[number]:
            raise bad_shard(path, f"{batch.num_rows} rows, the manifest says otherwise")
        columns = {column.name: _values(values, column) for column, values in zip(self._columns, batch, strict=True)}
        for place, values in enumerate(columns.values()):
            offset = values.__array_interface__["data"][0] - held.address
            if values.size and not 0 <= offset <= held.size - values.nbytes:
                raise bad_shard(path, "its columns are not plain parts of the file")  # compressed, for example
            self._offsets[place, number] = offset
        self._check(columns, path)
        self._sizes[number] = held.size
        return held

    def _make_room(self, count: int) -> None:
        """Unmap what was wanted longest ago, an eighth more than has to go, so that it is not done for every batch."""
        if (over := len(self._mapped) + count - self._most) <= 0:
            return
        numbers = np.fromiter(self._mapped, dtype=np.int64)
        oldest = numbers[np.argsort(self._used[numbers], kind="stable")[: over + self._most // 8]]
        for number in oldest[self._used[oldest] < self._clock].tolist():  # those of this batch stay
            self._bases[number] = 0
            del self._mapped[number]


class _Memory:
    """Memory from an address on as an array of overlapping elements, one from each byte on; numpy only looks."""

    def __init__(self, address: int, *, elements: int, element_bytes: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (address, True),  # read-only
            "shape": (elements,),
            "strides": (1,),
            "typestr": f"|V{element_bytes}",
        }


def _copy_rows(address_CB: Ids, columns: Sequence[_Column]) -> Columns:
    """Copy the rows of each column that begin at these addresses: (B, width), or (B,) for plain numbers."""
    if not address_CB.size:
        return {c.name: np.empty((0,) if c.width is None else (0, c.width), dtype=c.dtype) for c in columns}
    lowest, highest = int(address_CB.min()), int(address_CB.max())
    address_CB -= lowest
    copied: Columns = {}
    for column, offset_B in zip(columns, address_CB, strict=True):
        memory = _Memory(lowest, elements=highest - lowest + 1, element_bytes=column.row_bytes)
        rows_B = np.asarray(memory)[offset_B].view(column.dtype)
        copied[column.name] = rows_B if column.width is None else rows_B.reshape(-1, column.width)
    return copied


def _column(field: pa.Field) -> _Column:
    if pa.types.is_fixed_size_list(field.type):
        return _Column(field.name, np.dtype(field.type.value_type.to_pandas_dtype()), field.type.list_size)
    return _Column(field.name, np.dtype(field.type.to_pandas_dtype()), None)


def _values(values: pa.Array, column: _Column) -> npt.NDArray[Any]:
    if column.width is None:
        return values.to_numpy(zero_copy_only=True)  # type: ignore[no-any-return]
    return values.flatten().to_numpy(zero_copy_only=True).reshape(-1, column.width)  # type: ignore[no-any-return]


def bad_shard(path: Path, why: str, *, artifact: Path | None = None) -> ArtifactError:
    """The error for a file of an artifact (by default the one in whose folder it lies) that is no shard of ours."""
    return ArtifactError(
        f"not a shard of electra: {why}",
        code="BAD_SHARD",
        where=str(path),
        hint=f"remove {artifact or path.parent} and run again the command that made it",
    )
