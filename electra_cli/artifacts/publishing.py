"""Take an output folder, find what is already there, and hand out a place to write.

`DIR/v1`, `DIR/v2`, … are complete and immutable, or a growing run's (`run.json` and no manifest). Work in progress lies
in `DIR/.vN.partial`, whose `recipe.json` says whose it is. Nothing is decided by a clock or a file's age.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_cli.artifacts.locking import LOCK, exclusive
from electra_cli.artifacts.manifest import MANIFEST, RECIPE, RUN, Recipe, parse_json
from electra_cli.artifacts.opening import Artifact, is_complete, read_manifest, versions
from electra_cli.artifacts.staging import Draft
from electra_cli.artifacts.storage import storage_errors, sync_folder, write_durably
from electra_cli.errors import ArtifactError, ElectraError, ResourceError, UsageError
from electra_cli.reporting import Reporter, Silent


@dataclass(frozen=True)
class Claim:
    """What an output folder holds for a recipe: `done` (up to date, nothing to do) or else a `draft` to write."""

    done: Artifact | None
    draft: Draft | None


@contextmanager
def claim(out: Path, recipe: Recipe, *, report: Reporter, growing: bool = False) -> Iterator[Claim]:
    """Claim `out` for `recipe`: the version that it already made, or a draft under the lock until the block ends.

    A damaged version of the same recipe is passed over with a warning and made anew beside it. With `growing` the
    draft is `DIR/vN` itself and can hold nested artifacts that readers use while it grows.

    Raises UsageError (not a folder, or one that holds something else), ResourceError (permission, read-only, disk),
    BusyError (another writer).
    """
    with storage_errors(out):
        if os.path.lexists(out):
            os.listdir(out)
    if done := _published(out, recipe, Silent()):
        yield Claim(done, None)
        return
    _prepare(out)
    with exclusive(out):
        if done := _published(out, recipe, report):  # by a writer that finished while we came
            yield Claim(done, None)
            return
        with storage_errors(out):
            draft = _grow(out, recipe, report) if growing else _stage(out, recipe, report)
        yield Claim(None, draft)


def publish_inside(parent: Path, name: str, recipe: Recipe, write: Callable[[Draft], Mapping[str, Any]]) -> Artifact:
    """Publish a nested artifact `parent/name` (a checkpoint of a run) atomically and return it.

    `write` fills the draft and returns the spec. One of that name that is already there is replaced; at no moment does
    a half of either have the name. The run's own lock protects it.
    """
    final = parent / name
    with storage_errors(final):
        parent.mkdir(parents=True, exist_ok=True)
        staging, old = parent / f".{name}.partial", parent / f".{name}.old"
        for leftover in (staging, old):
            _remove(leftover)
        staging.mkdir()
        draft = Draft(staging, final, recipe, resumed=False)
    draft.seal(spec=write(draft))
    with storage_errors(final):
        if os.path.lexists(final):
            os.rename(final, old)
        artifact = draft.reveal()
        _remove(old)
    return artifact


def discard(folder: Path) -> None:
    """Remove a nested artifact, its manifest first: cut short, what is left is no artifact. Nothing if it is gone."""
    with storage_errors(folder):
        (folder / MANIFEST).unlink(missing_ok=True)
        if folder.is_dir():
            sync_folder(folder)
            shutil.rmtree(folder)


def check_output(out: Path) -> None:
    """Raise at once what `claim` would raise after the inputs were read: for stages that hash large inputs first.

    Nothing is made. An output that already holds versions passes: the result may be up to date, which needs no writing.
    """
    with storage_errors(out):
        if os.path.lexists(out) and os.listdir(out) and versions(out):
            return
        _refuse_taken(out)
        folder = out if out.is_dir() else out.parent
        if not folder.is_dir():
            raise _no_parent(out)
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            raise OSError(errno.EROFS if read_only else errno.EACCES, "", str(folder))
        if (out / LOCK).exists():
            with exclusive(out):
                pass


def _refuse_taken(out: Path) -> None:
    if is_complete(out) or (out / RUN).exists():
        raise UsageError(
            "is itself an artifact",
            code="OUTPUT_TAKEN",
            where=str(out),
            hint=f"give the folder that holds the versions: --out {shlex.quote(str(out.parent))}",
        )


def _no_parent(out: Path) -> ElectraError:
    if re.match(r"[a-z][a-z0-9]+:/", str(out)):  # a path has lost one of a URL's slashes
        return UsageError(
            "results are written to a file system, not to an object store",
            code="REMOTE_OUTPUT",
            where=str(out),
            hint="write to a folder and copy the finished version, or mount the store",
        )
    return ResourceError(
        "its parent folder does not exist",
        code="NO_PARENT",
        where=str(out),
        hint=f"mkdir -p {shlex.quote(str(out.parent))}",
    )


def _prepare(out: Path) -> None:
    """Make `out` if its parent is there, and see that it can hold versions."""
    _refuse_taken(out)
    if out.is_dir():
        return
    with storage_errors(out):
        try:
            out.mkdir()
        except FileNotFoundError as error:
            raise _no_parent(out) from error
        sync_folder(out.parent)


def _published(out: Path, recipe: Recipe, report: Reporter) -> Artifact | None:
    """Return the newest whole version of the recipe; UsageError if `out` holds another kind."""
    for version in reversed(versions(out)):
        if not is_complete(version):
            continue
        try:
            artifact = Artifact(version, read_manifest(version))
            if artifact.kind != recipe.kind:
                raise UsageError(
                    f"holds a {artifact.kind}, this command makes a {recipe.kind}",
                    code="OUTPUT_TAKEN",
                    where=str(out),
                    hint="choose another --out",
                )
            if artifact.manifest.recipe_id == recipe.recipe_id:
                artifact.check_sizes()
                return artifact
        except ArtifactError as error:
            report.warn(f"{version} is damaged and passed over ({error.code}: {error.message})")
    return None


def _stage(out: Path, recipe: Recipe, report: Reporter) -> Draft:
    """Return a draft in `.vN.partial`: the interrupted one of the same recipe, else a new one."""
    resumable: Path | None = None
    for leftover in sorted(out.glob(".v*.partial")):
        found = _recipe_in(leftover)
        if resumable is None and found == recipe.recipe_id:
            resumable = leftover
            continue
        if found is not None and any(path.name != RECIPE for path in leftover.iterdir()):  # else it was refused at once
            report.note(f"{leftover} is left from an interrupted run with other settings or inputs; it is removed")
        _remove(leftover)
    final = _next(out)
    staging = out / f".{final.name}.partial"
    if resumable is not None:
        (resumable / MANIFEST).unlink(missing_ok=True)
        write_durably(resumable / RECIPE, _marker(recipe))
        if resumable != staging:
            os.rename(resumable, staging)
    else:
        staging.mkdir()
        write_durably(staging / RECIPE, _marker(recipe))
    return Draft(staging, final, recipe, resumed=resumable is not None)


def _grow(out: Path, recipe: Recipe, report: Reporter) -> Draft:
    """Return the draft of a growing run: the interrupted one of the same recipe, else the next free version."""
    for leftover in sorted(out.glob(".v*.partial")):  # a crash before its run.json was in place; nothing is in it
        _remove(leftover)
    for version in reversed(versions(out)):
        if is_complete(version) or not (version / RUN).exists():
            continue
        if _recipe_in(version) == recipe.recipe_id:
            return Draft(version, version, recipe, resumed=True)
        if not any(version.glob(f"*/*/{MANIFEST}")):  # it ended before its first checkpoint: there is nothing to keep
            _remove(version)
            continue
        report.note(f"{version} is an interrupted run with other settings or inputs; it stays as it is")
    final = _next(out)
    staging = out / f".{final.name}.partial"
    staging.mkdir()
    write_durably(staging / RUN, _marker(recipe))
    os.rename(staging, final)
    sync_folder(out)
    return Draft(final, final, recipe, resumed=False)


def _next(out: Path) -> Path:
    taken = [int(path.name[1:]) for path in versions(out)]
    number = max(taken, default=0) + 1
    while os.path.lexists(out / f"v{number}"):  # a file of that name
        number += 1
    return out / f"v{number}"


def _marker(recipe: Recipe) -> bytes:
    text = json.dumps({"recipe_id": recipe.recipe_id, **recipe.to_json()}, indent=2, allow_nan=False) + "\n"
    return text.encode("ascii")


def _recipe_in(folder: Path) -> str | None:
    """Return the recipe id that a staging folder or growing run names, None where it names none that is readable."""
    for name in (RECIPE, RUN, MANIFEST):
        try:
            body = parse_json((folder / name).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(body, dict) and isinstance(body.get("recipe_id"), str):
            return str(body["recipe_id"])
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
