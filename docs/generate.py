"""Write the part of docs/reference that the code already knows: commands, settings, exit codes.

`python docs/generate.py` writes the pages, `--check` fails where they are not current (the tests do the same).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import tomllib
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from electra_cli import errors  # noqa: E402
from electra_cli.cli.main import COMMANDS, build  # noqa: E402
from electra_cli.config import Settings  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
NOTICE = "<!-- Written by docs/generate.py from the code; `make docs` renews it. -->"
PRESETS = ROOT / "electra_cli" / "presets"


@dataclass(frozen=True)
class Command:
    """One command: its name as typed behind `electra`, its function, its parsed form."""

    name: str
    function: Any
    parsed: Any


@dataclass(frozen=True)
class Setting:
    """One setting of a stage: dotted key, readable type, default, description, whether it shapes the result."""

    key: str
    kind: str
    default: Any
    description: str
    shapes: bool


def commands() -> list[Command]:
    """Every command in the order of the table in `cli.main`."""
    import typer

    root: Any = typer.main.get_command(build())
    found = []
    for name, module, function in COMMANDS:
        parsed = root
        for word in name.split():
            parsed = parsed.commands.get(word) if parsed is not None else None
        if parsed is None:  # `build` passes over a command whose module is not there
            continue
        found.append(Command(name, getattr(importlib.import_module(module), function), parsed))
    return found


def root_options() -> list[Any]:
    """The options of `electra` itself."""
    import typer

    return list(typer.main.get_command(build()).params)


def settings_of(command: Command) -> list[type[Settings]]:
    """The settings classes that the command's source hands to `resolve`; none for a command without settings."""
    module = importlib.import_module(command.function.__module__)
    imported: dict[str, tuple[str, str]] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("electra_cli.stages"):
            imported |= {alias.asname or alias.name: (str(node.module), alias.name) for alias in node.names}
    found: list[type[Settings]] = []
    for node in ast.walk(ast.parse(inspect.getsource(command.function))):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "resolve"):
            continue
        schema = node.args[0]
        if isinstance(schema, ast.Attribute) and isinstance(schema.value, ast.Name):
            parent, name = imported[schema.value.id]
            found.append(getattr(importlib.import_module(f"{parent}.{name}"), schema.attr))
        elif isinstance(schema, ast.Name):
            parent, name = imported[schema.id]
            found.append(getattr(importlib.import_module(parent), name))
    return found


def settings_in(schema: type[Settings], prefix: str = "", shapes: bool = True) -> Iterator[Setting]:
    """Yield the leaves of a tree of settings."""
    for name, info in schema.model_fields.items():
        extra = info.json_schema_extra
        mine = shapes and not (isinstance(extra, dict) and extra.get("shapes") is False)
        if isinstance(info.annotation, type) and issubclass(info.annotation, Settings):
            yield from settings_in(info.annotation, f"{prefix}{name}.", mine)
        else:
            kind, none = _kind(info.annotation)
            kind += "".join(_constraint(item) for item in info.metadata) + (", or none" if none else "")
            yield Setting(f"{prefix}{name}", kind, info.get_default(), info.description or "", mine)


def presets_of(schema: type[Settings]) -> dict[str, dict[str, Any]]:
    """The presets of a stage, smallest model first: name → dotted key → value."""
    if schema.preset_folder is None:
        return {}
    found = {}
    for file in sorted((PRESETS / schema.preset_folder).glob("*.toml")):
        found[file.stem] = dict(_leaves(tomllib.loads(file.read_text(encoding="utf-8"))))
    order = ["tiny", "small", "base", "large"]
    return dict(sorted(found.items(), key=lambda item: [*order, item[0]].index(item[0])))


