"""`electra --help` answers at once: nothing heavy is imported for it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

HEAVY = {"torch", "pyarrow", "tokenizers", "transformers", "numpy", "safetensors", "pydantic", "rich"}

CODE = """
import contextlib, io, json, sys
from electra_cli.cli.main import main
with contextlib.redirect_stdout(io.StringIO()) as out:
    code = main(json.loads(sys.argv[1]))
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"code": code, "text": out.getvalue(), "modules": modules}))
"""


def answer(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(arguments)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("verify", "--help"), ("finetune", "--help")])
def test_help_imports_nothing_heavy(arguments):
    found = answer(*arguments)
    assert found["code"] == 0
    if "--help" in arguments:
        assert "Usage: electra" in found["text"]
    # typer itself needs pydantic and rich for some things; ours must not bring the large ones
    assert HEAVY & set(found["modules"]) <= {"pydantic", "rich"}


def test_inspecting_and_verifying_import_nothing_heavy(make_artifact):
    made = make_artifact("tok")
    for command in ("inspect", "verify", "lineage"):
        found = answer(command, str(made.path), "--json")
        assert found["code"] == 0
        assert HEAVY & set(found["modules"]) <= {"pydantic", "rich"}


def test_help_takes_less_than_a_third_of_a_second():
    def spent():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    best = 9.0
    for _ in range(3):  # processor time, and the best of three: other work on the machine is not ours
        before = spent()
        subprocess.run([sys.executable, "-m", "electra_cli", "--help"], capture_output=True, check=True)
        best = min(best, spent() - before)
    assert best < 0.3
