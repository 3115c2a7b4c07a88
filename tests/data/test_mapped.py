"""Files that are mapped when they are needed: few at a time, the same rows, from several threads."""

from __future__ import annotations

import gc
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from electra_cli.data.mapped import Columns, MappedFiles
from electra_cli.data.shards import shard_bytes, shard_schema
from electra_cli.errors import ArtifactError

FILES, LENGTH, VOCAB = 40, 6, 1000


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[np.ndarray[Any, Any]]]:
    """Files of 1 to 7 rows, in which every number is another one than at the same place of its neighbours."""
    folder = tmp_path_factory.mktemp("mapped")
    paths, contents = [], []
    for number in range(FILES):
        count = number % 7 + 1
        ids = (np.arange(count * LENGTH).reshape(count, LENGTH) * 7 + number * 13) % (VOCAB - 5) + 5
        lengths = np.full(count, LENGTH)
        contents.append(ids)
        paths.append(folder / f"{number}.arrow")
        paths[-1].write_bytes(shard_bytes(ids, lengths, lengths - number % 3, vocab_size=VOCAB))
    return paths, contents


class Watched:
    """Mapped files that remember which were opened, which mapped again, and what was checked."""

    def __init__(self, paths: list[Path], counts: list[int], most: int) -> None:
        self.opened: list[int] = []
        self.again: list[int] = []
        self.checked = 0

        def first(number: int) -> Path:
            self.opened.append(number)
            return paths[number]

        def again(number: int) -> str:
            self.again.append(number)
            return str(paths[number])

        schema = shard_schema(length=LENGTH, vocab_size=VOCAB)
        self.files = MappedFiles(schema, counts, first=first, again=again, check=self._check, most=most)

    def _check(self, columns: Columns, _path: Path) -> None:
        self.checked += len(columns["length"])


def watched(rows: Any, most: int) -> Watched:
    paths, contents = rows
    return Watched(paths, [len(ids) for ids in contents], most)


def maps() -> int:
    return Path("/proc/self/maps").read_text().count("/mapped")


@pytest.mark.parametrize("most", [1, 2, 8, FILES])
def test_rows_are_the_same_however_few_files_may_be_mapped(rows: Any, most: int) -> None:
    """In order, backwards and at random, more files at once than may be mapped; each is opened and checked once."""
    gc.collect()  # mappings of other tests
    found, contents = watched(rows, most), rows[1]
    dice = np.random.default_rng(3)
    places = np.array([(number, row) for number in range(FILES) for row in range(len(contents[number]))])
    for order in (places, places[::-1], *(places[dice.permutation(len(places))] for _ in range(5)), places[:0]):
        got = found.files.copy(order[:, 0], order[:, 1])
        expected = [contents[number][row] for number, row in order.tolist()]
        assert got["input_ids"].dtype == np.uint16 and got["input_ids"].shape == (len(order), LENGTH)
        assert (got["input_ids"] == np.array(expected).reshape(-1, LENGTH)).all()
        assert (got["first"] == LENGTH - order[:, 0] % 3).all()
        assert maps() <= most
    assert sorted(found.opened) == list(range(FILES)) and found.checked == len(places)
    assert bool(found.again) == (most < FILES)
    got["length"][:] = 0  # a copy, not the file


def test_what_was_wanted_last_stays(rows: Any) -> None:
    found = watched(rows, 4)
    row = np.zeros(1, dtype=np.int64)
    for number in (0, 1, 2, 3, 0, 4, 0):  # 1 is the oldest when 4 comes
        found.files.copy(np.array([number]), row)
    assert found.again == []
    found.files.copy(np.array([1]), row)
    assert found.again == [1]


def test_threads_may_share_it(rows: Any) -> None:
    found, contents = watched(rows, 3), rows[1]
    wrong: list[int] = []

    def read(seed: int) -> None:
        dice = np.random.default_rng(seed)
        for _ in range(100):
            number = dice.integers(0, FILES, 5)
            ids = found.files.copy(number, np.zeros(5, dtype=np.int64))["input_ids"]
            if not (ids == np.array([contents[n][0] for n in number])).all():
                wrong.append(seed)

    threads = [Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_file_that_shrank_or_vanished_is_an_error_of_the_artifact(rows: Any, tmp_path: Path) -> None:
    paths, contents = rows
    copies = [tmp_path / path.name for path in paths[:2]]
    for old, new in zip(paths, copies, strict=False):
        new.write_bytes(old.read_bytes())
    found = watched((copies, contents[:2]), 1)
    for number in (0, 1):
        found.files.copy(np.array([number]), np.array([0]))
    found.files.copy(np.array([0]), np.array([0]))
    copies[1].write_bytes(paths[1].read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="when it was first opened it had") as caught:
        found.files.copy(np.array([1]), np.array([0]))
    assert caught.value.exit_code == 4
    found.files.copy(np.array([0]), np.array([0]))
    found = watched((copies[:1] + paths[1:2], contents[:2]), 1)
    for number in (0, 1):
        found.files.copy(np.array([number]), np.array([0]))
    copies[0].unlink()
    with pytest.raises(ArtifactError, match="cannot be mapped") as caught:
        found.files.copy(np.array([0]), np.array([0]))
    assert caught.value.exit_code == 4


def test_compressed_columns_are_refused(tmp_path: Path) -> None:
    """They would be unpacked into memory that is no part of the file."""
    ids = np.full((500, LENGTH), 7)
    with pa.ipc.open_file(pa.py_buffer(shard_bytes(ids, ids[:, 0], ids[:, 0], vocab_size=VOCAB))) as reader:
        table = reader.read_all()
    path = tmp_path / "compressed.arrow"
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    found = watched(([path], [ids]), 1)
    with pytest.raises(ArtifactError, match="plain parts of the file"):
        found.files.copy(np.array([0]), np.array([0]))
