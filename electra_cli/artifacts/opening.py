"""Find an artifact and check it before anything of it is used."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_cli.artifacts.manifest import MANIFEST, ROW_KINDS, RUN, FileRecord, InputRef, Manifest, parse_manifest
from electra_cli.artifacts.storage import check_regular, open_regular, storage_errors, unsafe
from electra_cli.errors import ArtifactError

MAX_MANIFEST_BYTES = 64 * 1024 * 1024  # a quarter of a million files; more is not one of ours
_VERSION = re.compile(r"v([1-9][0-9]{0,8})\Z")
_SLASH = re.compile("/")
_AT = re.compile(r"(.+)@(v[1-9][0-9]{0,8})\Z", re.DOTALL)


@dataclass(frozen=True)
class Artifact:
    """One complete, immutable artifact: where it lies and what its manifest says."""

    path: Path
    manifest: Manifest

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.manifest.kind

    @property
    def content_id(self) -> str:
        """`sha256:…` of what it contains."""
        return self.manifest.content_id

    @property
    def spec(self) -> dict[str, Any]:
        """What consumers need to know: special ids, label map, architecture."""
        return self.manifest.spec

    def ref(self, role: str) -> InputRef:
        """Return the reference by which a recipe names this artifact as its input."""
        return InputRef(role=role, kind=self.kind, content_id=self.content_id, location=self.path.absolute())

    def record(self, name: str) -> FileRecord:
        """Return the manifest's entry of file `name`; ArtifactError (`MISSING_FILE`) if it lists none."""
        if (record := self.manifest.records.get(name)) is None:
            raise ArtifactError(
                f"has no file {name}",
                code="MISSING_FILE",
                where=str(self.path),
                hint=f"electra inspect {self.path} lists its files",
            )
        return record

    def file(self, name: str) -> Path:
        """Return the path of file `name`: listed, inside, a plain file of the recorded size (else ArtifactError)."""
        return Path(self._checked(self.record(name), set()))

    def check_file(self, name: str) -> Path:
        """Return the path of file `name` after comparing its sha256 with the manifest's (`HASH_MISMATCH`)."""
        record = self.record(name)
        path = Path(self._checked(record, set()))
        with storage_errors(path), open(open_regular(path, links=self.kind in ROW_KINDS), "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != record.sha256:
            raise ArtifactError(
                f"the contents changed: expected sha256 {record.sha256}, got {found}",
                code="HASH_MISMATCH",
                where=str(path),
                hint=f"restore the file, or remove {self.path} and run again the command that made it",
            )
        return path

    def check_sizes(self) -> None:
        """Raise ArtifactError unless every listed file is there, inside, plain, and of the recorded size."""
        folders: set[str] = set()
        for record in self.manifest.files:
            self._checked(record, folders)

    def _checked(self, record: FileRecord, folders: set[str]) -> str:
        """Check names and size of one file; `folders` remembers the ones that are known to be plain folders.

        Strings and not paths: a terabyte of shards has files by the ten thousand, and `Path` took most of the time.
        """
        root = os.fspath(self.path)
        path = f"{root}/{record.path}"
        damaged = f"restore the file, or remove {self.path} and run again the command that made it"
        try:
            for end in (match.start() for match in _SLASH.finditer(record.path)):
                folder = f"{root}/{record.path[:end]}"
                if folder not in folders:
                    if not stat.S_ISDIR(os.lstat(folder).st_mode):
                        raise unsafe(Path(folder), "a link or a special file")
                    folders.add(folder)
            status = os.lstat(path)
        except FileNotFoundError as error:
            raise ArtifactError("the file is missing", code="MISSING_FILE", where=path, hint=damaged) from error
        except OSError as error:
            raise ArtifactError(
                f"cannot be read: {error.strerror}", code="UNREADABLE", where=path, hint=damaged
            ) from error
        check_regular(path, status, links=self.kind in ROW_KINDS)
        if status.st_size != record.bytes:
            raise ArtifactError(
                f"{status.st_size} bytes, the manifest says {record.bytes}",
                code="SIZE_MISMATCH",
                where=path,
                hint=damaged,
            )
        return path


def versions(out: Path) -> list[Path]:
    """Return the version folders of `out` by number, the unfinished included; none if there is no `out`."""
    try:
        names = os.listdir(out)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", code="UNREADABLE", where=str(out)) from error
    found = sorted((int(match[1]), match[0]) for match in map(_VERSION.match, names) if match)
    return [out / name for _, name in found if (out / name).is_dir()]


def children(folder: Path) -> list[Path]:
    """Return the complete artifacts that lie directly in `folder`, numbers in their names compared as numbers."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []

    def key(name: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", name)]

    return [folder / name for name in sorted(names, key=key) if not name.startswith(".") and is_complete(folder / name)]


def is_complete(folder: Path) -> bool:
    """Whether `folder` has a manifest (which says nothing about whether it is a good one)."""
    return os.path.lexists(folder / MANIFEST)


def open_artifact(where: Path | str, *, kinds: Collection[str] | None = None, hashes: bool = True) -> Artifact:
    """Open and check the artifact at `where`: a line of versions (its newest), `DIR@v1`, `DIR/v1`, or a nested one.

    Args:
        where: the path as the user gave it.
        kinds: what would be right here; None for any.
        hashes: compare every file's sha256 (never done for shards and their parts: who reads them calls `check_file`
            at first opening).

    Raises ArtifactError: missing, damaged, unsafe, too new, or of another kind.
    """
    path = locate(where)
    artifact = Artifact(path, read_manifest(path))
    if kinds is not None and artifact.kind not in kinds:
        raise ArtifactError(
            f"is a {artifact.kind}, expected {' or '.join(sorted(kinds))}",
            code="WRONG_KIND",
            where=str(path),
            hint="electra merge brings all parts together as shards"
            if artifact.kind == "shards-part"
            else f"electra inspect {path} tells what it is",
        )
    artifact.check_sizes()
    if hashes and artifact.kind not in ROW_KINDS:
        for record in artifact.manifest.files:
            artifact.check_file(record.path)
    return artifact


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of the artifact in `folder`; its files are not looked at."""
    path = folder / MANIFEST
    incomplete = "the artifact is damaged; restore it or make it again"
    try:
        handle = open_regular(path)
        with open(handle, "rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError as error:
        raise ArtifactError(
            "has no manifest.json: not a complete artifact", code="ARTIFACT_INCOMPLETE", where=str(folder)
        ) from error
    except OSError as error:
        raise ArtifactError(
            f"cannot be read: {error.strerror}", code="ARTIFACT_INCOMPLETE", where=str(path), hint=incomplete
        ) from error
    if not data or len(data) > MAX_MANIFEST_BYTES:
        what = "is larger than any manifest" if data else "the manifest is empty"
        raise ArtifactError(what, code="ARTIFACT_INCOMPLETE", where=str(path), hint=incomplete)
    return parse_manifest(data, str(path))


def locate(where: Path | str) -> Path:
    """Return the folder of the complete artifact that `where` means; raises ArtifactError if there is none."""
    text = os.fspath(where)
    path = Path(text)
    if not text or "\0" in text:
        raise ArtifactError(
            "not a path", code="ARTIFACT_NOT_FOUND", where=repr(text), hint="give the artifact's folder"
        )
    if not os.path.exists(path) and (match := _AT.match(text)):
        path = Path(match[1]) / match[2]
        if not os.path.exists(path) and versions(Path(match[1])):
            known = ", ".join(version.name for version in versions(Path(match[1])))
            raise ArtifactError(
                f"has no version {match[2]}", code="ARTIFACT_NOT_FOUND", where=match[1], hint=f"there are: {known}"
            )
    if not os.path.exists(path):
        raise ArtifactError("no such artifact", code="ARTIFACT_NOT_FOUND", where=text, hint="check the path")
    if not path.is_dir():
        raise ArtifactError(
            "is a file, not an artifact", code="NOT_AN_ARTIFACT", where=text, hint="give the artifact's folder"
        )
    if is_complete(path):
        return path
    for version in reversed(versions(path)):
        if is_complete(version):
            return version
    raise _none_complete(path)


def _none_complete(path: Path) -> ArtifactError:
    unfinished = [version for version in (*versions(path), path) if (version / RUN).exists()]
    for run in reversed(unfinished):
        for folder in sorted(child for child in run.iterdir() if child.is_dir()):
            if nested := children(folder):
                return ArtifactError(
                    "the run has not finished",
                    code="ARTIFACT_INCOMPLETE",
                    where=str(run),
                    hint=f"run its command again to finish it, or use its newest checkpoint: {nested[-1]}",
                )
    if unfinished or any(path.glob(".v*.partial")):
        return ArtifactError(
            "nothing complete here yet: the run that writes it has not finished",
            code="ARTIFACT_INCOMPLETE",
            where=str(path),
            hint="run its command again; it continues",
        )
    return ArtifactError(
        "not an artifact: no manifest.json and no versions",
        code="ARTIFACT_INCOMPLETE",
        where=str(path),
        hint="give a folder that one of the electra commands made",
    )
