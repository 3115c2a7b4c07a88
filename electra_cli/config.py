"""Settings: strict models, resolved once from defaults, a preset, a file, `--set` and flags.

Each stage has a tree of `Settings`; each field says what it is, its unit and range, and where a value comes from.
An unknown key is an error that names its full path and the nearest known one; all problems are told at once.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from electra_cli.errors import UsageError

MAX_FILE_BYTES = 1024 * 1024  # a settings file of more than 1 MiB is something else


class Settings(BaseModel):
    """A table of settings: frozen, every key known, every value of its exact type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )

    preset_folder: ClassVar[str | None] = None
    """The folder under `electra_cli/presets` that holds this stage's presets; None where there are none."""


S = TypeVar("S", bound=Settings)
S_co = TypeVar("S_co", bound=Settings, covariant=True)


def setting(default: Any, description: str, *, shapes: bool = True, **constraints: Any) -> Any:
    """Declare one setting.

    Args:
        default: the value when nobody gives one; `...` demands one.
        description: what it is, unit, range, source in the paper.
        shapes: whether it shapes the result (and so is in the recipe id); False for workers, logging.
        constraints: pydantic's (`ge`, `gt`, `le`, `lt`, `min_length`, `pattern`, …).
    """
    return Field(default, description=description, json_schema_extra={"shapes": shapes}, **constraints)


def table(schema: type[S], description: str, *, shapes: bool = True) -> Any:
    """Declare a nested table of settings with that table's own defaults."""
    return Field(default_factory=schema, description=description, json_schema_extra={"shapes": shapes})


@dataclass(frozen=True)
class Resolved(Generic[S_co]):
    """Settings, and for each dotted key where its value came from: default, preset, file, `--set` or flag."""

    settings: S_co
    sources: dict[str, str]


