"""The documentation says what the code does: reference current, links resolve, commands shown exist and run."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHELL = re.compile(r"^```(?:bash|sh|console|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


generate = load_generator()
COMMANDS = {command.name: command for command in generate.commands()}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SHOWN = [page for page in PAGES if page.name == "README.md" or "guides" in page.parts]


def settings_by_command() -> list[tuple[str, type]]:
    return [(name, schema) for name, command in COMMANDS.items() for schema in generate.settings_of(command)]


@pytest.mark.parametrize("name", generate.PAGES)
def test_the_reference_is_current(name):
    file = ROOT / "docs" / "reference" / name
    assert file.read_text(encoding="utf-8") == generate.PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_argument_and_option_is_documented(name):
    command = COMMANDS[name]
    assert len((command.parsed.help or "").strip()) > 15
    undocumented = [p.name for p in command.parsed.params if not (p.help or "").strip()]
    assert not undocumented


@pytest.mark.parametrize(
    ("name", "schema"), settings_by_command(), ids=lambda value: str(getattr(value, "__name__", value))
)
def test_every_setting_is_documented(name, schema):
    items = list(generate.settings_in(schema))
    assert items
    assert not [item.key for item in items if len(item.description) < 5]
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert not [item.key for item in items if f"`{item.key}`" not in page]


def test_every_command_that_makes_something_has_settings():
    making = {name for name, command in COMMANDS.items() if any(p.name == "out" for p in command.parsed.params)}
    assert making <= {name for name, _ in settings_by_command()} | {"demo"}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made for Markdown on the web."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    plain = [re.sub(r"[`*]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_resolve(page):
    broken = []
    for target in LINK.findall(re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_the_page_of_differences_names_settings_that_exist():
    """docs/concepts/electra.md: every place has a setting that exists, or says that there is none."""
    known = {item.key for _, schema in settings_by_command() for item in generate.settings_in(schema)}
    text = (ROOT / "docs" / "concepts" / "electra.md").read_text(encoding="utf-8")
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in text.split("\n") if re.match(r"\| (?!---|what \|)", line)]
    assert len(rows) > 40
    for row in rows:
        assert len(row) == 5 and all(row), row
        named = {code.partition(" ")[0] for code in re.findall(r"`([^`]+)`", row[-1])} - {"electra"}
        assert named <= known and (named or row[-1] == "none"), row


def shown_commands(page: Path) -> list[list[str]]:
    """Every `electra …` of a page's shell blocks, as words; variables stay as they are."""
    found = []
    for block in SHELL.findall(page.read_text(encoding="utf-8")):
        text = re.sub(r"\\\n\s*", " ", block)
        for line in text.split("\n"):
            line = re.sub(r"^\$ ", "", line.strip()).replace("$(", ";").replace(")", ";")  # tok=$(electra …)
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if not set(word) <= set("|;&<>"):
                    words += [] if not words and re.match(r"\w+=", word) else [word]
                    continue
                if words[:1] == ["electra"]:
                    found.append(words[1:])
                words = []
    return found


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_shown_commands_exist(page):
    for words in shown_commands(page):
        check_command(words)


def check_command(words: list[str]) -> None:
    """Fail unless the command, its options, its settings and its preset exist."""
    if words[:1] and words[0].startswith("-"):
        known = {name for option in generate.root_options() for name in option.opts} | {"-h", "--help"}
        assert words[0] in known, words
        return
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    assert name is not None, f"there is no command {words[:2]}"
    command = COMMANDS[name]
    options = {
        o: p for p in command.parsed.params if p.param_type_name == "option" for o in [*p.opts, *p.secondary_opts]
    }
    schemas = generate.settings_of(command)
    keys = {item.key for schema in schemas for item in generate.settings_in(schema)}
    presets = {preset for schema in schemas for preset in generate.presets_of(schema)}
    rest = words[len(name.split()) :]
    arguments = 0
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            return
        if not word.startswith("-") or word == "-":
            arguments += 1
            continue
        option, _, value = word.partition("=")
        assert option in options, f"electra {name} has no option {option}"
        if not options[option].is_flag and not value:
            assert rest, f"{option} needs a value"
            value = rest.pop(0)
        if option == "--set":
            assert value.partition("=")[0] in keys, f"electra {name} has no setting {value}"
        if option == "--preset":
            assert value in presets, f"electra {name} has no preset {value}"
    required = [p for p in command.parsed.params if p.param_type_name == "argument" and p.required]
    assert arguments >= len(required), f"electra {' '.join(words)} lacks an argument"


def test_the_check_of_shown_commands_can_fail(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("```bash\nt=$(electra tokenize a.txt \\\n  -o x) && electra frobnicate | head\n```\n", "utf-8")
    good, bad = shown_commands(page)
    check_command(good)
    for wrong in (bad, [*good, "--nope"], [*good, "--set", "nope=1"], ["shard", "-o", "x"], [*good, "--set"]):
        with pytest.raises(AssertionError):
            check_command(wrong)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_first_guide_runs_as_written(tmp_path):
    """Every shell block of the guide, in order, on real text; only the number of steps is kept small."""
    make_inputs(tmp_path)
    electra = tmp_path / "bin" / "electra"
    electra.parent.mkdir()
    electra.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m electra_cli "$@"\n')
    electra.chmod(0o755)
    guide = (ROOT / "docs" / "guides" / "first-model.md").read_text(encoding="utf-8")
    script = "\n".join(["set -euo pipefail", *SHELL.findall(guide)])
    small = "--steps 3 --set optimizer.warmup_steps=2 --set evaluation.rows=64"
    quick = script.replace("--preset tiny", f"--preset tiny {small}")
    assert quick != script
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{electra.parent}{os.pathsep}{os.environ['PATH']}"}
    for expected in ("built", "up to date"):
        finished = subprocess.run(
            ["bash", "-c", quick], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stderr
        assert expected in finished.stderr
    assert (tmp_path / "runs" / "model-hf" / "v1" / "model.safetensors").exists()
    assert "built" not in finished.stderr


def make_inputs(folder: Path) -> None:
    """`text/`: this project's documentation; `reviews.csv`: its lines, labelled by the page that they are from."""
    (folder / "text").mkdir()
    rows = ["text,label"]
    for page in PAGES:
        shutil.copy(page, folder / "text" / "-".join(page.relative_to(ROOT).parts))
        label = "reference" if "reference" in page.parts else "prose"
        lines = page.read_text(encoding="utf-8").split("\n")
        rows += [f'"{line.replace(chr(34), chr(39))}",{label}' for line in lines if len(line) > 60][:60]
    (folder / "reviews.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_the_pins_name_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.split(r"[\[<>=~! ]", line)[0] for line in wanted} - {project["name"]}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split("\n")
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    assert names <= pinned
    assert "torch==2.13.0" in lines


def test_no_file_names_a_registry_or_a_place_on_a_machine():
    names = (
        subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
        .stdout.decode()
        .split("\0")
    )
    forbidden = re.compile(
        "|".join(["py" + r"pi\.org", "python" + "hosted", "npm" + r"js\.(org|com)", "/wo" + "rk/main"])
    )
    found = []
    for name in filter(None, names):
        file = ROOT / name
        if file.is_file() and file.stat().st_size < 2_000_000:
            match = forbidden.search(file.read_bytes().decode("utf-8", "replace"))
            if match:
                found.append(f"{name}: {match[0]}")
    assert not found
