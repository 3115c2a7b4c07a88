import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from electra_cli.data.layouts import RowRule
from electra_cli.data.pieces import Piece, Span
from electra_cli.data.sources import CorpusSettings, find_sources
from electra_cli.data.units import UnitPlan
from electra_cli.data.workers import available_cores, work_through
from electra_cli.errors import ArtifactError, DataError, ResourceError, WorkerError
from electra_cli.reporting import Silent

REPOSITORY = Path(__file__).resolve().parents[2]
LINE = "the cat sees the old dog under the house and never finds the red river . "


@pytest.fixture
def plan(tmp_path, tokenizer_folder):
    folder = tmp_path / "draft"
    folder.mkdir()
    rule = RowRule(length=32, min_row_tokens=5, seed=3)
    return UnitPlan(
        folder, tokenizer_folder, "sha256:recipe", CorpusSettings(), rule, unit_bytes=10**9, val_fraction=0.0, seed=3
    )


@pytest.fixture
def pieces(tmp_path):
    """Return pieces of seven files of different lengths, over and over."""

    def make(count, lines=5):
        for number in range(7):
            (tmp_path / f"{number}.txt").write_text("\n".join([LINE * (number + 1)] * lines))
        sources = find_sources([tmp_path / f"{number}.txt" for number in range(7)], report=Silent())
        for number in range(count):
            yield Piece(number, (Span(sources[number % 7]),))

    return make


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_any_number_of_workers_writes_the_same_bytes(plan, pieces):
    found = []
    for workers in (1, 3):
        records = sorted(work_through(plan, pieces(7), workers=workers), key=lambda done: done[0].number)
        found.append((records, contents(plan.folder)))
        for path in plan.folder.rglob("*.arrow"):
            path.unlink()
    assert found[0] == found[1]
    assert len(found[0][0]) == 7


def test_pieces_are_taken_only_when_there_is_room(plan, pieces):
    taken = []

    def stream():
        for piece in pieces(8):
            taken.append(piece.number)
            yield piece

    done = 0
    for _ in work_through(plan, stream(), workers=2):
        done += 1
        assert len(taken) - done <= 3
    assert done == 8


def children(parent):
    """Return the worker processes of `parent`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, arguments = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, owner = stat.rpartition(")")[2].split()[:2]
        if int(owner) == parent and state != "Z" and b"spawn_main" in arguments:
            found.append(int(folder.name))
    return found


def test_a_killed_worker_is_noticed_at_once_and_finished_units_stay(plan, pieces):
    began = 0.0
    with pytest.raises(WorkerError, match="SIGKILL") as caught:
        for number, _ in enumerate(work_through(plan, pieces(100_000, lines=300), workers=2)):
            if number == 1:
                os.kill(children(os.getpid())[0], signal.SIGKILL)
                began = time.monotonic()
    assert time.monotonic() - began < 5
    assert caught.value.code == "WORKER_DIED"
    assert len(list((plan.folder / "units").glob("*.json"))) >= 2
    assert children(os.getpid()) == []


def test_an_error_in_a_worker_arrives_as_it_is(plan, pieces):
    (plan.tokenizer / "vocab.txt").unlink()
    with pytest.raises(ArtifactError) as caught:
        list(work_through(plan, pieces(2), workers=2))
    assert caught.value.code == "MISSING_FILE"
    assert str(caught.value.where).endswith("vocab.txt")


def test_a_folder_that_is_gone_is_a_resource_error(plan, pieces):
    plan.folder.rmdir()
    with pytest.raises(ResourceError):
        list(work_through(plan, pieces(2), workers=2))


def test_damaged_text_is_named_as_in_one_process(plan, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"fine\n\xff\n")
    (source,) = find_sources([tmp_path / "bad.txt"], report=Silent())
    for workers in (1, 2):
        with pytest.raises(DataError) as caught:
            list(work_through(plan, [Piece(0, (Span(source),))], workers=workers))
        assert caught.value.where == f"{tmp_path}/bad.txt:2"


class Buggy:
    """A job that divides by its piece's number."""

    def start(self):
        return lambda piece: 1 // piece.number


def test_a_bug_in_a_worker_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(work_through(Buggy(), [Piece(0, ())], workers=2))


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(plan, pieces):
    script = (
        "import pickle, sys\n"
        "from electra_cli.data.workers import work_through\n"
        "if __name__ == '__main__':\n"
        "    plan, pieces = pickle.load(sys.stdin.buffer)\n"
        "    for piece, record in work_through(plan, pieces, workers=2):\n"
        "        print(piece.number, flush=True)\n"
    )
    path = plan.folder.parent / "script.py"
    path.write_text(script)
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, path], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(pickle.dumps((plan, list(pieces(10_000, lines=300)))))
        process.stdin.close()
        process.stdout.readline()
        workers = children(process.pid)
        assert len(workers) == 2
        process.kill()
    deadline = time.monotonic() + 5
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def test_cores_are_counted():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
