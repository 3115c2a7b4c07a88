import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from electra_cli.data.units import UnitPlan, UnitTask
from electra_cli.data.workers import available_cores, write_units
from electra_cli.errors import ArtifactError, ResourceError, WorkerError

REPOSITORY = Path(__file__).resolve().parents[2]
LINE = b"the cat sees the old dog under the house and never finds the red river . "


@pytest.fixture
def plan(tmp_path, tokenizer_folder):
    folder = tmp_path / "draft"
    folder.mkdir()
    return UnitPlan(folder, tokenizer_folder, "sha256:recipe", length=32, min_row_tokens=5, seed=3)


def tasks(count, lines=5):
    for number in range(count):
        yield UnitTask("train", number, b"\n".join([LINE * (number % 7 + 1)] * lines), 1)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_any_number_of_workers_writes_the_same_bytes(plan):
    found = []
    for workers in (1, 3):
        records = sorted(write_units(plan, tasks(7), workers=workers), key=lambda record: record.name)
        found.append((records, contents(plan.folder)))
        for path in plan.folder.rglob("*.arrow"):
            path.unlink()
    assert found[0] == found[1]
    assert len(found[0][0]) == 7


def test_tasks_are_taken_only_when_there_is_room(plan):
    taken = []

    def stream():
        for task in tasks(8):
            taken.append(task.number)
            yield task

    done = 0
    for _ in write_units(plan, stream(), workers=2):
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


def test_a_killed_worker_is_noticed_at_once_and_finished_units_stay(plan):
    began = 0.0
    with pytest.raises(WorkerError, match="SIGKILL") as caught:
        for number, _ in enumerate(write_units(plan, tasks(100_000, lines=300), workers=2)):
            if number == 1:
                os.kill(children(os.getpid())[0], signal.SIGKILL)
                began = time.monotonic()
    assert time.monotonic() - began < 5
    assert caught.value.code == "WORKER_DIED"
    assert len(list((plan.folder / "units").glob("*.json"))) >= 2
    assert children(os.getpid()) == []


def test_an_error_in_a_worker_arrives_as_it_is(plan):
    (plan.tokenizer / "vocab.txt").unlink()
    with pytest.raises(ArtifactError) as caught:
        list(write_units(plan, tasks(2), workers=2))
    assert caught.value.code == "MISSING_FILE"
    assert str(caught.value.where).endswith("vocab.txt")


def test_a_folder_that_is_gone_is_a_resource_error(plan):
    plan.folder.rmdir()
    with pytest.raises(ResourceError):
        list(write_units(plan, tasks(2), workers=2))


def test_a_bug_in_a_worker_keeps_its_traceback(plan):
    with pytest.raises(RuntimeError, match="UnicodeDecodeError"):
        list(write_units(plan, [UnitTask("train", 0, b"\xff", 1)], workers=2))


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(plan):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from electra_cli.data.units import UnitPlan, UnitTask\n"
        "from electra_cli.data.workers import write_units\n"
        "if __name__ == '__main__':\n"
        "    plan = UnitPlan(Path(sys.argv[1]), Path(sys.argv[2]), 'sha256:recipe', 32, 5, 3)\n"
        "    line = b'the cat sees the old dog under the house ' * 2000\n"
        "    tasks = (UnitTask('train', n, b'\\n'.join([line] * 50), 1) for n in range(10_000))\n"
        "    for record in write_units(plan, tasks, workers=2):\n"
        "        print(record.name, flush=True)\n"
    )
    path = plan.folder.parent / "script.py"
    path.write_text(script)
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, path, plan.folder, plan.tokenizer], env=env, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
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
