"""The bytes of one source as decoded lines: decompressed, strictly UTF-8, only `\\n` ends a line."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from electra_cli.data.sources import CorpusSettings, Source, refuse_archive
from electra_cli.errors import DataError

_BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Block:
    """Consecutive lines of a source, not stripped; `first` is the number of the first, from 1.

    `numbers` tells the number of each where lines were left out, else it is None.
    """

    first: int
    lines: list[str]
    numbers: list[int] | None = None

    def number(self, index: int) -> int:
        """Return the line number of `lines[index]`."""
        return self.first + index if self.numbers is None else self.numbers[index]


def read_blocks(
    source: Source,
    settings: CorpusSettings,
    *,
    count: Callable[[str, int], None],
    consumed: Callable[[int], None],
) -> Iterator[Block]:
    """Yield the lines of a text source in blocks of about 1 MiB.

    A byte order mark at the start is left out, NUL characters are removed; other control characters stay, since the
    tokenizer's normalizer knows what to do with them.

    Args:
        source: a file that is not Parquet.
        settings: how to take bytes that are not UTF-8, and how long a line may be.
        count: called with a reason and a number for everything left out or altered.
        consumed: called with the number of bytes of the file read.

    Raises:
        DataError: the compressed data are damaged, a line is too long or not UTF-8.
        UsageError: the decompressed bytes are an archive.
    """
    number, offset = 1, 0
    for raw in _whole_lines(source, settings, consumed):
        if offset == 0:
            if raw.startswith(codecs.BOM_UTF8):
                raw, offset = raw[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
            elif raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise DataError(
                    "is UTF-16, not UTF-8",
                    code="NOT_UTF8",
                    where=f"{source.label}:1",
                    hint="convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW",
                )
        lines = raw.count(b"\n") + 1
        try:
            block = Block(number, _without_nul(raw.decode("utf-8"), count).split("\n"))
        except UnicodeDecodeError:
            block = _line_by_line(raw, source, settings, number, offset, count)
        yield block
        number += lines
        offset += len(raw) + 1


def _whole_lines(source: Source, settings: CorpusSettings, consumed: Callable[[int], None]) -> Iterator[bytes]:
    """Yield pieces of the decompressed bytes that end where a line ends; the newline at the end is left out."""
    limit = settings.max_line_bytes
    parts: list[bytes] = []
    held, number = 0, 1
    with _opened(source) as read:
        first = True
        while True:
            data, advanced = read(_BLOCK)
            consumed(advanced)
            if first:
                refuse_archive(data[:512], source.label)
                first = False
            if not data:
                break
            cut = data.rfind(b"\n")
            if cut < 0:
                parts.append(data)
                held += len(data)
                if held > limit:
                    raise _too_long(source, number, limit)
                continue
            raw = b"".join([*parts, data[:cut]])
            if len(raw) > limit:
                _check_lengths(raw, source, number, limit)
            yield raw
            number += raw.count(b"\n") + 1
            parts, held = [data[cut + 1 :]], len(data) - cut - 1
    raw = b"".join(parts)
    if len(raw) > limit:
        raise _too_long(source, number, limit)
    if raw:
        yield raw


@contextmanager
def _opened(source: Source) -> Iterator[Callable[[int], tuple[bytes, int]]]:
    """Open a source; the function handed out returns up to n decompressed bytes, and how far the file was read."""
    try:
        with pa.OSFile(str(source.path), "rb") as raw:
            stream: Any = raw if source.compression is None else pa.CompressedInputStream(raw, source.compression)
            done = 0

            def read(size: int) -> tuple[bytes, int]:
                nonlocal done
                try:
                    data: bytes = stream.read(size)
                except (OSError, pa.ArrowException) as error:
                    raise _damaged(source, error) from error
                before, done = done, int(raw.tell())
                return data, done - before

            yield read
    except FileNotFoundError as error:
        raise DataError("no such file", code="MISSING_INPUT", where=source.label) from error
    except PermissionError as error:
        raise DataError("cannot be read: permission denied", code="UNREADABLE", where=source.label) from error


def _line_by_line(
    raw: bytes,
    source: Source,
    settings: CorpusSettings,
    number: int,
    offset: int,
    count: Callable[[str, int], None],
) -> Block:
    """Decode a block that is not UTF-8 as a whole; `offset` is where it begins in the decompressed bytes."""
    first = number
    lines: list[str] = []
    numbers: list[int] = []
    for line in raw.split(b"\n"):
        try:
            lines.append(_without_nul(line.decode("utf-8"), count))
            numbers.append(number)
        except UnicodeDecodeError as error:
            if settings.encoding_errors == "strict":
                raise DataError(
                    f"not UTF-8: byte 0x{line[error.start]:02x} at byte offset {offset + error.start}",
                    code="NOT_UTF8",
                    where=f"{source.label}:{number}",
                    hint="convert the file to UTF-8 (iconv), or --set corpus.encoding_errors=replace (or skip)",
                ) from error
            if settings.encoding_errors == "replace":
                lines.append(_without_nul(line.decode("utf-8", "replace"), count))
                numbers.append(number)
                count("lines_with_replaced_bytes", 1)
            else:
                count("lines_not_utf8", 1)
        number += 1
        offset += len(line) + 1
    return Block(first, lines, numbers)


def _without_nul(text: str, count: Callable[[str, int], None]) -> str:
    if "\0" in text:
        count("nul_characters", text.count("\0"))
        return text.replace("\0", "")
    return text


def _check_lengths(raw: bytes, source: Source, number: int, limit: int) -> None:
    for line in raw.split(b"\n"):
        if len(line) > limit:
            raise _too_long(source, number, limit)
        number += 1


def _too_long(source: Source, number: int, limit: int) -> DataError:
    return DataError(
        f"the line is longer than {limit} bytes",
        code="LINE_TOO_LONG",
        where=f"{source.label}:{number}",
        hint="put line breaks into the text, or raise the limit: --set corpus.max_line_bytes=…",
    )


def _damaged(source: Source, error: Exception) -> DataError:
    if source.compression is None:
        return DataError(f"cannot be read: {error}", code="UNREADABLE", where=source.label)
    return DataError(
        f"the {source.compression} data are damaged or cut off ({' '.join(str(error).split())})",
        code="TRUNCATED",
        where=source.label,
        hint="fetch or compress the file again",
    )
