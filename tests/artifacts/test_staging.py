"""The hashing file and the command line that is safe to record."""

from __future__ import annotations

import hashlib
import os

import pytest

from electra_cli.artifacts.staging import HashingFile, redacted_command


def test_it_hashes_what_it_writes(tmp_path):
    pieces = [b"abc", bytearray(b"def"), memoryview(b"0123456789")[2:5], b"", b"x" * 3_000_000]
    with HashingFile(tmp_path / "f") as file:
        assert [file.write(piece) for piece in pieces] == [3, 3, 3, 0, 3_000_000]
        assert file.tell() == file.bytes == 3_000_009
        assert file.writable() and not file.readable() and not file.seekable()
    data = (tmp_path / "f").read_bytes()
    assert data == b"".join(pieces)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    file.close()
    with pytest.raises(ValueError):
        file.write(b"late")


def test_other_shapes_of_memory_count_in_bytes(tmp_path):
    import array

    with HashingFile(tmp_path / "f") as file:
        assert file.write(array.array("i", [1, 2, 3])) == 12
        assert file.write(array.array("i", [])) == 0
    assert os.path.getsize(tmp_path / "f") == 12


def test_arrow_can_write_into_it(tmp_path):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"x": list(range(1000))})
    with HashingFile(tmp_path / "f.arrow") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    assert pa.ipc.open_file(str(tmp_path / "f.arrow")).read_all().equals(table)
    assert file.sha256 == hashlib.sha256((tmp_path / "f.arrow").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["/usr/bin/electra", "shard", "a.txt"], ["electra", "shard", "a.txt"]),
        (["/x/electra_cli/__main__.py", "demo"], ["electra", "demo"]),
        (["electra", "--token", "abc", "x"], ["electra", "--token", "***", "x"]),
        (["electra", "--hf-token=abc"], ["electra", "--hf-token=***"]),
        (["electra", "--set", "hub.api_key=abc"], ["electra", "--set", "hub.api_key=***"]),
        (["electra", "--set", "hub.password=abc"], ["electra", "--set", "hub.password=***"]),
        (["electra", "https://me:pw@host/x"], ["electra", "https://***@host/x"]),
        (["electra", "--tokenizer", "tok"], ["electra", "--tokenizer", "tok"]),
        (["electra", "--set", "max_tokens=5"], ["electra", "--set", "max_tokens=5"]),
        (["electra", "bad\udcff"], ["electra", "bad\\udcff"]),
        ([], []),
    ],
)
def test_secrets_are_left_out_of_the_command(given, shown):
    assert redacted_command(given) == shown
