"""Numbers with keys, sorted by key beyond what memory holds: partitions on disk, one of them in memory at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from electra_cli.artifacts import storage_errors

AT_ONCE = 500_000
"""Rows held in memory at once, a few times over while they are sorted."""

Rows = npt.NDArray[np.uint64]


class Partitions:
    """A scratch folder with the rows of a table, those of equal keys in the same partition.

    A row is numbers of 64 bits; its first is what it is partitioned by and must look random. Within a partition rows
    keep their order.

    Args:
        folder: made, and emptied if it is there.
        rows: about how many there will be.
        columns: of a row.
        at_once: rows of a block, and on average of a partition.
    """

    def __init__(self, folder: Path, *, rows: int, columns: int, at_once: int = AT_ONCE) -> None:
        self._folder = folder
        self._columns = columns
        self._at_once = at_once
        self._number = max(1, -(-rows // at_once))
        with storage_errors(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

    def fill(self, tables: Iterable[Rows]) -> None:
        """Append the rows of these tables, in order."""
        buffer = np.empty((self._at_once, self._columns), dtype="<u8")
        held = 0
        for rows in tables:
            while len(rows):
                taken = rows[: self._at_once - held]
                buffer[held : held + len(taken)] = taken
                held += len(taken)
                rows = rows[len(taken) :]
                if held == self._at_once:
                    self._append(buffer)
                    held = 0
        self._append(buffer[:held])

    def __iter__(self) -> Iterator[Iterator[Rows]]:
        """Yield the partitions, each as blocks of at most `at_once` rows."""
        for number in range(self._number):
            yield self._blocks(self._path(number))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _append(self, rows: Rows) -> None:
        partition = (rows[:, 0] % np.uint64(self._number)).astype(np.int64)
        order = np.argsort(partition, kind="stable")
        ends = np.cumsum(np.bincount(partition, minlength=self._number))
        rows = np.ascontiguousarray(rows[order], dtype="<u8")
        start = 0
        for number, end in enumerate(ends.tolist()):
            if end > start:
                path = self._path(number)
                with storage_errors(path), open(path, "ab") as file:
                    file.write(rows[start:end].data)
            start = end

    def _blocks(self, path: Path) -> Iterator[Rows]:
        if not path.exists():
            return
        width = 8 * self._columns
        with storage_errors(path), open(path, "rb") as file:
            while data := file.read(self._at_once * width):
                yield np.frombuffer(data, dtype="<u8").reshape(-1, self._columns)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}"
