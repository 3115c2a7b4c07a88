import gzip
import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from electra_cli.data.sources import find_sources, gathered
from electra_cli.errors import DataError, ResourceError, UsageError
from electra_cli.reporting import Silent


class Listener(Silent):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


def names(texts, root):
    return [str(Path(source.path).relative_to(root)) for source in find_sources(texts, report=Silent())]


def test_folders_are_walked_by_name_and_hidden_entries_left_out(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/y/x.txt", "a.txt", ".hidden", ".git/config", "a/.cache/t.txt", "B.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    assert names([tmp_path], tmp_path) == ["B.txt", "a/y/x.txt", "a/z.txt", "a.txt", "b.txt"]


def test_arguments_keep_their_order_and_patterns_are_expanded(tmp_path):
    for name in ("c1.txt", "c2.txt", "b.txt", "d/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    assert names([tmp_path / "c*.txt", tmp_path / "b.txt"], tmp_path) == ["c1.txt", "c2.txt", "b.txt"]
    assert names([f"{tmp_path}/**/*.txt"], tmp_path) == ["b.txt", "c1.txt", "c2.txt", "d/e.txt"]


def test_a_file_with_the_characters_of_a_pattern_is_itself(tmp_path):
    (tmp_path / "a[1].txt").write_text("text")
    (tmp_path / "a1.txt").write_text("text")
    assert names([tmp_path / "a[1].txt"], tmp_path) == ["a[1].txt"]


def test_a_file_named_twice_is_read_once_and_said(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "link.txt").symlink_to("a.txt")
    listener = Listener()
    assert len(find_sources([tmp_path, tmp_path / "a.txt"], report=listener)) == 1
    assert len(listener.warnings) == 2


@pytest.mark.parametrize("text", ["missing.txt", "missing*.txt", "empty"])
def test_nothing_there_is_an_error(text, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        find_sources([tmp_path / text], report=Silent())
    assert caught.value.code in ("MISSING_INPUT", "NO_DOCUMENTS")


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "text")
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize("data", [zipped(), tarred(), b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x00"])
def test_archives_must_be_extracted_first(data, tmp_path):
    (tmp_path / "corpus.txt").write_bytes(data)
    with pytest.raises(UsageError, match="extract first") as caught:
        find_sources([tmp_path], report=Silent())
    assert caught.value.code == "ARCHIVE"


@pytest.mark.parametrize("name", ["a.gz", "a.zst", "a.bz2", "a.xz", "a.lz4", "a.parquet"])
def test_empty_compressed_files_are_damaged(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        find_sources([tmp_path], report=Silent())
    assert caught.value.code == "TRUNCATED"


def test_magic_bytes_beat_the_suffix(tmp_path):
    (tmp_path / "packed.txt").write_bytes(gzip.compress(b"text"))
    (tmp_path / "plain.gz").write_bytes(b"plain text, whatever its name says")
    found = find_sources([tmp_path], report=Silent())
    assert [source.compression for source in found] == ["gzip", None]


@pytest.mark.timeout(10)
def test_pipes_and_devices_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(DataError) as caught:
            find_sources([path], report=Silent())
        assert caught.value.code == "NOT_A_FILE"


def test_standard_input_is_kept_beside_the_output_while_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"some text\n")))
    with gathered(["-"], tmp_path / "out", report=Silent()) as (source,):
        assert source.label == "<stdin>"
        assert Path(source.path).parent == tmp_path
        assert Path(source.path).read_bytes() == b"some text\n"
    assert list(tmp_path.iterdir()) == []


def test_standard_input_is_taken_alone(tmp_path):
    with pytest.raises(UsageError), gathered(["-", tmp_path], tmp_path / "out", report=Silent()):
        pass


def test_standard_input_needs_a_place_to_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"some text\n")))
    with pytest.raises(ResourceError), gathered(["-"], tmp_path / "no" / "parent" / "out", report=Silent()):
        pass
