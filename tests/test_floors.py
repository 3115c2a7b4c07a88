"""The house's rules, read from the syntax trees: imports point down, and nothing grows too large."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "electra_cli"
NAME = "electra_cli"

# unit → floor; a unit may import lower floors and itself, never its neighbours
FLOORS = {
    "__main__": 7,
    "cli": 6,
    "stages": 5,
    "data": 4,
    "tasks": 4,
    "training": 4,
    "exporting": 4,
    "text": 3,
    "model": 3,
    "runtime": 3,
    "artifacts": 2,
    "config": 2,
    "errors": 1,
    "reporting": 1,
    "__init__": 0,
}
# package → the units that may know it
ONLY = {
    "pyarrow": {"data"},
    "tokenizers": {"text"},
    "ray": {"data"},
    "rensa": {"data"},
    "typer": {"cli"},
    "rich": {"cli"},
    "pydantic": {"config", "stages"},
    "torch": {"data", "model", "runtime", "training", "tasks", "exporting", "stages"},
    "triton": {"model"},
    "safetensors": {"model", "training", "exporting", "stages"},
    "transformers": {"exporting"},  # used to re-read an export where it happens to be installed
    "click": set(),
    "pickle": set(),
    "cPickle": set(),
    "dill": set(),
    "cloudpickle": set(),
    "joblib": set(),
    "marshal": set(),
    "shelve": set(),
    "datasets": set(),
}
FORBIDDEN_NAMES = {"utils", "common", "helpers", "base", "util", "misc"}
FORBIDDEN_CALLS = {"torch.load", "torch.save", "eval", "exec", "numpy.load", "np.load"}


def unit_of(path):
    """The part of the house that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(source, module):
    """Yield (line, dotted name) of every import, wherever in the file it stands."""
    package = module if module.endswith("__init__") else module.rpartition(".")[0]
    package = package.removesuffix(".__init__")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called in ("importlib.import_module", "import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def violations(unit, source, module):
    """Return what breaks the rules in one file, as text."""
    found = []
    for line, name in imports(source, module):
        top, *rest = name.split(".")
        if top == NAME:
            target = rest[0] if rest and rest[0] in FLOORS else "__init__"
            if target != unit and FLOORS[target] >= FLOORS[unit]:
                found.append(f"line {line}: {unit} imports {name}, which is not below it")
        elif top in ONLY and unit not in ONLY[top]:
            found.append(f"line {line}: {unit} may not know {top}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            if ast.unparse(node.func) in FORBIDDEN_CALLS:
                found.append(f"line {node.lineno}: calls {ast.unparse(node.func)}")
            found += [
                f"line {node.lineno}: allow_pickle"
                for keyword in node.keywords
                if keyword.arg == "allow_pickle"
                and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
            ]
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_part_of_the_house_has_its_floor():
    assert {unit_of(path) for path in FILES} <= set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    module = ".".join([NAME, *path.relative_to(PACKAGE).with_suffix("").parts])
    assert violations(unit_of(path), path.read_text("utf-8"), module) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_is_too_large_or_nameless(path):
    source = path.read_text("utf-8")
    assert path.stem not in FORBIDDEN_NAMES
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has more than 60 lines"


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("data", "from electra_cli.stages import shard"),
        ("data", "from electra_cli.tasks.glue import x"),
        ("data", "import electra_cli.cli"),
        ("data", "def f():\n    from electra_cli.training import loop"),
        ("data", "from ..tasks import glue"),
        ("data", "from .. import cli"),
        ("data", "import importlib\nimportlib.import_module('electra_cli.cli.main')"),
        ("artifacts", "from electra_cli.config import Settings"),
        ("errors", "from electra_cli.artifacts import claim"),
        ("model", "import tokenizers"),
        ("text", "import torch"),
        ("stages", "def f():\n    import pyarrow.ipc"),
        ("stages", "from rich.progress import Progress"),
        ("cli", "import click"),
        ("data", "from pickle import loads"),
        ("model", "import torch\ntorch.load('x')"),
        ("data", "import numpy as np\nnp.load('x', allow_pickle=True)"),
    ],
)
def test_the_rules_catch_what_breaks_them(unit, source):
    assert violations(unit, source, f"{NAME}.{unit}.some")


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("data", "from electra_cli.text.tokenizer import Tokenizer\nimport pyarrow"),
        ("data", "from . import order\nfrom .shards import ShardSet\nfrom electra_cli.data import masking"),
        ("stages", "from electra_cli.data import order\nfrom electra_cli import artifacts, __version__"),
        ("cli", "import typer\nfrom electra_cli.stages.outcome import Outcome"),
    ],
)
def test_the_rules_allow_what_keeps_them(unit, source):
    assert violations(unit, source, f"{NAME}.{unit}.some") == []
