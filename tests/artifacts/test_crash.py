"""Kill a publish at every system call that changes the disk: the old or the new is there, never a mixture.

The harness must be able to fail: the same sweep over publishers that do it wrong has to catch them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from electra_cli.artifacts import Recipe, claim, verify, versions
from electra_cli.artifacts.opening import is_complete
from electra_cli.errors import ArtifactError
from electra_cli.reporting import Silent

SCRIPT = Path(__file__).with_name("publish_once.py")
CALLS = "write,pwrite64,fsync,rename,mkdir,unlink,unlinkat,rmdir,ftruncate"

_spec = importlib.util.spec_from_file_location("publish_once", SCRIPT)
publish_once = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(publish_once)

pytestmark = [pytest.mark.slow]


def run(how, out, *strace):
    """Run the publisher under strace; return its exit status (negative: the signal) and the trace's lines."""
    log = out.with_name("trace")
    environment = {"PYTHONPATH": str(SCRIPT.parents[2]), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    watch = ["strace", "-f", "-y", "-qq", "-o", log, "-e", f"trace={CALLS}", *strace]
    done = subprocess.run([*watch, sys.executable, "-S", SCRIPT, how, out], capture_output=True, env=environment)
    return done.returncode, log.read_text().splitlines(), done.stderr.decode()


def old_state(how, out):
    """Put an older version into `out`: what must still be there after every crash."""
    kind = "checkpoint" if how == "growing" else "tokenizer"
    out.parent.mkdir()
    with claim(out, Recipe(kind, "old", 1, {}, ()), report=Silent()) as found:
        found.draft.write_bytes("old.txt", b"old")
        found.draft.publish(spec={})


def fault(out, reference):
    """Return what is wrong with `out` after a crash, None if it holds the old or the new and nothing broken."""
    try:
        results = list(verify(out))
    except ArtifactError as error:
        return f"nothing to verify: {error}"
    if results[0].path.name != "v1":
        return "the old version is gone"
    for result in results:
        if result.status == "damaged":
            return f"{result.path}: {result.problems[0]}"
        if result.path.name == "v2" and result.status == "ok" and result.content_id != reference:
            return f"{result.path}: complete, with other contents"
    return None


def sweep(how, tmp_path, inject, expected, *, backwards=False):
    """Inject into every call of the publish, one at a time; yield the point, what is wrong, the folder, the right id.

    strace counts each system call by itself, so a point is (name, how manyth of that name).
    """
    folder = tmp_path / "undisturbed"
    old_state(how, folder / "out")
    status, lines, stderr = run(how, folder / "out")
    assert status == 0, stderr
    complete = [version for version in versions(folder / "out") if is_complete(version)]
    reference = list(verify(complete[-1]))[-1].content_id
    counts: Counter[str] = Counter()
    points = []
    for line in lines:
        name = re.match(r"(?:[0-9]+ +)?([a-z0-9]+)[(]", line)[1]
        counts[name] += 1
        points.append((line, name, counts[name]))
    for line, name, number in reversed(points) if backwards else points:
        folder = tmp_path / f"{name}-{number}"
        old_state(how, folder / "out")
        status, trace, stderr = run(how, folder / "out", "-e", f"inject={name}:{inject}:when={number}")
        assert any("(INJECTED)" in line or "killed by" in line for line in trace), line
        assert status in expected, (line, status, stderr)
        yield line, fault(folder / "out", reference), folder / "out", reference
        shutil.rmtree(folder)


@pytest.mark.parametrize("how", ["plain", "growing"])
def test_killed_anywhere_it_is_old_or_new_and_a_rerun_completes_it(tmp_path, how, needs_tool):
    needs_tool("strace")
    for point, wrong, out, reference in sweep(how, tmp_path, "signal=KILL", (-9, 137)):
        assert wrong is None, (point, wrong)
        assert publish_once.publish(how, out) == reference, point
        assert fault(out, reference) is None
        left = sorted(path.name for path in out.iterdir())
        assert left == [".lock", "v1", "v2"], (point, left)
        assert not [path for path in (out / "v2").rglob(".*")], point


def test_a_refusing_disk_is_exit_6_and_a_rerun_completes_it(tmp_path, needs_tool):
    needs_tool("strace")
    for point, wrong, out, reference in sweep("plain", tmp_path, "error=ENOSPC", (0, 6, 120)):
        assert wrong is None, (point, wrong)
        assert publish_once.publish("plain", out) == reference, point


@pytest.mark.parametrize("how", ["in_place", "early_rename"])
def test_the_sweep_catches_a_publisher_that_does_it_wrong(tmp_path, how, needs_tool):
    needs_tool("strace")
    assert any(wrong for _, wrong, _, _ in sweep(how, tmp_path, "signal=KILL", (-9, 137), backwards=True))


def unsynced(lines, out):
    """Return what a power failure could lose or mix: contents and folder entries not on the disk when they must be."""
    wrong, contents, entries = [], set(), set()
    for line in lines:
        if match := re.search(r"(?:write|pwrite64|ftruncate)\(\d+<([^>]+)>", line):
            if match[1].startswith(str(out)) and not match[1].endswith(".lock"):
                contents.add(match[1])
        elif match := re.search(r"fsync\(\d+<([^>]+)>\)", line):
            contents.discard(match[1])
            entries.discard(match[1])
        elif match := re.search(r'mkdir\("([^"]+)".*= 0$', line):
            entries.add(os.path.dirname(match[1]))
        elif match := re.search(r'rename\("([^"]+)", "([^"]+)"\)', line):
            source, target = match.groups()
            wrong += [f"{path} renamed before it was synced" for path in contents if path.startswith(source)]
            inside = source if re.fullmatch(r"v\d+|step-\d+", Path(target).name) else None
            inside = os.path.dirname(target) if target.endswith("manifest.json") else inside
            wrong += [
                f"entries of {path} not synced before {target}" for path in entries if path.startswith(str(inside))
            ]
            entries.add(os.path.dirname(target))
    return wrong + [f"{path} was never synced" for path in contents | entries if path.startswith(str(out))]


@pytest.mark.parametrize("how", ["plain", "growing"])
def test_everything_is_on_the_disk_before_it_is_visible(tmp_path, how, needs_tool):
    needs_tool("strace")
    old_state(how, tmp_path / "x" / "out")
    status, lines, stderr = run(how, tmp_path / "x" / "out")
    assert status == 0, stderr
    assert unsynced(lines, tmp_path / "x" / "out") == []


def test_the_trace_catches_a_publisher_that_does_not_sync(tmp_path, needs_tool):
    needs_tool("strace")
    old_state("plain", tmp_path / "x" / "out")
    _, lines, _ = run("unsynced", tmp_path / "x" / "out")
    assert any("renamed before" in wrong for wrong in unsynced(lines, tmp_path / "x" / "out"))
