"""A real Ray cluster on this machine: what it is told, what it survives, and what nobody should hear of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from electra_cli.reporting import Silent
from electra_cli.stages import shard, tokenize
from tests.stages.test_shard import some_text

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A corpus of thirty files, its tokenizer, and the shards of one process."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "corpus").mkdir()
    for number in range(30):
        (folder / "corpus" / f"{number:02d}.txt").write_text(some_text(number, 20))
    settings = tokenize.TokenizeSettings(vocab_size=120, workers=1)
    tokenize.run([folder / "corpus"], folder / "tokenizer", settings=settings, report=Silent())
    rows = shard.ShardSettings(length=32, unit_bytes=4000, workers=1)
    shard.run([folder / "corpus"], folder / "tokenizer", folder / "whole", settings=rows, report=Silent())
    return folder


def start(folder, out):
    """Start the command in a session of its own, from which its paths are relative."""
    settings = ["--length", "32", "--set", "unit_bytes=4000", "--workers", "2", "--engine", "ray"]
    command = ["shard", "corpus", "--tokenizer", "tokenizer", "--out", str(out), *settings, "--json"]
    env = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "CI")}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "electra_cli", *command],
        cwd=folder,
        env=env | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A job in the background of a shell starts with SIGINT ignored, and its children with it: not what is tested.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def descendants(pid):
    """Return the processes below `pid`, with their command lines."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            lines[int(folder.name)] = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            parents[int(folder.name)] = int(fields[1])
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return {child: lines[child] for child in below - {pid}}


def wait_for_pieces(process, out, count):
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(out.glob(".v1.partial/units/*.json"))) >= count:
            return
        time.sleep(0.002)


def ends(pids):
    deadline = time.monotonic() + 20
    while (
        left := [pid for pid in pids if Path(f"/proc/{pid}").exists() and alive(pid)]
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not left


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_interrupted_and_a_worker_killed_gives_the_same_shards(line, tmp_path):
    out = tmp_path / "out"
    with start(line, out) as process:
        wait_for_pieces(process, out, 2)
        started = descendants(process.pid)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert time.monotonic() - began < 15
    assert json.loads(stdout)["error"]["code"] == "CANCELLED" and "ray" not in stderr.lower()
    assert any(b"raylet" in line for line in started.values())
    assert ends(started)
    finished = len(list(out.glob(".v1.partial/units/*.json")))

    with start(line, out) as process:
        wait_for_pieces(process, out, finished + 2)
        workers = [pid for pid, line in descendants(process.pid).items() if line.startswith(b"ray::_work")]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert workers
    result = json.loads(stdout)
    whole = json.loads((line / "whole" / "v1" / "manifest.json").read_text())
    assert (result["status"], result["content_id"]) == ("resumed", whole["content_id"])
    assert result["summary"]["pieces_reused"] >= finished >= 2
    said = [text for text in stderr.splitlines() if not text.startswith("sharding: ")]
    assert "pieces reused" in said[0]
    assert [text.partition(": ")[0] for text in said[1:]] == ["resumed", "next"]


def test_bad_text_is_told_as_in_one_process(line, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("the old cat sees the dog.\n" * 200)
    (tmp_path / "corpus" / "b.txt").write_bytes(b"fine\nal\xff\n")
    (tmp_path / "tokenizer").symlink_to(line / "tokenizer")
    with start(tmp_path, tmp_path / "out") as process:
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 3, stderr
    error = json.loads(stdout)["error"]
    assert (error["code"], error["where"]) == ("NOT_UTF8", "corpus/b.txt:2")
    said = [text for text in stderr.splitlines() if not text.startswith("sharding: ")]
    assert [text.partition(": ")[0] for text in said] == ["error", "hint"]
