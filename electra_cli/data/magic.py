"""What the first bytes of a file say that it is; its name says nothing."""

from __future__ import annotations

from typing import Literal

from electra_cli.errors import DataError, UsageError

Compression = Literal["gzip", "zstd", "bz2", "xz", "lz4"]

HEAD = 512
"""Bytes that are enough to tell."""

_COMPRESSED: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_SKIPPABLE = b"\x2a\x4d\x18"  # after a byte 0x50–0x5f: a frame without text, as pzstd writes before each of its others
_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lz4", ".parquet")
_ARCHIVES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive", "extract it first: unzip FILE -d FOLDER, and give the folder"),
    (0, b"PK\x05\x06", "an empty zip archive", "extract it first and give the folder"),
    (257, b"ustar", "a tar archive", "extract it first: tar -xf FILE -C FOLDER, and give the folder"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "extract it first and give the folder"),
    (0, b"Rar!\x1a\x07", "a rar archive", "extract it first and give the folder"),
)


def compression_of(head: bytes) -> Compression | None:
    """Return how the file that begins with `head` is compressed, None for not at all."""
    found = next((name for magic, name in _COMPRESSED if head.startswith(magic)), None)
    if found is None and head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F:
        return compression_of(head[8 + int.from_bytes(head[4:8], "little") :])
    return found


def is_parquet(head: bytes) -> bool:
    """Return whether the file that begins with `head` is a Parquet file."""
    return head.startswith(b"PAR1")


def refuse_unreadable(head: bytes, *, name: str, label: str) -> None:
    """Raise what the first bytes of a file call for where it cannot be a corpus.

    Raises:
        UsageError: an archive, which must be extracted first.
        DataError: a compressed file (by its name, as there is nothing else) that ends before it began.
    """
    for offset, magic, what, hint in _ARCHIVES:
        if head[offset : offset + len(magic)] == magic:
            raise UsageError(f"is {what}: extract first", code="ARCHIVE", where=label, hint=hint)
    suffix = next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix is not None and len(head) < 8 and compression_of(head) is None:
        raise DataError(
            f"is empty or cut off: {len(head)} bytes are no {suffix} file",
            code="TRUNCATED",
            where=label,
            hint="fetch or compress it again",
        )


def refuse_inside(head: bytes, label: str) -> None:
    """Raise UsageError if what a compressed file unpacks to is an archive, or packed again."""
    for offset, magic, what, hint in _ARCHIVES:
        if head[offset : offset + len(magic)] == magic:
            raise UsageError(f"holds {what}: extract first", code="ARCHIVE", where=label, hint=hint)
    inner = "Parquet" if is_parquet(head) else compression_of(head)
    if inner is not None:
        raise UsageError(
            f"holds {inner} data: unpack first",
            code="ARCHIVE",
            where=label,
            hint="one compression is undone on the way, not two; Parquet brings its own",
        )
