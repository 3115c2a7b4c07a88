"""Parts of shards → the shards that one run would have made, to the same content id."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from electra_cli.artifacts import Artifact, Draft, FileRecord, InputRef, check_output, claim, need_space, storage_errors
from electra_cli.config import Settings, setting
from electra_cli.data.workers import available_cores
from electra_cli.errors import ArtifactError, DataError
from electra_cli.reporting import Reporter
from electra_cli.stages import shard
from electra_cli.stages.outcome import Outcome
from electra_cli.stages.shard_parts import Contents, check_parts, find_parts, read_part
from electra_cli.stages.shard_rows import publish, summary_of

if TYPE_CHECKING:
    from electra_cli.data.units import PieceRecord

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
T = TypeVar("T")
_CHUNK = 4 * 1024 * 1024


class MergeSettings(Settings):
    """How the parts' files come together."""

    link: bool = setting(
        True,
        "Give the files of the parts a second name (a hard link), so that they take no more room and the parts can be "
        "removed afterwards. Where the file system cannot, and with false, they are copied.",
        shapes=False,
    )
    workers: int = setting(
        0, "Files that are checked and brought at once; 0 for one on each core.", shapes=False, ge=0, le=256
    )


def run(parts: Sequence[Path | str], out: Path, *, settings: MergeSettings, report: Reporter) -> Outcome:
    """Bring the parts of a run together as shards, and check every file of them.

    The parts stay as they are. An interrupted merge is done again; nothing of it is lost but time.

    Args:
        parts: parts, lines of versions of parts, or folders that hold them.
        out: folder for the versions of the shards.
        settings: see `MergeSettings`.
        report: where progress and warnings go.

    Raises:
        ArtifactError: parts are missing, damaged, there twice, or not of one run.
        DataError: they hold no document, or no row.
        ResourceError, BusyError: the output cannot be written.
    """
    found = find_parts(parts)
    check_parts(found)
    check_output(out)
    contents = [read_part(part) for part in found]
    made_with = _settings(found[0])
    recipe = shard.recipe_of(made_with, text=_hashes(found, contents), tokenizer=_tokenizer(found[0]))
    if recipe.stage_version != found[0].manifest.stage_version:
        raise ArtifactError(
            f"was made by version {found[0].manifest.stage_version} of electra shard, here is {recipe.stage_version}",
            code="OTHER_VERSION",
            where=str(found[0].path),
            hint="merge with the electra that made the parts, or make them again with this one",
        )
    with claim(out, recipe, report=report) as claimed:
        if claimed.done is not None:
            return Outcome(claimed.done, "up to date", summary_of(claimed.done.spec))
        assert claimed.draft is not None
        records = _records(found, contents)
        if not any(record.documents for record in records):
            raise DataError("no documents in any part", code="NO_DOCUMENTS", hint="name files that hold text to shard")
        _bring(found, claimed.draft, settings, report)
        return publish(
            claimed.draft,
            records,
            settings=made_with,
            facts=found[0].spec,
            sources=contents[0].all_files,
            report=report,
        )


def _settings(part: Artifact) -> shard.ShardSettings:
    """Return the settings that a part was made with; ArtifactError if this version does not know them."""
    config = {key: value for key, value in part.manifest.config.items() if key != "part"}
    try:
        return shard.ShardSettings.model_validate_json(json.dumps(config))
    except ValueError as error:
        raise ArtifactError(
            "its settings are not those of this version of electra shard",
            code="BAD_PART",
            where=str(part.path),
            hint="merge with the electra that made the parts, or make them again with this one",
        ) from error


def _tokenizer(part: Artifact) -> InputRef:
    return next(reference for reference in part.manifest.inputs if reference.role == "tokenizer")


