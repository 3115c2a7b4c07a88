r"""Lines of a labelled file: UTF-8, ended by `\n` only, with their numbers.

`str.splitlines` and text mode also split at U+0085, U+2028 and lone carriage returns, which stand inside sentences of
real corpora; here a line ends where `wc -l` says it does.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from electra_cli.errors import DataError

MAX_LINE_BYTES = 16 * 2**20  # one text of a labelled file; far above any, far below what would fill the memory


class ByteLines(Protocol):
    """An open binary file, as far as this module needs one."""

    def readline(self, size: int = ..., /) -> bytes:
        """The next line, or its first `size` bytes."""


def stored_file(path: Path) -> Path:
    """`path`, or `path.xz` where only that exists; raises DataError when there is neither."""
    packed = path.with_name(path.name + ".xz")
    for candidate in (path, packed):
        if candidate.is_file():
            return candidate
    if path.exists():
        raise DataError("this is not a regular file", code="NOT_A_FILE", where=str(path))
    raise DataError("no such file", code="MISSING_INPUT", where=str(path))


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields each line with its number (from 1) and its line end; a byte order mark at the start is dropped.

    A file called `….xz` is decompressed on the way. Raises DataError with file, line and byte for text that is not
    UTF-8, for lines over `MAX_LINE_BYTES`, and for a damaged `.xz`.
    """
    try:
        with _open(path) as file:
            yield from numbered_lines(file, where=str(path))
    except (lzma.LZMAError, EOFError) as error:
        raise DataError(
            f"the xz file is damaged or cut short ({error})", code="BAD_COMPRESSION", where=str(path)
        ) from None
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", code="UNREADABLE", where=str(path)) from None


def numbered_lines(file: ByteLines, *, where: str) -> Iterator[tuple[int, str]]:
    """Yields the numbered lines of an open binary file; see `read_lines`. `where` names the file in messages."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise DataError(
                f"the line has more than {MAX_LINE_BYTES // 2**20} MiB", code="LINE_TOO_LONG", where=f"{where}:{number}"
            )
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            yield number, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"not UTF-8: byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line",
                code="NOT_UTF8",
                where=f"{where}:{number}",
                hint=f"convert the file first, for example: iconv -f LATIN1 -t UTF-8 {where}",
            ) from None


def _open(path: Path) -> AbstractContextManager[ByteLines]:
    return lzma.open(path) if path.name.endswith(".xz") else path.open("rb")
