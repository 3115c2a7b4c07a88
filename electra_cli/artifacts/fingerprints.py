"""The content id of raw input: what the files hold, whatever they are called and wherever they lie."""

from __future__ import annotations

import builtins
import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from electra_cli.artifacts.manifest import fingerprint
from electra_cli.errors import DataError
from electra_cli.reporting import Meter, Reporter

_PIECE = 4 * 1024 * 1024


class Content(Protocol):
    """Bytes that can be read from their beginning to their end, any number of times."""

    @property
    def bytes(self) -> int:
        """How many there are."""

    def pieces(self) -> Iterator[builtins.bytes]:
        """Yield them in order, in pieces of a few MB; raises ElectraError where they cannot be read."""


def content_of(contents: Iterable[Content], *, ordered: bool, report: Reporter, threads: int = 1) -> str:
    """Return `content_of_hashes` of `contents`; `threads` as for `hashes_of`."""
    return content_of_hashes(hashes_of(contents, report=report, threads=threads), ordered=ordered)


def content_of_hashes(hashes: Sequence[str], *, ordered: bool) -> str:
    """Return the content id, `sha256:…`, of what has these hashes.

    With `ordered` their sequence counts; without, it does not, but what is given twice counts twice.
    """
    return fingerprint(list(hashes) if ordered else sorted(hashes))  # one file alone has one id, ordered or not


def hashes_of(contents: Iterable[Content], *, report: Reporter, threads: int = 1) -> list[str]:
    """Return the sha256 of each of `contents` in hex, read piece by piece.

    With several `threads` as many are read at once, for stores that answer slowly.
    """
    everything = list(contents)
    with report.progress("reading inputs", total=sum(content.bytes for content in everything), unit="bytes") as meter:
        return list(_hashes(everything, meter, threads))


def content_of_files(paths: Iterable[Path], *, ordered: bool, report: Reporter) -> str:
    """Return `content_of` the plain files at `paths`.

    Raises DataError for what is missing, unreadable, or not a plain file (a pipe could not be read a second time).
    """
    return content_of([_File(path, _size(path)) for path in paths], ordered=ordered, report=report)


def file_pieces(path: Path | str, *, label: str) -> Iterator[bytes]:
    """Yield the bytes of a plain file in pieces; raises DataError about `label` where it cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield piece
    except FileNotFoundError as error:
        raise DataError("no such file", code="MISSING_INPUT", where=label, hint="check the path") from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", code="UNREADABLE", where=label) from error


@dataclass(frozen=True)
class _File:
    path: Path
    bytes: int

    def pieces(self) -> Iterator[builtins.bytes]:
        return file_pieces(self.path, label=str(self.path))


def _hashes(contents: Sequence[Content], meter: Meter, threads: int) -> Iterator[str]:
    lock = threading.Lock()

    def digest(content: Content) -> str:
        found = hashlib.sha256()
        for piece in content.pieces():
            found.update(piece)
            with lock:
                meter.advance(len(piece))
        return found.hexdigest()

    if threads == 1:
        yield from map(digest, contents)
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from pool.map(digest, contents)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _size(path: Path) -> int:
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise DataError("no such file", code="MISSING_INPUT", where=str(path), hint="check the path") from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", code="UNREADABLE", where=str(path)) from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            "is not a plain file", code="NOT_A_FILE", where=str(path), hint="write the text to a file and give that"
        )
    return status.st_size
