"""Text from everywhere through the real commands: what is refused, with which exit code, how much memory is taken."""

import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from electra_cli.reporting import Silent
from electra_cli.stages import shard, tokenize

REPOSITORY = Path(__file__).resolve().parents[2]
WORKER = 500  # MB that no worker may need, whatever it is given

# Runs a command and says what it took: the most memory of any process of it that ended, in kB.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
sys.stderr.buffer.write(done.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, used.ru_maxrss, used.ru_utime + used.ru_stime)
"""


def measured(*arguments):
    """Return exit code, what was said, MB and seconds of processor time of an `electra` command."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, "-m", "electra_cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=170,
    )
    code, memory, seconds = done.stdout.split()
    return int(code), done.stderr, int(memory) / 1000, float(seconds)


def zipped(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", data)
    return buffer.getvalue()


def tarred(data, mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        info = tarfile.TarInfo("a.txt")
        info.size = len(data)
        file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def refused(electra, tmp_path):
    """A function that gives bytes to `electra tokenize`, which must refuse them, and returns the error."""

    def run(data, *arguments, name="corpus", code, error):
        (tmp_path / name).write_bytes(data)
        done = electra("tokenize", tmp_path / name, "--out", tmp_path / "out", "--json", *arguments)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        found = json.loads(done.stdout)["error"]
        assert found["code"] == error
        assert name in found["where"]
        assert not (tmp_path / "out" / "v1").exists()
        return found

    return run


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_archives_must_be_extracted_first(kind, refused):
    data = zipped(b"text\n") if kind == "zip" else tarred(b"text\n", f"w:{kind[4:]}")
    assert "extract" in refused(data, code=2, error="ARCHIVE")["hint"]


@pytest.mark.parametrize(("data", "error"), [(lzma.compress(b"text\n" * 999)[:-9], "TRUNCATED"), (b"", "TRUNCATED")])
def test_a_damaged_xz_file(data, error, refused):
    refused(data, name="corpus.xz", code=3, error=error)


def test_a_ragged_row_is_named_with_its_columns(refused):
    found = refused(b'id,text\n1,"a\nb"\n2,c,d\n', "--set", "corpus.format=csv", code=3, error="RAGGED_ROW")
    assert found["where"].endswith(":4") and "row 2 has 3 columns, expected 2 (id, text)" in found["message"]


def test_a_table_is_not_read_as_prose(refused):
    found = refused(b"id,text\n1,a\n", code=2, error="UNKNOWN_FORMAT")
    assert "--set corpus.format=csv" in found["hint"]


def test_settings_that_contradict_each_other(electra, tmp_path):
    sets = ("--set", "corpus.format=csv", "--set", "corpus.encoding_errors=skip")
    for command in (("tokenize", "none"), ("shard", "none", "--tokenizer", "none")):
        done = electra(*command, "--out", tmp_path / "out", *sets)
        assert done.returncode == 2 and "left out" in done.stderr, done.stderr


def test_terminal_escapes_in_file_names_stay_where_they_are(electra, tmp_path):
    (tmp_path / "a\x1b[31m.txt").write_bytes(b"fine\n\xff\n")
    done = electra("tokenize", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 3
    assert "\x1b" not in done.stderr and "x1b[31m" in done.stderr


def test_a_url_with_credentials_is_refused_without_repeating_them(electra, tmp_path):
    for url in ("s3://AKIA:hunter2@bucket/key", "s3://bucket/key?secret_access_key=hunter2"):
        done = electra("tokenize", url, "--out", tmp_path / "out", "--json")
        assert done.returncode == 2
        assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_store_goes_through_both_stages_like_files(electra, store, tmp_path):
    dice = random.Random(4)
    words = ["".join(dice.choices("abcdefgh", k=dice.randint(2, 7))) for _ in range(300)]
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(3):
        text = "\n\n".join(
            "\n".join(" ".join(dice.choices(words, k=12)) for _ in range(4)) for _ in range(150)
        ).encode()
        data = gzip.compress(text, mtime=0) if number == 1 else text
        (folder / f"{number}.txt").write_bytes(data)
        store(f"in/{number}.txt", data)
    place, rows = "s3://the-corpus/in", ("--set", "unit_bytes=8000", "--length", 32, "--val-fraction", 0.05)
    command = ("shard", place, "-t", tmp_path / "tok", "--out", tmp_path / "shards", *rows)
    done = electra("tokenize", place, "--out", tmp_path / "tok", "--vocab-size", 300)
    assert done.returncode == 0, done.stderr
    done = electra(*command, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "up to date" in electra(*command).stderr

    settings = tokenize.TokenizeSettings(vocab_size=300, workers=1)
    tok = tokenize.run([folder], tmp_path / "local-tok", settings=settings, report=Silent()).artifact
    settings = shard.ShardSettings(length=32, val_fraction=0.05, unit_bytes=8000, workers=1)
    shards = shard.run([folder], tok.path, tmp_path / "local-shards", settings=settings, report=Silent()).artifact
    for stored, local in ((tmp_path / "tok", tok), (tmp_path / "shards", shards)):
        manifest = (stored / "v1" / "manifest.json").read_text()
        assert "hunter2" not in manifest
        assert json.loads(manifest)["content_id"] == local.content_id
        assert json.loads(manifest)["recipe_id"] == local.manifest.recipe_id


@pytest.mark.slow
class TestMemory:
    @pytest.fixture
    def tokenize(self, tmp_path):
        def run(path, *arguments):
            return measured(
                "tokenize", path, "--out", tmp_path / "out", "--vocab-size", 2000, "--workers", 1, *arguments
            )

        return run

    def test_a_line_of_100_megabytes(self, tokenize, tmp_path):
        dice = random.Random(1)
        words = " ".join(f"w{dice.randrange(20_000)}" for _ in range(15_000)).encode()
        with open(tmp_path / "line.txt", "wb") as file:
            while file.tell() < 100_000_000:
                file.write(words + b" ")
        code, said, memory, seconds = tokenize(tmp_path / "line.txt")
        assert (code, memory < WORKER, seconds < 10) == (3, True, True), said
        assert "line.txt:1: the line is longer than" in said and "--set corpus.long_lines=split" in said
        code, said, memory, seconds = tokenize(tmp_path / "line.txt", "--set", "corpus.long_lines=split")
        assert (code, memory < WORKER) == (0, True), (said, memory)
        (manifest,) = (tmp_path / "out").glob("v*/manifest.json")
        dropped = json.loads(manifest.read_text())["provenance"]["corpus"]["dropped"]
        assert 1500 < dropped["line_cuts"] < 1700

    def test_a_word_of_5_megabytes(self, tokenize, tmp_path):
        (tmp_path / "word.txt").write_text("fine text\n\n" * 100 + "ü" * 2_500_000 + "\n")
        code, said, memory, seconds = tokenize(tmp_path / "word.txt")
        assert (code, memory < WORKER, seconds < 20) == (0, True, True), (said, memory, seconds)
        done = measured(
            "shard", tmp_path / "word.txt", "-t", tmp_path / "out", "-o", tmp_path / "shards", "--workers", 1
        )
        code, said, memory, seconds = done
        assert (code in (0, 3), memory < WORKER, seconds < 30) == (True, True, True), done

    @pytest.mark.parametrize(("filler", "arguments"), [(b"a", ()), (b"\0", ("split",))])
    def test_a_bomb_of_a_gigabyte(self, filler, arguments, tokenize, tmp_path):
        with pa.CompressedOutputStream(tmp_path / "bomb.zst", "zstd") as stream:
            for _ in range(1024):
                stream.write(filler * 2**20)
        assert (tmp_path / "bomb.zst").stat().st_size < 50_000
        sets = [f"--set=corpus.long_lines={argument}" for argument in arguments]
        code, said, memory, seconds = tokenize(tmp_path / "bomb.zst", *sets)
        assert (code, memory < WORKER, seconds < 20) == (3, True, True), (said, memory, seconds)
        assert ("no documents" if sets else "the line is longer") in said
