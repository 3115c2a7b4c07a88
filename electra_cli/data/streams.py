"""The decompressed bytes of one source, from any place of it."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from electra_cli.data.magic import HEAD, refuse_inside
from electra_cli.data.sources import Source
from electra_cli.data.stores import is_of_store, store_error
from electra_cli.errors import DataError, ElectraError

BUFFER = 8 * 1024 * 1024
"""Bytes asked of an object store at once: an answer takes as long to begin as these take to come."""

_XZ_PIECE = 64 * 1024
_XZ_MEMORY = 192 * 1024 * 1024  # xz -9 needs 65 MiB; a header may demand 4 GiB


class Stream:
    """Decompressed bytes in order.

    Args:
        source: what is read.
        raw: the open file, at the place where reading begins.
    """

    def __init__(self, source: Source, raw: Any) -> None:
        self._source = source
        self._raw = raw
        self._began = int(raw.tell())
        self._first = source.compression is not None
        stream = raw if source.store is None else pa.BufferedInputStream(raw, BUFFER)
        if source.compression == "xz":
            stream = _Xz(stream)
        elif source.compression is not None:
            stream = pa.CompressedInputStream(stream, source.compression)
        self._stream: Any = stream

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, fewer only at the end.

        Raises DataError (damaged, cut off, unreadable), UsageError (an archive inside), ResourceError (store).
        """
        try:
            data: bytes = self._stream.read(size)
        except (OSError, pa.ArrowException, lzma.LZMAError) as error:
            raise read_error(self._source, error) from error
        if self._first:
            refuse_inside(data[:HEAD], self._source.label)
            self._first = False
        return data

    def consumed(self) -> int:
        """Return how many bytes of the file were read so far."""
        return int(self._raw.tell()) - self._began


@contextmanager
def opened(source: Source, *, start: int = 0) -> Iterator[Stream]:
    """Open a source for reading from byte `start`, which is 0 for a compressed one; errors as `Source.open`."""
    with source.open() as raw:
        if start:
            raw.seek(start)
        yield Stream(source, raw)


class _Xz:
    """A reader of `.xz`, which pyarrow does not know: streams one after the other, padding between, bounded memory."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._unpacker = _xz_unpacker()
        self._pending = b""  # read, and not yet given to the unpacker

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            if self._unpacker.eof and not self._next_stream():
                break
            data = b""
            if self._unpacker.needs_input:
                data, self._pending = self._pending or self._raw.read(_XZ_PIECE), b""
                if not data:
                    raise lzma.LZMAError("the end is missing")
            part = self._unpacker.decompress(data, max_length=size)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _next_stream(self) -> bool:
        """Go on to the stream behind the one that has ended; return whether there is one."""
        rest, padding = self._unpacker.unused_data or self._raw.read(_XZ_PIECE), 0
        while rest and not (left := rest.lstrip(b"\0")):
            padding += len(rest)
            rest = self._raw.read(_XZ_PIECE)
        if (padding + len(rest) - (len(left) if rest else 0)) % 4:
            raise lzma.LZMAError("garbage behind the end")
        if rest:
            self._unpacker, self._pending = _xz_unpacker(), left
        return bool(rest)


def _xz_unpacker() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def read_error(source: Source, error: Exception) -> ElectraError:
    """Return what an error met while reading a source means: its store's fault, damage, or a disk's."""
    if source.store is not None and (source.compression is None or is_of_store(error)):
        return store_error(error, source.label)
    reason = " ".join(str(error).split())
    if source.compression is None:
        return DataError(f"cannot be read: {reason}", code="UNREADABLE", where=source.label)
    return DataError(
        f"the {source.compression} data are damaged or cut off ({reason})",
        code="TRUNCATED",
        where=source.label,
        hint="fetch or compress the file again",
    )
