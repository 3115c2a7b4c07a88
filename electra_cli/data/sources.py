"""Which files a corpus consists of: arguments become a list of plain files, in a fixed order, each looked at.

Nothing here imports a heavy package unless an object store is named, so that a stage can tell that it is up to date
without one.
"""

from __future__ import annotations

import builtins
import glob
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from electra_cli.artifacts import content_of_hashes, hashes_of
from electra_cli.artifacts.fingerprints import file_pieces
from electra_cli.config import Settings, setting
from electra_cli.data.magic import HEAD, Compression, compression_of, is_parquet, refuse_unreadable
from electra_cli.data.stores import (
    Store,
    Stored,
    file_path,
    find,
    open_object,
    store_errors,
    url_scheme,
    without_secrets,
)
from electra_cli.errors import DataError, ElectraError, UsageError
from electra_cli.reporting import Reporter

STDIN = "-"
_TOGETHER = 8  # requests to an object store at once, each of which waits for its answer
_PIECE = 4 * 1024 * 1024


class CorpusSettings(Settings):
    """How raw text is read and where its documents begin."""

    format: Literal["auto", "text", "wiki", "jsonl", "csv", "tsv", "parquet"] = setting(
        "auto",
        "What the files hold. `auto` looks at the contents, never at the name: Parquet by its magic bytes, "
        "wikiextractor's `<doc …>` blocks and JSON lines by the first line, else plain text. CSV and TSV must be "
        "named: their first line could be text; where it looks like a header with the text column, `auto` asks.",
    )
    document: Literal["blank-line", "line", "file"] = setting(
        "blank-line", "Where a document of plain text ends: at a blank line, at each line, or at the end of the file."
    )
    text_column: str = setting("text", "The column of JSON lines, CSV, TSV and Parquet that holds a document's text.")
    quotes: Literal["auto", "rfc4180", "none"] = setting(
        "auto",
        'Whether `"` protects delimiters and line breaks in CSV and TSV, doubled inside (RFC 4180), or is a character '
        "like any other. `auto`: rfc4180 for CSV, none for TSV, as GLUE and the Unix tools have it.",
    )
    encoding_errors: Literal["strict", "replace", "skip"] = setting(
        "strict",
        "What to do with a line that is not UTF-8: stop, replace the bad bytes, or leave the line out. "
        "The last two are counted in the manifest.",
    )
    max_line_bytes: int = setting(
        16 * 1024 * 1024,
        "Longest line in bytes (of CSV and TSV: longest row), as a longer one is hardly text; see `long_lines`.",
        ge=1024,
        le=2**31,
    )
    long_lines: Literal["error", "split"] = setting(
        "error",
        "What to do with a longer line of plain text: stop, or cut it at white space into lines of at most 64 KiB. The "
        "cuts are counted in the manifest. JSON lines, CSV and TSV cannot be cut.",
    )
    max_document_chars: int = setting(
        4_000_000,
        "Longer documents are cut at line ends into parts of about this many characters, each a document of its own, "
        "so that memory stays bounded. The manifest counts them.",
        ge=10_000,
        le=2**30,
    )
    min_document_chars: int = setting(0, "Shorter documents are left out, and counted in the manifest.", ge=0)
    min_letter_share: float = setting(
        0.0,
        "Documents are left out if a smaller share of their characters (white space aside) are letters of any script: "
        "tables, code, lists of numbers. About 0.7 for English prose; 0 for no such rule.",
        ge=0.0,
        le=1.0,
    )
    max_repeated_lines: float = setting(
        1.0,
        "Documents are left out if a larger share of their lines stand in them already. Gopher (arXiv 2112.11446, "
        "table A1) has 0.3; 1 for no such rule.",
        ge=0.0,
        le=1.0,
    )
    min_word_chars: float = setting(
        0.0,
        "Documents are left out if their words between white space are shorter on average. Gopher has 3 for English; 0 "
        "for no such rule.",
        ge=0.0,
    )
    max_word_chars: float | None = setting(
        None,
        "Documents are left out if their words between white space are longer on average. Gopher has 10 for English. "
        "Not for text without white space (Chinese, Japanese, Thai).",
        gt=0.0,
    )

    def check(self) -> None:
        """Raise UsageError for settings that contradict each other; for a stage to call before any work."""
        quoted = self.quotes == "rfc4180" or (self.quotes == "auto" and self.format == "csv")
        if self.format in ("csv", "tsv") and quoted and self.encoding_errors == "skip":
            raise UsageError(
                "a line cannot be left out of a file whose quoted fields span lines",
                code="BAD_SETTINGS",
                where="corpus.encoding_errors",
                hint="--set corpus.encoding_errors=replace, or --set corpus.quotes=none",
            )
        if self.max_word_chars is not None and self.max_word_chars < self.min_word_chars:
            raise UsageError(
                f"corpus.max_word_chars {self.max_word_chars:g} is less than corpus.min_word_chars "
                f"{self.min_word_chars:g}: every document would be left out",
                code="BAD_SETTINGS",
                where="corpus.max_word_chars",
            )


