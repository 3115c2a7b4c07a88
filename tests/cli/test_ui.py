"""What is printed where: product, conversation, progress, colours."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from electra_cli.cli.ui import Ui, command_line, duration, figure, printable, session
from electra_cli.stages.outcome import Outcome

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch):
    for name in ("CI", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def outcome(make_artifact, status="built"):
    return Outcome(make_artifact("tok"), status, {"vocabulary": 30522, "seconds": 1.23456, "files": ["a"]})


def test_the_path_is_the_one_line_on_stdout(make_artifact, capfd):
    made = outcome(make_artifact)
    with session("tokenize") as ui:
        ui.note("working")
        ui.published(made, next_commands=["electra shard …"])
    out, err = capfd.readouterr()
    assert out == f"{made.artifact.path}\n"
    assert err.splitlines() == [
        "working",
        f"built: tokenizer {made.artifact.path} (vocabulary 30,522, seconds 1.235)",
        "next: electra shard …",
    ]


def test_with_json_it_is_the_object(make_artifact, capfd):
    made = outcome(make_artifact, "up to date")
    with session("tokenize", json=True, quiet=True) as ui:
        ui.note("unheard")
        ui.warn("heard")
        ui.published(made, next_commands=["electra shard …"])
    out, err = capfd.readouterr()
    assert json.loads(out) == {
        "ok": True,
        "command": "tokenize",
        "status": "up to date",
        "path": str(made.artifact.path),
        "content_id": made.artifact.content_id,
        "summary": {"vocabulary": 30522, "seconds": 1.23456, "files": ["a"]},
    }
    assert err == "warning: heard\n"


def test_a_path_that_is_not_text_arrives_byte_for_byte(make_artifact, tmp_path, capfdbinary):
    made = make_artifact("bad\udcff\x1b name")
    with session("x") as ui:
        ui.published(Outcome(made, "built", {}))
    out, err = capfdbinary.readouterr()
    assert out == os.fsencode(made.path) + b"\n"
    assert b"\x1b" not in err and b"\\x1b" in err


def test_a_summary_never_spoils_the_object(make_artifact, capfd):
    numpy = pytest.importorskip("numpy")
    odd = {
        "auc": float("nan"),
        "loss": numpy.float32(0.5),
        "n": numpy.int64(3),
        "path": Path("x"),
        "rows": [{"f": 1e999}],
    }
    with session("x", json=True) as ui:
        ui.published(Outcome(make_artifact("tok"), "built", odd))
    summary = json.loads(capfd.readouterr().out)["summary"]
    assert summary == {"auc": None, "loss": 0.5, "n": 3, "path": "x", "rows": [{"f": None}]}


def test_escapes_are_made_visible_and_text_stays():
    assert printable("a\x1b[2J\x00\x9b\r\u2028\u202eb\udcff") == "a\\x1b[2J\\x00\\x9b\\r\\u2028\\u202eb\\udcff"
    assert printable("Übung 中文 🙂\ttab\nline") == "Übung 中文 🙂\ttab\nline"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234567, "", "1,234,567"),
        (5, "steps", "5 steps"),
        (0.000123456, "", "0.0001235"),
        (1234.5, "tokens", "1,234 tokens"),
        (999, "bytes", "999 bytes"),
        (2_500_000, "bytes", "2.5 MB"),
        (5e15, "bytes", "5000.0 TB"),
        (float("nan"), "", "nan"),
        (True, "", "True"),
        ("text", "", "text"),
    ],
)
def test_figures(value, unit, text):
    assert figure(value, unit) == text


def test_durations():
    assert [duration(s) for s in (-5, 0, 59.4, 60, 3599, 3600, 86_400)] == [
        "0 s",
        "0 s",
        "59 s",
        "1:00",
        "59:59",
        "1:00:00",
        "24:00:00",
    ]


def test_commands_are_quoted():
    assert command_line("electra", "shard", Path("a b"), "--out", "x$y") == "electra shard 'a b' --out 'x$y'"


def test_plain_progress_speaks_at_intervals(capfd, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ui = Ui("x", json=False, quiet=False)
    with ui.progress("training", total=100, unit="steps", done=20) as meter:
        for _ in range(60):
            now[0] += 0.5
            meter.show({"loss": 0.123456, "phase": "warm-up"})
            meter.advance()
    err = capfd.readouterr().err.splitlines()
    assert err == [
        "training: 40 of 100 steps, 2 steps/s, 30 s left, loss 0.1235, phase warm-up",
        "training: 60 of 100 steps, 2 steps/s, 20 s left, loss 0.1235, phase warm-up",
        "training: 80 of 100 steps, 2 steps/s, 10 s left, loss 0.1235, phase warm-up",
    ]


def test_short_work_is_silent_and_unknown_totals_have_no_end(capfd, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ui = Ui("x", json=False, quiet=False)
    with ui.progress("short", total=3, unit="files") as meter:
        meter.advance(3)
    assert capfd.readouterr().err == ""
    with ui.progress("reading", total=None, unit="bytes") as meter:
        now[0] += 10
        meter.advance(5_000_000)
        meter.advance(1_000_000)
    assert capfd.readouterr().err.splitlines() == ["reading: 5.0 MB, 500.0 kB/s", "reading: 6.0 MB, 600.0 kB/s"]


def test_a_clock_that_stands_still_divides_nothing(capfd, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    with Ui("x", json=False, quiet=False, plain_seconds=0).progress("p", total=2, unit="u") as meter:
        meter.advance()
    assert capfd.readouterr().err == "p: 1 of 2 u, 0 u/s\n"


LIVE = """
import time
from electra_cli.cli.ui import session
with session("x") as ui:
    with ui.progress("outer [bold]", total=30, unit="steps") as meter:
        for step in range(30):
            time.sleep(0.01)
            meter.show({"loss": 1.5})
            meter.advance()
            if step == 10:
                ui.warn("in between")
                with ui.progress("inner", total=None, unit="bytes") as inner:
                    time.sleep(0.15)
                    inner.advance(1000)
    with ui.progress("again", total=1, unit="steps"):
        pass
    ui.note("after")