def cli_page() -> str:
    """`cli.md`: every command, argument and option."""
    parts = [
        NOTICE,
        "# Commands",
        "stdout is the product, stderr the conversation: a stage prints the path of what it made and nothing else "
        "there, so `tok=$(electra tokenize …)` works. The [exit codes](exit-codes.md) are public; the keys of `--set` "
        "and `--config` are in [settings](settings.md).",
        "\n".join(f"- [`electra {c.name}`](#{_anchor(c.name)}) – {_first_line(c.parsed.help)}" for c in commands()),
        "## electra",
        "Options before the command.",
        _options_table(root_options(), None),
    ]
    for command in commands():
        given = [p for p in command.parsed.params if p.param_type_name == "argument"]
        options = [p for p in command.parsed.params if p.param_type_name != "argument"]
        words = " ".join(_word(p) for p in given)
        parts += [f"## electra {command.name}", f"`electra {command.name} {words}`".replace(" `", "`")]
        parts.append(_paragraphs(command.parsed.help))
        if given:
            rows = [(f"`{_word(p)}`", p.help or "") for p in given]
            parts.append(_table(("argument", "meaning"), rows))
        parts.append(_options_table(options, command.function))
        if settings_of(command):
            parts.append(f"Settings: [`electra {command.name}`](settings.md#{_anchor(command.name)}).")
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """`settings.md`: every setting of every stage."""
    parts = [
        NOTICE,
        "# Settings",
        "Everything that a command does can be set by `--set key=value` or in a TOML file given with `--config`. The "
        "later wins: defaults, `--preset`, `--config`, `--set`, the command's own options. `--print-config` shows the "
        "result and each value's source. Settings marked ° do not shape the result: changing one of them does not make "
        "a new version.",
    ]
    shown: dict[type[Settings], str] = {}
    for command in commands():
        schemas = settings_of(command)
        if schemas:
            parts.append(f"## electra {command.name}")
        for schema in schemas:
            if schema in shown:
                parts.append(f"The same as [`electra {shown[schema]}`](#{_anchor(shown[schema])}).")
                continue
            shown[schema] = command.name
            parts += _settings_section(schema, makes=any(p.name == "out" for p in command.parsed.params))
    return "\n\n".join(parts) + "\n"


def _settings_section(schema: type[Settings], *, makes: bool) -> list[str]:
    parts = [_paragraphs(inspect.getdoc(schema))]
    presets = presets_of(schema)
    if presets:
        parts.append(f"Presets: {', '.join(f'`{name}`' for name in presets)}. A blank cell is the default.")
    rows = []
    for item in settings_in(schema):
        values = [f"`{_value(p[item.key])}`" if item.key in p else "" for p in presets.values()]
        mark = " °" if makes and not item.shapes else ""
        rows.append(
            (f"`{item.key}`{mark}", item.kind, f"`{_value(item.default)}`", *values, _sentence(item.description))
        )
    return [*parts, _table(("key", "type", "default", *presets, "meaning"), rows)]


