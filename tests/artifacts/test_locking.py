"""The lock dies with its holder, and a forked child is not one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from electra_cli.artifacts.locking import exclusive
from electra_cli.errors import BusyError, ResourceError

HOLD = """
import os, sys, time
from pathlib import Path
from electra_cli.artifacts.locking import exclusive
with exclusive(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        print("child", os.getpid(), flush=True)
        time.sleep(60)
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder, how):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), how], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    lines = [process.stdout.readline()]
    if how == "fork":
        lines.append(process.stdout.readline())
    assert any("held" in line for line in lines)
    child = [int(line.split()[1]) for line in lines if line.startswith("child")]
    return process, child


@pytest.mark.parametrize("how", ["plain", "fork"])
def test_another_process_holds_it_until_it_is_killed(tmp_path, how):
    process, children = holder(tmp_path, how)
    try:
        with pytest.raises(BusyError) as caught, exclusive(tmp_path):
            pass
        assert str(process.pid) in caught.value.message and os.uname().nodename in caught.value.message
        process.send_signal(signal.SIGKILL)
        process.wait()
        for pid in children:
            os.kill(pid, 0)  # it lives
        with exclusive(tmp_path):
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def test_the_same_process_cannot_take_it_twice(tmp_path):
    with exclusive(tmp_path):
        with pytest.raises(BusyError), exclusive(tmp_path):
            pass
        with pytest.raises(BusyError), exclusive(tmp_path):
            pass
    with exclusive(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert (tmp_path / ".lock").exists()


def test_what_is_written_in_it_is_for_the_message_only(tmp_path):
    (tmp_path / ".lock").write_bytes(b"\xff not json \x1b[31m")
    with exclusive(tmp_path):
        (tmp_path / ".lock").write_text("[]")
        with pytest.raises(BusyError, match=r"process [?] on [?]"), exclusive(tmp_path):
            pass


def test_a_subprocess_does_not_inherit_it(tmp_path):
    with exclusive(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with exclusive(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResourceError), exclusive(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