"""


def on_a_terminal(code, **environment):
    """Run `code` with a pseudo-terminal as stderr; return what it drew, and its exit status."""
    leader, follower = pty.openpty()
    kept = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.DEVNULL,
        stderr=follower,
        cwd=REPOSITORY,
        env={**kept, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    drawn = io.BytesIO()
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        drawn.write(piece)
    os.close(leader)
    return drawn.getvalue().decode(), process.wait()


def test_on_a_terminal_there_are_bars_with_rate_and_time_left():
    drawn, status = on_a_terminal(LIVE, COLUMNS="120")
    assert status == 0
    assert (
        "\x1b[" in drawn and "steps/s" in drawn and " left" in drawn and "loss 1.5" in drawn and "outer [bold]" in drawn
    )
    assert "\x1b[33mwarning:\x1b[0m in between" in drawn and drawn.rstrip().endswith("after")


@pytest.mark.parametrize("columns", ["20", "1"])
def test_a_narrow_terminal_is_enough(columns):
    drawn, status = on_a_terminal(LIVE, COLUMNS=columns)
    assert status == 0 and "after" in drawn


@pytest.mark.parametrize("surroundings", [{"CI": "true", "NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_escapes_where_nobody_wants_them(surroundings):
    drawn, status = on_a_terminal(LIVE, **surroundings)
    assert status == 0 and "\x1b" not in drawn and "warning: in between" in drawn


def test_no_color_keeps_the_bars_without_colours():
    drawn, status = on_a_terminal(LIVE, NO_COLOR="1")
    assert (
        status == 0 and "steps/s" in drawn and "\x1b[33m" not in drawn and "\x1b[3" not in drawn.replace("\x1b[32m", "")
    )


def test_forced_colours_in_a_file_are_colours_only(electra):
    done = electra("inspect", "nowhere", env={"FORCE_COLOR": "1"})
    assert done.stderr.splitlines()[0] == "\x1b[31merror:\x1b[0m nowhere: no such artifact"
    done = electra("inspect", "nowhere", env={"FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert "\x1b" not in done.stderr
