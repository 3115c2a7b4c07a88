"""The content id of raw input: what the files hold, whatever they are called and wherever they lie."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from electra_cli.artifacts.manifest import fingerprint
from electra_cli.errors import DataError
from electra_cli.reporting import Reporter

_PIECE = 4 * 1024 * 1024


def content_of_files(paths: Iterable[Path], *, ordered: bool, report: Reporter) -> str:
    """Return `sha256:…` over the contents of `paths`, read piece by piece.

    With `ordered` the sequence of the files counts; without, it does not, but a file given twice counts twice.
    Raises DataError for what is missing, unreadable, or not a plain file (a pipe could not be read a second time).
    """
    files = list(paths)
    total = sum(_size(path) for path in files)
    hashes = []
    with report.progress("reading inputs", total=total, unit="bytes") as meter:
        for path in files:
            found = hashlib.sha256()
            try:
                with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
                    while piece := file.read(_PIECE):
                        found.update(piece)
                        meter.advance(len(piece))
            except OSError as error:
                raise DataError(f"cannot be read: {error.strerror}", code="UNREADABLE", where=str(path)) from error
            hashes.append(found.hexdigest())
    return fingerprint(hashes if ordered else sorted(hashes))  # one file alone has one id, ordered or not


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
