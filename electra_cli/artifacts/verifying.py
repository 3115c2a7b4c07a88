"""Read everything again and say what is wrong: the thorough check behind `electra verify`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra_cli.artifacts.manifest import RESERVED, RUN
from electra_cli.artifacts.opening import Artifact, children, is_complete, locate, read_manifest, versions
from electra_cli.artifacts.storage import unsafe
from electra_cli.errors import ArtifactError
from electra_cli.reporting import Reporter, Silent


@dataclass(frozen=True)
class Verified:
    """What verifying found out about one artifact; `warnings` (unlisted files) do not make it bad.

    `unfinished` is a growing run without its manifest: not an artifact yet, and nothing wrong with it.
    """

    path: Path
    status: Literal["ok", "damaged", "unfinished"]
    kind: str | None = None
    content_id: str | None = None
    files: int = 0
    bytes: int = 0
    problems: tuple[ArtifactError, ...] = ()
    warnings: tuple[str, ...] = ()


def verify(where: Path | str, *, deep: bool = True, report: Reporter | None = None) -> Iterator[Verified]:
    """Check the artifact at `where`, or each version of a line of versions, and yield one result per artifact.

    With `deep` every file is hashed; without, names and sizes are compared. Nested artifacts (the checkpoints of a
    run) come before the one that holds them. Raises ArtifactError where there is nothing to verify.
    """
    path = Path(where)
    line = [] if is_complete(path) else versions(path)
    if not any(is_complete(version) for version in line):
        line = [locate(where)]
    return _each(line, deep, report or Silent())


def _each(line: list[Path], deep: bool, report: Reporter) -> Iterator[Verified]:
    for path in line:
        for nested in _nested(path):
            yield _one(nested, deep, report)
        if is_complete(path):
            yield _one(path, deep, report)
        elif (path / RUN).exists():
            yield Verified(path, "unfinished")


def _nested(path: Path) -> Iterator[Path]:
    """Yield the complete artifacts somewhere below `path`, in order; links are not followed."""
    yield from children(path)
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        folder = Path(entry.path)
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and not is_complete(folder):
            yield from _nested(folder)


def _one(path: Path, deep: bool, report: Reporter) -> Verified:
    try:
        artifact = Artifact(path, read_manifest(path))
    except ArtifactError as error:
        return Verified(path, "damaged", problems=(error,))
    problems: list[ArtifactError] = []
    size = sum(record.bytes for record in artifact.manifest.files)
    with report.progress(f"verifying {path}", total=size, unit="bytes") as meter:
        for record in artifact.manifest.files:
            try:
                if deep:
                    artifact.check_file(record.path)
                else:
                    artifact.file(record.path)
            except ArtifactError as error:
                problems.append(error)
            meter.advance(record.bytes)
    warnings: list[str] = []
    _look_around(artifact, path, warnings, problems)
    return Verified(
        path,
        "damaged" if problems else "ok",
        artifact.kind,
        artifact.content_id,
        len(artifact.manifest.files),
        size,
        tuple(problems),
        tuple(warnings),
    )


def _look_around(artifact: Artifact, folder: Path, warnings: list[str], problems: list[ArtifactError]) -> None:
    """Compare what lies in the artifact with what it lists; nested artifacts speak for themselves."""
    listed = {record.path for record in artifact.manifest.files} | set(artifact.manifest.logs)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        name = path.relative_to(artifact.path).as_posix()
        if entry.is_symlink():
            if name not in {record.path for record in artifact.manifest.files}:  # those were told already
                problems.append(unsafe(path, "a link inside the artifact"))
        elif entry.is_dir(follow_symlinks=False):
            if not is_complete(path):
                _look_around(artifact, path, warnings, problems)
        elif name not in listed and not (folder == artifact.path and name in RESERVED):
            warnings.append(f"{path} is not listed in the manifest; it is ignored")
