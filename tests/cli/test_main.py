"""The one error boundary: exit codes, `error:` and `hint:`, one JSON object, signals and lost pipes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from electra_cli.cli.main import COMMANDS, main

REPOSITORY = Path(__file__).resolve().parents[2]


def last_lines(done):
    """The last two lines of stderr."""
    return done.stderr.splitlines()[-2:]


def test_every_command_of_the_table_is_there(electra):
    done = electra("--help")
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert shown == list(dict.fromkeys(name.split()[0] for name, _, _ in COMMANDS))


@pytest.mark.parametrize("name", [name for name, _, _ in COMMANDS])
def test_every_command_has_its_help(capsys, name):
    assert main([*name.split(), "--help"]) == 0
    assert f"Usage: electra {name}" in capsys.readouterr().out


def test_the_version(electra):
    done = electra("--version")
    assert (done.returncode, done.stdout) == (0, "electra 0.1.0\n")


def test_without_a_command_it_shows_the_help_and_fails(electra):
    done = electra()
    assert done.returncode == 2 and done.stdout == "" and "Usage: electra" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["inspec", "x"], "error: no such command 'inspec'. Did you mean 'inspect'?", "hint: electra --help"),
        (
            ["inspect", "--jso", "x"],
            "error: no such option: --jso; did you mean --json or --set?",
            "hint: electra inspect --help",
        ),
        (["inspect"], "error: missing argument 'ARTIFACT'", "hint: electra inspect --help"),
        (["finetune"], "error: missing command", "hint: electra finetune --help"),
        (["finetune", "glu"], "error: no such command 'glu'. Did you mean 'glue'?", "hint: electra finetune --help"),
        (["--nonsense"], "error: no such option: --nonsense", "hint: electra --help"),
        (["inspect", "nowhere"], "error: nowhere: no such artifact", "hint: check the path"),
    ],
)
def test_errors_have_one_form(electra, arguments, message, hint):
    done = electra(*arguments)
    assert last_lines(done) == [message, hint]
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert done.returncode == (4 if "nowhere" in arguments else 2)


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["inspect", "--json"], 2, "USAGE"),
        (["--json"], 2, "USAGE"),
        (["inspect", "--json", "--nonsense", "x"], 2, "USAGE"),
        (["inspect", "nowhere", "--json"], 4, "ARTIFACT_NOT_FOUND"),
        (["verify", "bad\udcff\x1b[31m", "--json"], 4, "ARTIFACT_NOT_FOUND"),
    ],
)
def test_with_json_there_is_exactly_one_object_on_failure_too(electra, arguments, code, name):
    done = electra(*arguments)
    assert done.returncode == code
    (line,) = done.stdout.splitlines()
    assert line.isascii()
    body = json.loads(line)
    assert body["ok"] is False and set(body) == {"ok", "error"}
    assert set(body["error"]) == {"code", "message", "where", "hint", "exit_code"}
    assert (body["error"]["code"], body["error"]["exit_code"]) == (name, code)


def test_terminal_escapes_in_names_are_made_visible(electra):
    done = electra("inspect", "\x1b[31mred\x07\u202e")
    assert "\x1b" not in done.stderr and "\\x1b[31mred\\x07\\u202e" in done.stderr


def test_debug_shows_the_traceback_of_a_users_error(electra):
    for arguments in (["--debug", "inspect", "nowhere"], ["inspect", "nowhere", "--debug"]):
        done = electra(*arguments)
        assert "Traceback" in done.stderr and done.returncode == 4
        assert last_lines(done) == ["error: nowhere: no such artifact", "hint: check the path"]


BROKEN = """
import sys
from electra_cli.cli import inspect, main
from electra_cli.cli.options import Json, Where
def fail(where: Where, *, json: Json = False): {body}
inspect.inspect = fail
sys.exit(main.main())
"""


def run_broken(body, *arguments, **options):
    """Run `electra inspect` with another body, in the real error boundary."""
    return subprocess.Popen(
        [sys.executable, "-c", BROKEN.format(body=body), "inspect", "x", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        **options,
    )


@pytest.mark.parametrize(
    ("body", "code", "name"),
    [
        ("1 / 0", 1, "BUG"),
        ("raise MemoryError", 6, "OUT_OF_MEMORY"),
        ("raise OSError(28, 'No space left on device', '/full')", 6, "DISK_FULL"),
        ("raise BrokenPipeError(32, 'another pipe')", 1, "BUG"),
        ("raise KeyboardInterrupt", 130, "CANCELLED"),
    ],
)
def test_what_escapes_has_its_exit_code(body, code, name):
    process = run_broken(body, "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert json.loads(out)["error"]["code"] == name
    assert ("Traceback" in err) == (name == "BUG")
    assert err.splitlines()[-2].startswith("error: ")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_signals_end_it_at_once(number, status):
    # A job in the background of a shell starts with SIGINT ignored, and its children with it: not what is tested here.
    restore = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = run_broken("print('up', file=sys.stderr, flush=True); import time; time.sleep(60)", **restore)
    assert process.stderr.readline() == "up\n"
    start = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status and time.monotonic() - start < 5
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", ["--help", "--version", "inspect {path}", "inspect {path} --json"])
def test_a_closed_stdout_is_141_without_a_word(make_artifact, arguments):
    path = make_artifact("tok").path
    command = f"{sys.executable} -m electra_cli {arguments.format(path=path)}"
    done = subprocess.run(
        ["bash", "-c", f"{{ sleep 0.3; {command}; echo $? >&2; }} | true"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.stderr == "141\n"


def test_a_lost_stderr_stops_nothing(make_artifact):
    path = make_artifact("tok").path
    (path / "extra").write_text("a warning comes of this")
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m electra_cli verify {path} 2>&-; echo $?"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.stdout.startswith("ok") and done.stdout.endswith("\n0\n")


def test_a_full_stdout_is_exit_6(make_artifact):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    path = make_artifact("tok").path
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "electra_cli", "inspect", str(path)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert done.returncode == 6 and "standard output" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}])
def test_any_locale_and_any_name_works(electra, make_artifact, tmp_path, env):
    odd = tmp_path / "with space\nand ünï \udcff"
    shutil.copytree(make_artifact("tok", spec={"词": "字"}).path, odd)
    done = electra("inspect", odd, env=env)
    assert (done.returncode, done.stderr) == (0, "") and "字" in done.stdout
    done = electra("inspect", odd, "--json", env=env)
    assert json.loads(done.stdout)["path"] == str(odd)


def test_a_deleted_working_folder_and_no_home(electra, make_artifact, tmp_path):
    made = make_artifact("tok")
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && unset HOME && {sys.executable} -m electra_cli verify {made.path}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
