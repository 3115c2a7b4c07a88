"""Which files a corpus consists of: arguments become a list of plain files, in a fixed order, each looked at.

Nothing here imports a heavy package, so that a stage can tell that it is up to date without one.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra_cli.config import Settings, setting
from electra_cli.errors import DataError, ElectraError, UsageError
from electra_cli.reporting import Reporter

Compression = Literal["gzip", "zstd", "bz2", "lz4"]
STDIN = "-"


class CorpusSettings(Settings):
    """How raw text is read and where its documents begin."""

    format: Literal["auto", "text", "wiki", "jsonl", "parquet"] = setting(
        "auto",
        "What the files hold. `auto` looks at the contents, never at the name: Parquet by its magic bytes, "
        "wikiextractor's `<doc …>` blocks and JSON lines by the first line, else plain text.",
    )
    document: Literal["blank-line", "line", "file"] = setting(
        "blank-line", "Where a document of plain text ends: at a blank line, at each line, or at the end of the file."
    )
    text_column: str = setting("text", "The column of JSON lines and Parquet that holds a document's text.")
    encoding_errors: Literal["strict", "replace", "skip"] = setting(
        "strict",
        "What to do with a line that is not UTF-8: stop, replace the bad bytes, or leave the line out. "
        "The last two are counted in the manifest.",
    )
    max_line_bytes: int = setting(
        16 * 1024 * 1024, "Longest line in bytes; a longer one is an error, as it is hardly text.", ge=1024, le=2**31
    )
    max_document_chars: int = setting(
        4_000_000,
        "Longer documents are cut at line ends into parts of about this many characters, each a document of its own, "
        "so that memory stays bounded. The manifest counts them.",
        ge=10_000,
        le=2**30,
    )
    min_document_chars: int = setting(0, "Shorter documents are left out, and counted in the manifest.", ge=0)


@dataclass(frozen=True)
class Source:
    """One plain file of a corpus.

    Attributes:
        path: where it lies.
        label: how messages name it.
        bytes: its size.
        compression: by its magic bytes; None for plain.
        parquet: whether it is a Parquet file.
    """

    path: Path
    label: str
    bytes: int
    compression: Compression | None
    parquet: bool


# (offset, bytes, what it is). The first bytes decide, never the suffix.
_COMPRESSED: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_SUFFIXES = frozenset({".gz", ".gzip", ".zst", ".zstd", ".bz2", ".lz4", ".parquet"})
_REFUSED: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive", "extract it first: unzip FILE -d FOLDER, and give the folder"),
    (0, b"PK\x05\x06", "an empty zip archive", "extract it first and give the folder"),
    (257, b"ustar", "a tar archive", "extract it first: tar -xf FILE -C FOLDER, and give the folder"),
    (0, b"\xfd7zXZ\x00", "xz-compressed", "extract it first: tar -xf FILE, or xz -d FILE; gzip, zstd and bz2 are read"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "extract it first and give the folder"),
    (0, b"Rar!\x1a\x07", "a rar archive", "extract it first and give the folder"),
)


def find_sources(texts: Sequence[Path | str], *, report: Reporter) -> list[Source]:
    """Return the files that `texts` means: files, folders (recursively, by name, hidden ones left out), glob patterns.

    Raises:
        DataError: nothing is there, or something is not a readable plain file, or a compressed file is empty.
        UsageError: an archive, which must be extracted first.
    """
    found: list[Source] = []
    seen: set[tuple[int, int]] = set()
    for path in (path for text in texts for path in _expanded(os.fspath(text))):
        with _readable(path):
            status = os.stat(path)
            source = look_at(path, label=str(path), status=status)
        if (status.st_dev, status.st_ino) in seen:
            report.warn(f"{path} is named twice; it is read once")
            continue
        seen.add((status.st_dev, status.st_ino))
        found.append(source)
    if not found:
        raise DataError(
            "no documents: no file matches",
            code="NO_DOCUMENTS",
            where=" ".join(map(str, texts)) or None,
            hint="name text files, or folders that hold some (hidden files are left out)",
        )
    return found


@contextmanager
def gathered(texts: Sequence[Path | str], out: Path, *, report: Reporter) -> Iterator[list[Source]]:
    """Find the sources of `texts`, where `-` is standard input, kept in a hidden file beside the output meanwhile.

    The text is needed twice: its content names the recipe before any work begins.
    """
    if STDIN not in map(str, texts):
        yield find_sources(texts, report=report)
        return
    if len(texts) > 1:
        raise UsageError(
            "- (standard input) cannot be combined with files",
            code="BAD_INPUT",
            hint="pipe everything: cat FILE… | electra … -",
        )
    folder = out if out.is_dir() else out.parent
    spool = folder / f".stdin-{os.getpid()}.txt"
    try:
        try:
            with open(spool, "xb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file, 1024 * 1024)
        except OSError as error:
            from electra_cli.artifacts import storage_errors

            with storage_errors(spool):
                raise error
        yield [look_at(spool, label="<stdin>", status=os.stat(spool))]
    finally:
        spool.unlink(missing_ok=True)


def look_at(path: Path, *, label: str, status: os.stat_result) -> Source:
    """Return what the first bytes of a plain file say that it is; DataError or UsageError if it cannot be a corpus."""
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            "is not a plain file", code="NOT_A_FILE", where=label, hint="pipe it instead: … | electra … - -o DIR"
        )
    with open(path, "rb") as file:
        head = file.read(512)
    for offset, magic, what, hint in _REFUSED:
        if head[offset : offset + len(magic)] == magic:
            raise UsageError(f"is {what}: extract first", code="ARCHIVE", where=label, hint=hint)
    compression = next((name for magic, name in _COMPRESSED if head.startswith(magic)), None)
    parquet = head.startswith(b"PAR1")
    if compression is None and not parquet and len(head) < 8 and path.suffix.lower() in _SUFFIXES:
        raise DataError(
            f"is empty or cut off: {len(head)} bytes are no {path.suffix} file",
            code="TRUNCATED",
            where=label,
            hint="fetch or compress it again",
        )
    return Source(path, label, status.st_size, compression, parquet)


def refuse_archive(head: bytes, label: str) -> None:
    """Raise UsageError if the first bytes that a compressed file unpacks to are an archive's."""
    for offset, magic, what, hint in _REFUSED:
        if head[offset : offset + len(magic)] == magic:
            raise UsageError(f"holds {what}: extract first", code="ARCHIVE", where=label, hint=hint)


def _expanded(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        return _inside(path)
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(text):
        matches = sorted(Path(match) for match in glob.glob(text, recursive=True))
        return [path for match in matches for path in (_inside(match) if match.is_dir() else [match])]
    raise DataError("no such file or folder", code="MISSING_INPUT", where=text, hint="check the path")


def _inside(folder: Path) -> list[Path]:
    def stop(error: OSError) -> None:
        raise DataError(f"cannot be read: {error.strerror}", code="UNREADABLE", where=str(error.filename)) from error

    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except ElectraError:
        raise
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", code="UNREADABLE", where=str(path)) from error
