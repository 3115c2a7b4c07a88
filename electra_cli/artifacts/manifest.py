"""What an artifact says about itself: the manifest, the recipe, and the two ids.

A manifest comes from disk, and perhaps from a stranger: everything in it is checked before anything is believed, and
no name in it may lead outside its directory.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from electra_cli.errors import ArtifactError

KINDS = ("tokenizer", "shards-part", "shards", "checkpoint", "model", "export")
"""The kinds of artifact, in the order in which the stages make them."""

FORMAT_VERSIONS: Mapping[str, int] = {
    "tokenizer": 1,
    "shards-part": 1,
    "shards": 1,
    "checkpoint": 1,
    "model": 1,
    "export": 1,
}
"""The newest format of each kind that this version reads, and the one that it writes."""

ROW_KINDS = frozenset({"shards", "shards-part"})
"""Kinds that hold rows. Merged shards may share their large files with their parts, as hard links."""

UPGRADES: Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""(kind, format version) → a pure function to the next version, applied in memory; the file stays as it is."""

MANIFEST = "manifest.json"
RECIPE = "recipe.json"  # in a staging directory: whose work it holds
RUN = "run.json"  # in a growing run: the same
RESERVED = frozenset({MANIFEST, RECIPE, RUN})

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_ID = re.compile(r"sha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact: its relative path, size in bytes, sha256; rows and tokens where the kind counts them."""

    path: str
    bytes: int
    sha256: str
    rows: int | None = None
    tokens: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as the manifest writes it."""
        counts = {"rows": self.rows, "tokens": self.tokens}
        return {"path": self.path, "bytes": self.bytes, "sha256": self.sha256} | {
            name: count for name, count in counts.items() if count is not None
        }


@dataclass(frozen=True)
class InputRef:
    """What a stage read: its role there, its kind (`text` for raw input), its content id.

    `location` is where it lay when it was read: a hint for `lineage`, in no id and no comparison.
    """

    role: str
    kind: str
    content_id: str
    location: Path | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, str]:
        """Return it as the manifest writes it (without the location)."""
        return {"role": self.role, "kind": self.kind, "content_id": self.content_id}


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a result, known before the stage runs.

    Args:
        kind: one of `KINDS`.
        stage: the stage's name.
        stage_version: raised when the stage's code starts to give another result for the same settings.
        config: the settings that shape the result (`config.shaping`).
        inputs: what is read, by content.
        execution: the settings that do not shape the result (`config.execution`): recorded in the provenance only.
    """

    kind: str
    stage: str
    stage_version: int
    config: Mapping[str, Any]
    inputs: tuple[InputRef, ...]
    execution: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recipe_id(self) -> str:
        """`sha256:…` over everything but `execution`."""
        return recipe_id_of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the part that shapes the result."""
        return {
            "kind": self.kind,
            "stage": self.stage,
            "stage_version": self.stage_version,
            "config": jsonable(self.config),
            "inputs": [reference.to_json() for reference in self.inputs],
        }


@dataclass(frozen=True)
class Manifest:
    """A parsed and checked `manifest.json`; `logs` names files that are kept but belong to no id."""

    kind: str
    format_version: int
    stage: str
    stage_version: int
    recipe_id: str
    content_id: str
    config: dict[str, Any]
    inputs: tuple[InputRef, ...]
    files: tuple[FileRecord, ...]
    spec: dict[str, Any]
    provenance: dict[str, Any]
    logs: tuple[str, ...] = ()

    @cached_property
    def records(self) -> Mapping[str, FileRecord]:
        """The files by their paths."""
        return {record.path: record for record in self.files}

    def to_json(self) -> dict[str, Any]:
        """Return it as `manifest.json` holds it."""
        return {
            "kind": self.kind,
            "format_version": self.format_version,
            "stage": self.stage,
            "stage_version": self.stage_version,
            "recipe_id": self.recipe_id,
            "content_id": self.content_id,
            "config": self.config,
            "inputs": [reference.to_json() for reference in self.inputs],
            "files": [record.to_json() for record in self.files],
            "spec": self.spec,
            "logs": list(self.logs),
            "provenance": self.provenance,
        }


def jsonable(value: Any) -> Any:
    """Return `value` as JSON gives it back (tuples as lists); TypeError or ValueError where JSON would alter it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place in JSON")
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys must be strings")
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def fingerprint(value: Any) -> str:
    """Return `sha256:…` over the canonical JSON of `value` (sorted keys, no spaces, ASCII)."""
    return _digest(jsonable(value))


def _digest(value: Any) -> str:
    """The fingerprint of what is in JSON form already."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def recipe_id_of(body: Mapping[str, Any]) -> str:
    """Return the recipe id of a manifest or recipe in JSON form."""
    return _digest({key: body[key] for key in ("kind", "stage", "stage_version", "config", "inputs")})


def content_id_of(body: Mapping[str, Any]) -> str:
    """Return the content id of a manifest in JSON form: kind, format, spec and files, in order of their paths."""
    files = sorted(body["files"], key=lambda record: str(record["path"]))
    return _digest({**{key: body[key] for key in ("kind", "format_version", "spec")}, "files": files})


def check_name(name: str) -> str:
    """Return `name` if it is a safe relative path of an artifact's file, else raise ValueError saying why.

    Safe is an allow-list: ASCII letters, digits and `_.+=@-`, components that do not start with a dot, joined by `/`.
    So there is no way up, no absolute path, no NUL or backslash, and no name that file systems disagree about.
    """
    if not name or len(name) > 1024:
        raise ValueError("empty or too long a path")
    for component in name.split("/"):
        if not _COMPONENT.match(component) or len(component) > 200:
            raise ValueError(f"unsafe path {name!r}")
    if name.split("/")[-1] in RESERVED:
        raise ValueError(f"reserved name {name!r}")
    return name


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError unless all `names` are safe and different (letter case ignored), none a folder of another."""
    spelling: dict[str, str] = {}
    folders: set[str] = set()
    files: set[str] = set()
    for name in names:
        check_name(name)
        if name.casefold() in files:
            raise ValueError(f"duplicate path {name!r}")
        files.add(name.casefold())
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            if spelling.setdefault(prefix.casefold(), prefix) != prefix:
                raise ValueError(f"paths {spelling[prefix.casefold()]!r} and {prefix!r} differ in letter case only")
            if depth < len(parts):
                folders.add(prefix.casefold())
    if clash := files & folders:
        raise ValueError(f"{min(clash)!r} is both a file and a folder")


def parse_json(data: bytes) -> Any:
    """Parse JSON, refusing what Python's parser lets through: duplicate keys, NaN, bottomless nesting (ValueError)."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(items)
        if len(table) != len(items):
            raise ValueError("duplicate key")
        return table

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Parse and check the bytes of a manifest found at `where`; raises ArtifactError.

    The order matters: a newer format is recognised before its unknown contents are judged, and the ids are compared
    with the file's own form before an older form is upgraded.
    """
    try:
        body = parse_json(data)
        _check_format(body, where)
        _check_types(body)
    except ValueError as error:
        raise ArtifactError(
            f"the manifest is not valid: {error}",
            code="ARTIFACT_INCOMPLETE",
            where=where,
            hint="the artifact is damaged or was edited; restore it or make it again",
        ) from error
    _check_paths(body, where)
    for name, stated, found in (
        ("content", body["content_id"], content_id_of(body)),
        ("recipe", body["recipe_id"], recipe_id_of(body)),
    ):
        if stated != found:
            raise ArtifactError(
                f"the manifest was edited: its {name} id says {stated}, its contents give {found}",
                code="CONTENT_MISMATCH",
                where=where,
                hint="restore the artifact or make it again",
            )
    for version in range(body["format_version"], FORMAT_VERSIONS[body["kind"]]):
        body = UPGRADES[body["kind"], version](body)
    return Manifest(
        **{
            **body,
            "inputs": tuple(InputRef(**reference) for reference in body["inputs"]),
            "files": tuple(FileRecord(**record) for record in body["files"]),
            "logs": tuple(body["logs"]),
        }
    )


def _check_format(body: Any, where: str) -> None:
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    kind, version = body.get("kind"), body.get("format_version")
    if not isinstance(kind, str) or type(version) is not int or version < 1:
        raise ValueError("kind or format_version is missing or of the wrong type")
    provenance = body.get("provenance")
    writer = provenance.get("electra") if isinstance(provenance, dict) else None
    if kind not in FORMAT_VERSIONS or version > FORMAT_VERSIONS[kind]:
        known = f"reads up to {FORMAT_VERSIONS[kind]}" if kind in FORMAT_VERSIONS else "does not know this kind"
        needed = f"electra {writer} or newer" if isinstance(writer, str) else "a newer electra"
        raise ArtifactError(
            f"{kind!r} of format {version}: this electra {known}",
            code="FORMAT_TOO_NEW",
            where=where,
            hint=f"install {needed}",
        )


_TYPES: Mapping[str, type] = {
    "kind": str,
    "format_version": int,
    "stage": str,
    "stage_version": int,
    "recipe_id": str,
    "content_id": str,
    "config": dict,
    "inputs": list,
    "files": list,
    "spec": dict,
    "logs": list,
    "provenance": dict,
}


def _check_types(body: dict[str, Any]) -> None:
    _check_keys(body, _TYPES, required=_TYPES, what="the manifest")
    for record in body["files"]:
        kinds = {"path": str, "bytes": int, "sha256": str, "rows": int, "tokens": int}
        _check_keys(record, kinds, required=("path", "bytes", "sha256"), what="an entry of files")
        if not _SHA256.match(record["sha256"]) or any(record.get(key, 0) < 0 for key in ("bytes", "rows", "tokens")):
            raise ValueError(f"the entry of {record['path']!r} has an impossible value")
    for reference in body["inputs"]:
        kinds = {"role": str, "kind": str, "content_id": str}
        _check_keys(reference, kinds, required=kinds, what="an entry of inputs")
        if not _ID.match(reference["content_id"]):
            raise ValueError("an input's content_id is not a sha256")
    if not _ID.match(body["content_id"]) or not _ID.match(body["recipe_id"]):
        raise ValueError("an id is not a sha256")
    if not all(isinstance(name, str) for name in body["logs"]):
        raise ValueError("logs is not a list of names")


def _check_keys(table: Any, types: Mapping[str, type], *, required: Any, what: str) -> None:
    if not isinstance(table, dict):
        raise ValueError(f"{what} is not an object")
    for key in required:
        if key not in table:
            raise ValueError(f"{what} lacks {key!r}")
    for key, value in table.items():
        if key not in types:
            raise ValueError(f"{what} has an unknown key {key!r}")
        if type(value) is not types[key]:  # exact: True is no number here
            raise ValueError(f"{key!r} of {what} is of the wrong type")


def _check_paths(body: dict[str, Any], where: str) -> None:
    try:
        check_names([record["path"] for record in body["files"]] + body["logs"])
    except ValueError as error:
        raise ArtifactError(
            f"the manifest names a file that no artifact may have: {error}",
            code="UNSAFE_PATH",
            where=where,
            hint="do not use this artifact; nothing was read from it",
        ) from error