def resolve(
    schema: type[S],
    *,
    preset: str | None = None,
    file: Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Resolved[S]:
    """Resolve the settings of a stage: defaults < preset < `file` (TOML) < `sets` (`a.b=value`) < `flags`.

    `flags` maps dotted keys to values; None means that the flag was not given. Raises UsageError that lists every
    problem with its full key, its source, and the nearest known key.
    """
    merged = _Merged(schema)
    if preset is not None:
        merged.take_tree(_read_toml(_preset_path(schema, preset)), f"preset {preset}")
    if file is not None:
        merged.take_tree(_read_toml(file), os.fspath(file))
    for text in sets:
        key, value = _parse_set(text)
        merged.take(key, value, "--set")
    for key, value in (flags or {}).items():
        if value is not None:
            merged.take(key, os.fspath(value) if isinstance(value, Path) else value, "flag")
    return merged.resolved()


def shaping(settings: Settings) -> dict[str, Any]:
    """Return the settings that shape the result, nested and ready for JSON."""
    return _half(settings, True)


def execution(settings: Settings) -> dict[str, Any]:
    """Return the settings that do not shape the result (workers, logging), nested and ready for JSON."""
    return _half(settings, False)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of the leaves of nested tables, in their order."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _half(settings: Settings, wanted: bool) -> dict[str, Any]:
    dumped = settings.model_dump(mode="json")
    half: dict[str, Any] = {}
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        extra = info.json_schema_extra
        shapes = not (isinstance(extra, dict) and extra.get("shapes") is False)
        if isinstance(value, Settings) and shapes:
            inner = _half(value, wanted)
            if inner or wanted:
                half[name] = inner
        elif shapes == wanted:
            half[name] = dumped[name]
    return half


@dataclass
class _Merged(Generic[S]):
    """Values collected from all sources, the later over the earlier; problems are kept until all are known."""

    schema: type[S]
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def take_tree(self, tree: Mapping[str, Any], source: str, prefix: str = "") -> None:
        """Take the leaves of nested tables; a table where a value belongs is left to `take` to judge."""
        for key, value in tree.items():
            path = f"{prefix}{key}"
            if isinstance(value, Mapping) and _schema_at(self.schema, path) is not None:
                self.take_tree(value, source, f"{path}.")
            else:
                self.take(path, value, source)

    def take(self, path: str, value: Any, source: str) -> None:
        """Take one value for a dotted key."""
        inner = _schema_at(self.schema, path)
        if inner is not None and isinstance(value, Mapping):
            self.take_tree(value, source, f"{path}.")
        elif inner is not None:
            self.problems.append(f"{path} ({source}): is a table with the keys {', '.join(inner.model_fields)}")
        elif _field_at(self.schema, path) is None:
            self.problems.append(f"{path} ({source}): unknown key{_nearest(self.schema, path)}")
        elif problem := _not_json(value):
            self.problems.append(f"{path} ({source}): {problem}")
            self.refused.add(path)
        else:
            self.values[path] = value
            self.sources[path] = source

    def resolved(self) -> Resolved[S]:
        """Validate the whole and return it; UsageError with all problems."""
        settings: S | None = None
        try:
            # by way of JSON: exact about types as ever, but a list is a tuple where a tuple is wanted
            settings = self.schema.model_validate_json(json.dumps(_nested(self.values)))
        except ValidationError as error:
            errors = error.errors(include_url=False)
            self.problems += [self._explain(item) for item in errors if _dotted(item) not in self.refused]
        if settings is None or self.problems:
            count = len(self.problems)
            raise UsageError(
                self.problems[0] if count == 1 else f"{count} problems:" + "".join(f"\n  {p}" for p in self.problems),
                code="BAD_SETTINGS",
                hint="--print-config shows every key, its value and its source",
            )
        return Resolved(settings, {path: self.sources.get(path, "default") for path in _paths(self.schema)})

    def _explain(self, item: Any) -> str:
        path = _dotted(item)
        parts = path.split(".")
        while parts and ".".join(parts) not in self.sources:
            parts.pop()
        source = self.sources.get(".".join(parts), "default")
        message = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "missing":
            return f"{path}: must be given: --set {path}=…"
        if item["type"] == "value_error" or isinstance(item["input"], Mapping):
            return f"{path}: {message}" if path else message
        given = json.dumps(item["input"], ensure_ascii=False)
        given = given if len(given) <= 80 else given[:77] + "..."
        return f"{path} = {given} ({source}): {message[0].lower()}{message[1:]}"


def _dotted(item: Any) -> str:
    """Return the key of one of pydantic's errors."""
    return ".".join(str(part) for part in item["loc"])


def _not_json(value: Any) -> str | None:
    """Return what is wrong with a value that TOML can hold and a setting cannot, None if nothing."""
    if isinstance(value, Mapping):
        return next((problem for item in value.values() if (problem := _not_json(item))), None)
    if isinstance(value, list | tuple):
        return next((problem for item in value if (problem := _not_json(item))), None)
    if value is None or isinstance(value, str | bool | float):
        return None
    if isinstance(value, int):
        return None if abs(value) < 2**63 else "the number does not fit into 64 bits"
    return f"a setting cannot be a {type(value).__name__}; quote it if it is a text"


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *folders, name = path.split(".")
        inner = tree
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[name] = value
    return tree


def _field_at(schema: type[Settings], path: str) -> FieldInfo | None:
    *folders, name = path.split(".")
    inner: type[Settings] | None = schema
    for folder in folders:
        inner = _schema_at(inner, folder) if inner else None
    return inner.model_fields.get(name) if inner else None


def _schema_at(schema: type[Settings], path: str) -> type[Settings] | None:
    info = _field_at(schema, path)
    annotation = info.annotation if info else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None


def _paths(schema: type[Settings], prefix: str = "") -> Iterator[str]:
    for name, info in schema.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            yield from _paths(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _nearest(schema: type[Settings], path: str) -> str:
    """Return `; did you mean …?`: the same key in another table first, else the nearest spelling."""
    known = list(_paths(schema))
    name = path.rsplit(".", 1)[-1]
    near = [key for key in known if key.rsplit(".", 1)[-1] == name]
    near = near or difflib.get_close_matches(path, known, n=1, cutoff=0.6)
    if not near:
        last = {key.rsplit(".", 1)[-1]: key for key in known}
        near = [last[match] for match in difflib.get_close_matches(name, last, n=1, cutoff=0.6)]
    return f"; did you mean {' or '.join(near[:3])}?" if near else f"; known keys: {', '.join(known[:40])}"


def _preset_path(schema: type[Settings], name: str) -> Path:
    folder = Path(__file__).parent / "presets" / (schema.preset_folder or "")
    known = sorted(path.stem for path in folder.glob("*.toml")) if schema.preset_folder else []
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"unknown preset {name!r}" + (f"; did you mean {near[0]}?" if near else ""),
            code="UNKNOWN_PRESET",
            where="--preset",
            hint=f"there are: {', '.join(known)}" if known else "this stage has no presets",
        )
    return folder / f"{name}.toml"


def _read_toml(path: Path) -> dict[str, Any]:
    where = os.fspath(path)
    hint = "give a TOML file; --print-config prints one to start from"
    try:
        if not path.is_file():
            what = "is not a file" if os.path.lexists(path) else "no such file"
            raise UsageError(what, code="BAD_CONFIG", where=where, hint=hint)
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot be read: {error}", code="BAD_CONFIG", where=where, hint=hint) from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError("is larger than 1 MiB", code="BAD_CONFIG", where=where, hint=hint)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rsplit(b"\n", 1)[-1].decode("utf-8-sig")) + 1
        raise UsageError("is not UTF-8", code="BAD_CONFIG", where=f"{where}:{line}:{column}", hint=hint) from error
    if not text.strip():
        raise UsageError("is empty", code="BAD_CONFIG", where=where, hint=hint)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        message, place = _toml_place(str(error), text)
        raise UsageError(message, code="BAD_CONFIG", where=f"{where}:{place}", hint=hint) from error


def _toml_place(message: str, text: str) -> tuple[str, str]:
    """Return tomllib's message without its place, and the place as line:column."""
    if match := re.search(r" \(at line (\d+), column (\d+)\)$", message):
        return message[: match.start()], f"{match[1]}:{match[2]}"
    lines = text.rstrip("\n").split("\n")
    return re.sub(r" \(at end of document\)$", "", message), f"{len(lines)}:{len(lines[-1]) + 1}"


_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")


def _parse_set(text: str) -> tuple[str, Any]:
    """Split `a.b=value`; the value is TOML where it parses as one value, else the bare text."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not _KEY.match(key):
        raise UsageError(
            f"--set {text!r} is not of the form key=value",
            code="BAD_SETTINGS",
            where="--set",
            hint="for example --set train.steps=1000",
        )
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return key, value
    if set(parsed) != {"value"} or isinstance(parsed["value"], date | time):
        return key, value  # a newline in it opened other keys; no setting is a date
    return key, parsed["value"]