def exit_codes_page() -> str:
    """`exit-codes.md`: exit codes, and the error codes that come with them."""
    meanings = {0: "Done, or up to date: there was nothing to do.", 1: "A bug of ours; the traceback is on stderr."}
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ElectraError) and value is not errors.ElectraError
    }
    for value in classes.values():
        text = _first_line(inspect.getdoc(value))
        meanings[int(value.exit_code)] = text.partition(" (exit")[0].rstrip(".") + "."
    meanings |= {
        130: "Interrupted by Ctrl-C (SIGINT) where there was nothing to save.",
        141: "Whoever read our output closed it (SIGPIPE), as in `electra inspect … | head -1`.",
        143: "Ended by SIGTERM where there was nothing to save.",
    }
    rows = [(f"`{code}`", meanings[code]) for code in sorted(meanings)]
    codes: dict[int, set[str]] = {}
    for file in sorted((ROOT / "electra_cli").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (raised := classes.get(getattr(node.func, "id", ""))):
                for keyword in node.keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                        codes.setdefault(int(raised.exit_code), set()).add(str(keyword.value.value))
    return (
        "\n\n".join(
            [
                NOTICE,
                "# Exit codes",
                "They are public: scripts may rely on them. `75` means that everything is saved and the same command "
                "continues.",
                _table(("code", "meaning"), rows),
                "## Error codes",
                'With `--json` a failure is one object on stdout: `{"ok": false, "error": {"code": …, "message": …, '
                '"where": …, "hint": …, "exit_code": …}}`. The codes, by exit code:',
                _table(
                    ("exit code", "error codes"),
                    [
                        (f"`{code}`", ", ".join(f"`{name}`" for name in sorted(names)))
                        for code, names in sorted(codes.items())
                    ],
                ),
            ]
        )
        + "\n"
    )


PAGES = {"cli.md": cli_page, "settings.md": settings_page, "exit-codes.md": exit_codes_page}


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` say which are not current."""
    stale = []
    for name, page in PAGES.items():
        file, text = REFERENCE / name, page()
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            if arguments != ["--check"]:
                REFERENCE.mkdir(exist_ok=True)
                file.write_text(text, encoding="utf-8")
    if arguments == ["--check"] and stale:
        print(f"not current: {', '.join(f'docs/reference/{name}' for name in stale)}; run `make docs`", file=sys.stderr)
        return 1
    print(f"docs/reference: {len(stale)} of {len(PAGES)} pages written" if stale else "docs/reference: all current")
    return 0


def _options_table(options: list[Any], function: Any) -> str:
    rows = []
    for option in options:
        names = " ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        value = "" if option.is_flag else f"`{option.metavar or _annotation(function, option.name)}`"
        notes = ["required"] if option.required else []
        if option.show_default and not option.required and not option.is_flag and option.default is not None:
            notes.append(f"default `{option.default}`")
        text = option.help or ""
        rows.append((names, value, text + (f" ({', '.join(notes)})" if notes else "")))
    return _table(("option", "value", "meaning"), rows)


def _word(argument: Any) -> str:
    word = str(argument.metavar or argument.name.upper())
    return word if argument.required or word.startswith("[") else f"[{word}]"


def _sentence(text: str) -> str:
    """A description with a capital and a full stop, however its stage wrote it."""
    first = text.partition(" ")[0].strip(",;:")
    named = "_" in first or "`" in first or first in ("auto", "cpu", "cuda", "fp32", "bf16", "hf")
    capital = text if named else text[:1].upper() + text[1:]
    return capital if capital.endswith((".", "!", "?")) or not capital else f"{capital}."


def _annotation(function: Any, name: str) -> str:
    """The type of a parameter as a metavar: INTEGER, NUMBER, TEXT, PATH."""
    hint: Any = inspect.signature(function, eval_str=True).parameters[name].annotation
    while typing.get_origin(hint) is not None:
        hint = next(item for item in typing.get_args(hint) if item is not type(None))
    return {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}.get(hint, "VALUE")


def _kind(annotation: Any) -> tuple[str, bool]:
    """A type as a reader calls it, and whether None is allowed."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{item}`" for item in inner), False
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_kind(item)[0] for item in inner if item is not type(None)), type(None) in inner
    if origin in (list, tuple):
        return f"list of {_kind(inner[0])[0]}s", False
    if origin is typing.Annotated:
        return _kind(inner[0])[0] + "".join(_constraint(item) for item in inner[1:]), False
    names = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}
    return names.get(annotation, str(annotation)), False


def _constraint(item: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for name, sign in signs.items():
        if (bound := getattr(item, name, None)) is not None:
            return f" {sign} {_bound(bound)}"
    return ""


def _bound(value: float) -> str:
    if isinstance(value, int) and value >= 2**31 and value & (value - 1) == 0:
        return f"2^{value.bit_length() - 1}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _anchor(command: str) -> str:
    return f"electra-{command.replace(' ', '-')}"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n") if part.strip())


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
