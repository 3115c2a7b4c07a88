"""The content id of raw input is about contents, not names, times or places."""

from __future__ import annotations

import os
import time

import pytest

from electra_cli.artifacts import content_of_files
from electra_cli.errors import DataError
from electra_cli.reporting import Silent


def identity(*paths, ordered=False):
    return content_of_files(paths, ordered=ordered, report=Silent())


def test_names_places_times_and_order_do_not_count(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two" * 3_000_000)
    first = identity(tmp_path / "a", tmp_path / "b")
    os.rename(tmp_path / "a", tmp_path / "z")
    os.utime(tmp_path / "z", (1, 1))
    assert identity(tmp_path / "b", tmp_path / "z") == first
    assert identity(tmp_path / "b", tmp_path / "z", ordered=True) != identity(
        tmp_path / "z", tmp_path / "b", ordered=True
    )
    assert identity(tmp_path / "z", ordered=True) == identity(tmp_path / "z")
    assert identity(tmp_path / "z", tmp_path / "z", tmp_path / "b") != first
    (tmp_path / "z").write_bytes(b"0ne")
    assert identity(tmp_path / "b", tmp_path / "z") != first


def test_where_one_file_ends_counts(tmp_path):
    for name, data in (("a", b"xy"), ("b", b"z"), ("c", b"x"), ("d", b"yz")):
        (tmp_path / name).write_bytes(data)
    assert identity(tmp_path / "a", tmp_path / "b", ordered=True) != identity(
        tmp_path / "c", tmp_path / "d", ordered=True
    )


def test_what_cannot_be_read_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    start = time.monotonic()
    for path, code in ((tmp_path / "no", "MISSING_INPUT"), (tmp_path, "NOT_A_FILE"), (tmp_path / "pipe", "NOT_A_FILE")):
        with pytest.raises(DataError) as caught:
            identity(path)
        assert (caught.value.code, caught.value.where) == (code, str(path))
    assert time.monotonic() - start < 1