def _hashes(parts: Sequence[Artifact], contents: Sequence[Contents]) -> list[str]:
    """Return the sha256 of every file of the corpus; ArtifactError if two parts read a file that changed in between."""
    hashes: dict[int, str] = {}
    owner: dict[int, Artifact] = {}
    for part, content in zip(parts, contents, strict=True):
        for number, sha256 in content.files.items():
            if hashes.setdefault(number, sha256) != sha256:
                raise ArtifactError(
                    f"file {number + 1} of the text changed between this part and {owner[number].path}",
                    code="TEXT_CHANGED",
                    where=str(part.path),
                    hint="make the parts again",
                )
            owner.setdefault(number, part)
    return _in_order(hashes, contents[0].all_files, "files of the text", parts[0])


def _records(parts: Sequence[Artifact], contents: Sequence[Contents]) -> list[PieceRecord]:
    """Return the records of all pieces in order, each of which exactly one part has."""
    records: dict[int, PieceRecord] = {}
    for part, content in zip(parts, contents, strict=True):
        for record in content.records:
            if record.number in records:
                raise _inconsistent(part, f"piece {record.number} is in another part too")
            for file in record.files:
                listed = part.record(file.name)
                if (listed.sha256, listed.rows, listed.tokens) != (file.sha256, file.rows, file.tokens):
                    raise _inconsistent(part, f"pieces.json and manifest differ about {file.name}")
            records[record.number] = record
    return _in_order(records, contents[0].all_pieces, "pieces", parts[0])


def _in_order(held: dict[int, T], count: int, what: str, part: Artifact) -> list[T]:
    """Return what is held for the numbers from 0 to `count`; ArtifactError unless it is exactly those."""
    if set(held) != set(range(count)):
        raise _inconsistent(part, f"they have {len(held)} {what}, the corpus {count}")
    return [held[number] for number in range(count)]


def _inconsistent(part: Artifact, why: str) -> ArtifactError:
    hint = "make the parts again"
    return ArtifactError(f"the parts do not fit together: {why}", code="BAD_PART", where=str(part.path), hint=hint)


def _bring(parts: Sequence[Artifact], draft: Draft, settings: MergeSettings, report: Reporter) -> None:
    """Put every shard file, and the tokenizer, into the draft, each compared with its hash."""
    wanted = [
        (part, record)
        for part in parts
        for record in part.manifest.files
        if record.rows is not None or (part is parts[0] and record.path.startswith("tokenizer/"))
    ]
    total = sum(record.bytes for _, record in wanted)
    link = settings.link and _can_link(wanted[0][0], wanted[0][1], draft)
    if not link:
        need_space(draft.path, bytes=total, what="a copy of the parts")
    with (
        report.progress("merging", total=total, unit="bytes") as meter,
        ThreadPoolExecutor(settings.workers or available_cores()) as pool,
    ):
        try:
            for size in pool.map(lambda one: _bring_file(one[0], one[1], draft, link=link), wanted):
                meter.advance(size)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _can_link(part: Artifact, record: FileRecord, draft: Draft) -> bool:
    """Whether files of the parts can have a second name in the draft, which is tried out."""
    trial = draft.path / ".link.tmp"
    try:
        trial.unlink(missing_ok=True)
        os.link(part.file(record.path), trial, follow_symlinks=False)
        trial.unlink()
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        with storage_errors(trial):
            raise
    return True


def _bring_file(part: Artifact, record: FileRecord, draft: Draft, *, link: bool) -> int:
    """Put one file into the draft and return its size; ArtifactError if it is not what its part's manifest says."""
    if link:
        source, target = part.check_file(record.path), draft.path / record.path
        with storage_errors(target):
            target.parent.mkdir(exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(source, target, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                link = False  # parts may lie on several disks
        if link:
            draft.add(record.path, rows=record.rows, tokens=record.tokens, sha256=record.sha256)
            return record.bytes
    with open(part.file(record.path), "rb") as stream, draft.create(record.path) as file:
        shutil.copyfileobj(stream, file, _CHUNK)
        file.rows, file.tokens = record.rows, record.tokens
    if file.sha256 != record.sha256:
        part.check_file(record.path)  # says so
        raise _inconsistent(part, f"{record.path} changed while it was copied")
    return record.bytes