@dataclass(frozen=True)
class Source:
    """One file of a corpus, here or in an object store: plain data, which any process can open.

    Attributes:
        path: where it lies; in a store, bucket and key.
        label: how messages name it; never holds a secret.
        bytes: its size.
        compression: by its magic bytes; None for plain.
        parquet: whether it is a Parquet file.
        store: the object store that has it; None for a file.
    """

    path: str
    label: str
    bytes: int
    compression: Compression | None
    parquet: bool
    store: Store | None = None

    @property
    def place(self) -> str:
        """What tells whether two sources are the same file: where it really lies."""
        return os.path.realpath(self.path) if self.store is None else self.label

    def open(self) -> Any:
        """Open it for reading at any place, as a `pyarrow.NativeFile`; reads may raise OSError.

        Raises:
            DataError: it is gone, cannot be read, or has another size than when it was found.
            ResourceError: its store cannot be reached, or refuses.
        """
        if self.store is None:
            import pyarrow as pa

            with _readable(self.label):
                file = pa.OSFile(self.path, "rb")
        else:
            file = open_object(self.store, self.path)
        size = file.size()
        if size != self.bytes:
            file.close()
            raise DataError(
                f"has changed since it was looked at: {self.bytes} bytes then, {size} now",
                code="CHANGED",
                where=self.label,
                hint="wait until nothing writes to it, and run the same command again",
            )
        return file

    def pieces(self) -> Iterator[builtins.bytes]:
        """Yield its bytes as they are stored, in order, in pieces of a few MB; errors as `open`."""
        if self.store is None:
            yield from file_pieces(self.path, label=self.label)
            return
        with open_object(self.store, self.path) as file, store_errors(self.label):
            while piece := file.read(_PIECE):
                yield piece


def find_sources(texts: Sequence[Path | str], *, report: Reporter) -> list[Source]:
    """Return the files that `texts` means: files, folders (recursively, by name, hidden ones left out), glob patterns.

    Each may be a URL instead: `file://`, or the object stores of `data.stores`.

    Raises:
        DataError: nothing is there, or something is not a readable plain file, or a compressed file is empty.
        UsageError: an archive, which must be extracted first, or a URL that cannot be read from.
        ResourceError: a store cannot be reached, or refuses.
    """
    found: list[Source] = []
    seen: set[tuple[object, ...]] = set()
    for identity, source in (one for text in texts for one in _meant(os.fspath(text))):
        if identity in seen:
            report.warn(f"{source.label} is named twice; it is read once")
            continue
        seen.add(identity)
        found.append(source)
    if not found:
        raise DataError(
            "no documents: no file matches",
            code="NO_DOCUMENTS",
            where=" ".join(without_secrets(str(text)) for text in texts) or None,
            hint="name text files, or folders that hold some (hidden files are left out)",
        )
    return found


def content_of_sources(sources: Sequence[Source], *, ordered: bool, report: Reporter) -> str:
    """Return the content id of the text; see `artifacts.content_of_hashes`."""
    return content_of_hashes(hashes_of_sources(sources, report=report), ordered=ordered)


def hashes_of_sources(sources: Sequence[Source], *, report: Reporter) -> list[str]:
    """Return the sha256 of each of `sources`.

    Objects in stores are read whole for it, like files: a store's own checksum is of the way of uploading as much as of
    the bytes (an ETag of several parts), and would give the same text another id.
    """
    remote = any(source.store is not None for source in sources)
    return hashes_of(sources, report=report, threads=_TOGETHER if remote else 1)


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


def look_at(path: Path | str, *, label: str, status: os.stat_result) -> Source:
    """Return what the first bytes of a plain file say that it is; DataError or UsageError if it cannot be a corpus."""
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            "is not a plain file", code="NOT_A_FILE", where=label, hint="pipe it instead: … | electra … - -o DIR"
        )
    with open(path, "rb") as file:
        head = file.read(HEAD)
    refuse_unreadable(head, name=str(path), label=label)
    return Source(str(path), label, status.st_size, compression_of(head), is_parquet(head))


def _meant(text: str) -> Iterator[tuple[tuple[object, ...], Source]]:
    """Yield what one argument means, each with what it can be recognised by if another means it too."""
    scheme = url_scheme(text)
    if scheme is not None and scheme != "file":
        yield from _stored(text)
        return
    for path in _expanded(file_path(text) if scheme else text):
        with _readable(str(path)):
            status = os.stat(path)
            yield (status.st_dev, status.st_ino), look_at(path, label=str(path), status=status)


def _stored(url: str) -> list[tuple[tuple[object, ...], Source]]:
    """Return the objects that a URL means, looked at several at once."""

    def look(one: Stored) -> tuple[tuple[object, ...], Source]:
        with open_object(one.store, one.path) as file, store_errors(one.label):
            head = file.read(HEAD)
        refuse_unreadable(head, name=one.path, label=one.label)
        source = Source(one.path, one.label, one.bytes, compression_of(head), is_parquet(head), one.store)
        return (one.store, one.path), source

    with ThreadPoolExecutor(_TOGETHER) as pool:
        return list(pool.map(look, find(url)))


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
def _readable(label: str) -> Iterator[None]:
    try:
        yield
    except ElectraError:
        raise
    except FileNotFoundError as error:
        raise DataError("no such file", code="MISSING_INPUT", where=label, hint="check the path") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(f"cannot be read: {reason}", code="UNREADABLE", where=label) from error
