"""A part of shards as an artifact: how it is published, found again, and compared with the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra_cli.artifacts import Artifact, Draft, Recipe, open_artifact, versions
from electra_cli.artifacts.manifest import parse_json
from electra_cli.artifacts.opening import is_complete, read_manifest
from electra_cli.config import flatten
from electra_cli.errors import ArtifactError

if TYPE_CHECKING:
    from electra_cli.data.parts import Share
    from electra_cli.data.units import PieceRecord

KIND = "shards-part"
_RECORDS = "pieces.json"
_SHOWN = 10  # of a list in a message


@dataclass(frozen=True)
class Contents:
    """What a part says about its pieces, in order, the sha256 of the files that it read, by number, and the corpus."""

    records: list[PieceRecord]
    files: dict[int, str]
    all_pieces: int
    all_files: int


def part_recipe(recipe: Recipe, share: Share) -> Recipe:
    """Return the recipe of one part of what `recipe` would make."""
    return replace(recipe, kind=KIND, config={**recipe.config, "part": share.to_json()})


def publish_part(
    draft: Draft, share: Share, records: Sequence[PieceRecord], *, spec: Mapping[str, Any], files: Mapping[int, str]
) -> Artifact:
    """Publish a part whose files are in the draft; `files` holds the sha256 of what was read, by the files' numbers."""
    body = {"pieces": [asdict(record) for record in records], "files": {str(key): files[key] for key in sorted(files)}}
    draft.write_bytes(_RECORDS, json.dumps(body).encode("ascii"))
    counts = {"pieces": len(records), "all_pieces": share.all_pieces, "files": len(files), "all_files": share.files}
    characters = sum(record.characters for record in records)
    provenance = {"corpus": {"files": len(files), "characters": characters}}
    return draft.publish(spec={**spec, "part": counts}, provenance=provenance)


def read_part(part: Artifact) -> Contents:
    """Return what a part says about its pieces; ArtifactError if that is damaged or not what a part holds."""
    from electra_cli.data.units import record_of

    path = part.check_file(_RECORDS)
    try:
        body = parse_json(path.read_bytes())
        records = [record_of(record) for record in body["pieces"]]
        files = {int(number): str(sha256) for number, sha256 in body["files"].items()}
        whole = int(part.spec["part"]["all_pieces"]), int(part.spec["part"]["all_files"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(
            f"does not describe pieces ({error!r})",
            code="BAD_PART",
            where=str(path),
            hint=f"remove {part.path} and run again the command that made it",
        ) from error
    return Contents(records, files, *whole)


def find_parts(places: Sequence[Path | str]) -> list[Artifact]:
    """Return the parts at `places`, by number: each a part, a line of versions of parts, or a folder that holds such.

    Of a line whose versions are parts of one run all count, else the newest. Raises ArtifactError where there is none,
    where something else was named, and where a part is there twice.
    """
    found: dict[int, Artifact] = {}
    for artifact in (artifact for place in places for artifact in _at(place)):
        number = _number(artifact)
        if number in found and found[number].path.resolve() != artifact.path.resolve():
            raise ArtifactError(
                f"is part {number}, and so is {found[number].path}",
                code="PART_TWICE",
                where=str(artifact.path),
                hint="name each part once",
            )
        found[number] = artifact
    return [found[number] for number in sorted(found)]


def check_parts(parts: Sequence[Artifact]) -> None:
    """Raise ArtifactError unless `parts` belong together and none is missing."""
    first = parts[0]
    for part in parts[1:]:
        check_alike(first, part)
    of = _part(first)["of"]
    missing = sorted(set(range(1, of + 1)) - {_number(part) for part in parts})
    if missing:
        shown = ", ".join(f"{number}/{of}" for number in missing[:_SHOWN])
        raise ArtifactError(
            f"{len(missing)} of {of} parts {'is' if len(missing) == 1 else 'are'} missing: {shown}"
            + (", …" if len(missing) > _SHOWN else ""),
            code="PARTS_MISSING",
            where=str(first.path.parent.parent),
            hint=f"run electra shard … --part {missing[0]}/{of} (it continues where it was), then this again",
        )


def check_alike(one: Artifact, other: Artifact) -> None:
    """Raise ArtifactError, naming what differs, unless two parts can be of one run."""
    mine, theirs = _identity(one), _identity(other)
    differing = [key for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)]
    if differing:
        shown = [
            "the list of files, or their sizes"
            if key == "part.plan"
            else f"{key} {theirs.get(key)} and {mine.get(key)}"
            for key in differing[:_SHOWN]
        ]
        raise ArtifactError(
            f"does not belong to {one.path}: {'; '.join(shown)}",
            code="PARTS_DIFFER",
            where=str(other.path),
            hint="make all parts with the same command but for --part and --out",
        )


def _at(place: Path | str) -> list[Artifact]:
    path = Path(place)
    if is_complete(path) or not path.is_dir():
        return [open_artifact(place, kinds={KIND})]
    line = _line(path)
    if line:
        return line
    lines = [child for child in sorted(path.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    found = [part for child in lines for part in _line(child)]
    if not found:
        found = [open_artifact(place, kinds={KIND})]  # says what is there instead
    return found


def _line(path: Path) -> list[Artifact]:
    """Return the parts of a line: its newest version, and the others of the same run; none if it holds no parts."""
    complete = [path] if is_complete(path) else [version for version in versions(path) if is_complete(version)]
    if not complete or read_manifest(complete[-1]).kind != KIND:
        return []
    newest = open_artifact(complete[-1])
    found = {_number(newest): newest}
    for version in reversed(complete[:-1]):
        part = open_artifact(version)
        if _identity(part) == _identity(newest):
            found.setdefault(_number(part), part)
    return list(found.values())


def _part(artifact: Artifact) -> dict[str, Any]:
    part = artifact.manifest.config.get("part")
    numbers = [part.get(key) for key in ("number", "of")] if isinstance(part, dict) else []
    if isinstance(part, dict) and all(type(number) is int for number in numbers) and 1 <= part["number"] <= part["of"]:
        return part
    raise ArtifactError("is no part of shards: its recipe names none", code="BAD_PART", where=str(artifact.path))


def _number(artifact: Artifact) -> int:
    return int(_part(artifact)["number"])


def _identity(artifact: Artifact) -> dict[str, Any]:
    """Return what the parts of one run have in common, flat."""
    manifest = artifact.manifest
    config = {key: value for key, value in flatten(manifest.config) if key != "part.number"}
    inputs = {item.role: item.content_id for item in manifest.inputs if item.kind != "text"}
    return {**config, **inputs, "electra shard's version": manifest.stage_version}
