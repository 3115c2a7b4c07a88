"""Where a stage writes: files hashed while they are written, and published all at once or not at all.

The order is the guarantee. Every file is fsynced before it gets its name; the manifest comes last; folders are
fsynced; one rename makes the whole visible; the parent is fsynced. A crash between any two system calls leaves the
old state or the new one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra_cli import __version__
from electra_cli.artifacts.manifest import (
    FORMAT_VERSIONS,
    MANIFEST,
    RECIPE,
    ROW_KINDS,
    RUN,
    FileRecord,
    Manifest,
    Recipe,
    check_name,
    check_names,
    content_id_of,
    jsonable,
)
from electra_cli.artifacts.opening import Artifact, is_complete
from electra_cli.artifacts.storage import check_regular, open_regular, storage_errors, sync_folder, write_durably

if TYPE_CHECKING:
    from typing_extensions import Buffer  # collections.abc has it from Python 3.12 on

_BUFFER = 1024 * 1024


class HashingFile(io.RawIOBase):
    """A binary file that is hashed while it is written; set `rows` and `tokens` on it where the kind counts them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: int | None = None
        self.tokens: int | None = None
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._file = open(path, "wb", buffering=_BUFFER)  # noqa: SIM115 - closed in close()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Write all of `data` and return how many bytes that was."""
        view = memoryview(data)
        if view.nbytes == 0:
            return 0
        view = view.cast("B")
        self._file.write(view)
        self._hash.update(view)
        self.bytes += len(view)
        return len(view)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.bytes

    @property
    def sha256(self) -> str:
        """The hash of what was written so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Make what was written durable and close; harmless when done twice (Arrow's writers close their sink)."""
        if self.closed:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            super().close()
            with suppress(OSError):  # after a failed flush it tries, and fails, once more
                self._file.close()


