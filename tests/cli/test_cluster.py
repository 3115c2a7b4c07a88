"""Sharding beyond one process's reach, through the real command: parts, merging, and the guide's make example."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from electra_cli.data import ray_engine
from electra_cli.errors import UsageError
from electra_cli.reporting import Silent
from electra_cli.stages import tokenize
from tests.stages.test_shard import some_text

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = ["--length", "32", "--val-fraction", "0.1", "--workers", "1", "--set", "unit_bytes=20000"]


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """`text/`, `tokenizer/` and `parts/1` of two."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "text").mkdir()
    for number in range(8):
        (folder / "text" / f"{number}.txt").write_text(some_text(number, 10))
    settings = tokenize.TokenizeSettings(vocab_size=120, workers=1)
    tokenize.run([folder / "text"], folder / "tokenizer", settings=settings, report=Silent())
    (folder / "parts").mkdir()
    command = [sys.executable, "-m", "electra_cli", *sharding(folder, folder / "parts" / "1", "--part", "1/2")]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True, capture_output=True)
    return folder


def sharding(line, out, *more):
    return ["shard", str(line / "text"), "--tokenizer", str(line / "tokenizer"), "--out", str(out), *ROWS, *more]


@pytest.fixture
def refused(electra):
    def run(*arguments, code, name, **more):
        done = electra(*arguments, "--json", **more)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        error = json.loads(done.stdout)["error"]
        assert (error["exit_code"], error["code"]) == (code, name)
        return error

    return run


@pytest.mark.parametrize("part", ["0/4", "5/4", "a/b"])
def test_no_such_part(refused, line, tmp_path, part):
    refused(*sharding(line, tmp_path / "out", "--part", part), code=2, name="BAD_PART")
    assert not (tmp_path / "out").exists()


def test_a_part_says_what_comes_next(electra, line):
    done = electra(*sharding(line, line / "parts" / "1", "--part", "1/2"))
    assert (done.returncode, done.stdout) == (0, f"{line}/parts/1/v1\n")
    assert f"next: electra merge {line}/parts" in done.stderr


def test_a_part_can_be_looked_at_and_not_trained_on(electra, refused, line, tmp_path):
    part = line / "parts" / "1"
    page = electra("inspect", part).stdout
    assert "shards-part" in page and re.search(r"part\.number +1\n +part\.of +2\n", page)
    assert electra("verify", part).stdout.startswith("ok  shards-part")
    error = refused("pretrain", part, "--preset", "tiny", "--out", tmp_path / "out", code=4, name="WRONG_KIND")
    assert "electra merge" in error["hint"]


def test_a_missing_part_is_exit_4(refused, line, tmp_path):
    error = refused("merge", line / "parts", "--out", tmp_path / "out", code=4, name="PARTS_MISSING")
    assert "2/2" in error["message"]


def test_engines_that_are_not_there(refused, line, tmp_path, monkeypatch):
    error = refused(*sharding(line, tmp_path / "out", "--engine", "spark"), code=2, name="BAD_SETTINGS")
    assert "engine" in error["message"]
    monkeypatch.setitem(sys.modules, "ray", None)  # as Python says that it cannot be imported
    with pytest.raises(UsageError) as caught:
        ray_engine.check_installed()
    assert "pip install 'electra-cli[ray]'" in caught.value.hint


def test_a_cluster_that_nobody_serves_is_told_at_once(refused, line, tmp_path):
    pytest.importorskip("ray")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        address = {"RAY_ADDRESS": f"127.0.0.1:{taken.getsockname()[1]}"}
        command = sharding(line, tmp_path / "out", "--engine", "ray")
        error = refused(*command, env=address, timeout=30, code=6, name="RAY_UNREACHABLE")
    assert "refused" in error["message"]


@pytest.mark.slow
def test_the_make_example_of_the_guide(electra, line, tmp_path, needs_tool):
    """As written but for its size; run again it does nothing; and it gives the shards of one run."""
    needs_tool("make")
    shutil.copytree(line / "text", tmp_path / "text")
    guide = (REPOSITORY / "docs" / "guides" / "cluster.md").read_text("utf-8")
    (makefile,) = re.findall(r"^```make\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    small = makefile.replace("N := 8", "N := 3").replace(
        "electra tokenize text", "electra tokenize text --vocab-size 120"
    )
    small = small.replace("electra shard text", f"electra shard text {' '.join(ROWS[:4] + ROWS[6:])}")
    assert small.count("--vocab-size") == small.count("unit_bytes") == 1 != makefile.count("unit_bytes")
    (tmp_path / "Makefile").write_text(small)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "electra"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m electra_cli "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PATH": path, "MAKEFLAGS": ""}
    make = ["make", "-j", "2"]
    subprocess.run(make, cwd=tmp_path, env=env, check=True, capture_output=True)
    again = subprocess.run(make, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    assert "up to date" in again.stdout
    assert (tmp_path / "runs/shards.path").read_text() == "runs/shards/v1\n"
    whole = ["shard", "text", "--tokenizer", "runs/tokenizer", "--out", "runs/shards", *ROWS]
    assert json.loads(electra(*whole, "--json", cwd=tmp_path).stdout)["status"] == "up to date"