@dataclass
class Draft:
    """A staging folder of one artifact in the making.

    `path` is where to write, `final` where it will lie (the same for a growing run). `resumed` says that an interrupted
    run of the same recipe left it: its files are still there, but count only when they are added again.
    """

    path: Path
    final: Path
    recipe: Recipe
    resumed: bool
    _records: dict[str, FileRecord] = field(default_factory=dict, repr=False)
    _sealed: Manifest | None = field(default=None, repr=False)

    @contextmanager
    def create(self, name: str) -> Iterator[HashingFile]:
        """Open file `name` for writing; at the block's end it is durable, has its name, and is recorded.

        When the block raises, the file is not there.
        """
        path = self.path / check_name(name)
        temporary = path.with_name(f".{path.name}.tmp")
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = HashingFile(temporary)
        try:
            with storage_errors(path, only_writes=True):
                yield file
            with storage_errors(path):
                file.close()
                os.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                file.close()
            temporary.unlink(missing_ok=True)
            raise
        self._records[name] = FileRecord(name, file.bytes, file.sha256, file.rows, file.tokens)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write file `name` whole."""
        with self.create(name) as file:
            file.write(data)

    def write_json(self, name: str, value: Any) -> None:
        """Write file `name` as indented UTF-8 JSON; the order of keys stays, NaN raises ValueError."""
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        self.write_bytes(name, text.encode("utf-8"))

    def add(
        self, name: str, *, rows: int | None = None, tokens: int | None = None, sha256: str | None = None
    ) -> FileRecord:
        """Record a file that something else wrote under `path`: it is fsynced, and hashed unless `sha256` is given."""
        path = self.path / check_name(name)
        with storage_errors(path), open(open_regular(path, links=self.recipe.kind in ROW_KINDS), "rb") as file:
            found = sha256 if sha256 is not None else hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
            os.fsync(file.fileno())
        record = FileRecord(name, size, found, rows, tokens)
        self._records[name] = record
        return record

    def publish(
        self, *, spec: Mapping[str, Any], provenance: Mapping[str, Any] | None = None, logs: Sequence[str] = ()
    ) -> Artifact:
        """Make the artifact visible under its final name, complete, and return it.

        Files that were neither added nor named in `logs` are removed; nested artifacts and logs stay. `logs` are in
        no id. `provenance` is added to what is recorded anyway (versions, time, command).
        """
        self.seal(spec=spec, provenance=provenance, logs=logs)
        return self.reveal()

    def seal(
        self, *, spec: Mapping[str, Any], provenance: Mapping[str, Any] | None = None, logs: Sequence[str] = ()
    ) -> None:
        """Do the part of `publish` before the rename: the draft is complete and durable, its manifest in place."""
        check_names([*self._records, *logs])
        kept = [name for name in logs if os.path.lexists(self.path / name)]
        manifest = self._manifest(jsonable(spec), jsonable(provenance or {}), kept)
        with storage_errors(self.path):
            _prune(self.path, keep={*self._records, *manifest.logs, RECIPE, RUN})
            for record in self._records.values():
                status = os.lstat(self.path / record.path)
                check_regular(self.path / record.path, status, links=self.recipe.kind in ROW_KINDS)
                if status.st_size != record.bytes:
                    raise RuntimeError(f"{record.path} changed after it was recorded")
            for folder, _, _ in os.walk(self.path, topdown=False):
                sync_folder(Path(folder))
            text = json.dumps(manifest.to_json(), indent=2, allow_nan=False) + "\n"
            write_durably(self.path / MANIFEST, text.encode("ascii"))
            for marker in (RECIPE, RUN):
                (self.path / marker).unlink(missing_ok=True)
            sync_folder(self.path)
        self._sealed = manifest

    def reveal(self) -> Artifact:
        """Give a sealed draft its final name."""
        manifest = self._sealed
        if manifest is None:
            raise RuntimeError("reveal() before seal()")
        with storage_errors(self.final):
            if self.path != self.final:
                os.rename(self.path, self.final)
            sync_folder(self.final.parent)
        return Artifact(self.final, manifest)

    def _manifest(self, spec: dict[str, Any], provenance: dict[str, Any], logs: Sequence[str]) -> Manifest:
        files = tuple(sorted(self._records.values(), key=lambda record: record.path))
        body = {
            **self.recipe.to_json(),
            "format_version": FORMAT_VERSIONS[self.recipe.kind],
            "spec": spec,
            "files": [record.to_json() for record in files],
        }
        return Manifest(
            kind=self.recipe.kind,
            format_version=body["format_version"],
            stage=self.recipe.stage,
            stage_version=self.recipe.stage_version,
            recipe_id=self.recipe.recipe_id,
            content_id=content_id_of(body),
            config=body["config"],
            inputs=self.recipe.inputs,
            files=files,
            spec=spec,
            provenance={**self._made(), **provenance},
            logs=tuple(logs),
        )

    def _made(self) -> dict[str, Any]:
        """Return who made it, when and how; never the environment. Locations are relative: a hint for `lineage`."""
        locations = {
            reference.content_id: os.path.relpath(reference.location, self.final.absolute())
            for reference in self.recipe.inputs
            if reference.location is not None
        }
        system = os.uname()  # the platform module would start a process to ask
        return {
            "electra": __version__,
            "python": platform.python_version(),
            "platform": f"{system.sysname} {system.release} {system.machine}",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": redacted_command(),
            "execution": jsonable(self.recipe.execution),
            "locations": locations,
        }


_SECRET_NAME = re.compile(
    r"(?:^|[-_.])(?:token|api[-_]?key|key|secret|password|passwd|pwd|credentials?|auth|bearer)$", re.IGNORECASE
)
_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")


def redacted_command(arguments: Sequence[str] | None = None) -> list[str]:
    """Return the command line (default: this process's) with secrets left out: their options' values, URL passwords."""
    given = list(sys.argv if arguments is None else arguments)
    shown = ["electra" if os.path.basename(given[0]) == "__main__.py" else os.path.basename(given[0])] if given else []
    hide_next = False
    for argument in given[1:]:
        name, equals, _ = argument.partition("=")
        if hide_next:
            argument = "***"
        elif equals and _SECRET_NAME.search(name):
            argument = f"{name}=***"
        hide_next = not equals and argument.startswith("-") and bool(_SECRET_NAME.search(argument))
        shown.append(_URL_PASSWORD.sub("***@", argument).encode("utf-8", "backslashreplace").decode("utf-8"))
    return shown


def _prune(root: Path, *, keep: set[str]) -> None:
    """Remove from `root` what is neither in `keep` (relative paths) nor a nested artifact, and folders left empty."""
    for entry in os.scandir(root):
        path = Path(entry.path)
        if not entry.is_dir(follow_symlinks=False):
            if entry.name not in keep:
                path.unlink()
        elif entry.name.startswith("."):
            shutil.rmtree(path)
        elif not is_complete(path):
            _prune(path, keep={name.partition("/")[2] for name in keep if name.startswith(f"{entry.name}/")})
            if not any(path.iterdir()):
                path.rmdir()
