"""The first phase of finding duplicates: what is remembered of each document, piece by piece, in any process.

A document becomes the first 16 bytes of its digest and, where near-duplicates are wanted, its MinHash signature of 128
bytes, in a file for each piece, in the order of the piece. A record says that the file is complete, so an interrupted
run keeps what it scanned.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from electra_cli.artifacts import HashingFile, storage_errors
from electra_cli.artifacts.storage import write_durably
from electra_cli.data.documents import Document
from electra_cli.data.segments import digest_of
from electra_cli.data.shingles import PART
from electra_cli.data.signatures import SLOTS, Signer

DIGEST = 16
"""Bytes kept of a document's sha256: the chance that two of a billion different documents agree is 10^-20."""

_DIGEST_FIELD = ("digest", "<u8", (DIGEST // 8,))
EXACT_ENTRY = np.dtype([_DIGEST_FIELD])
NEAR_ENTRY = np.dtype([_DIGEST_FIELD, ("signature", "u1", (SLOTS,))])

Entries = npt.NDArray[np.void]


@dataclass(frozen=True)
class ScanFolder:
    """Where a run keeps what it scanned.

    Attributes:
        path: the folder; made when needed.
        recipe_id: whose scans these are; others are not used.
        shingle: units of a shingle; None where only exact duplicates are wanted.
    """

    path: Path
    recipe_id: str
    shingle: int | None

    @property
    def entry(self) -> np.dtype[np.void]:
        """What is kept of a document."""
        return EXACT_ENTRY if self.shingle is None else NEAR_ENTRY

    def file(self, number: int) -> Path:
        """Return the path of a piece's scan."""
        return self.path / f"{number:06d}.scan"

    def record(self, number: int) -> Path:
        """Return the path of the record that a piece's scan is complete."""
        return self.path / f"{number:06d}.json"


@dataclass(frozen=True)
class ScanRecord:
    """A complete scan of one piece."""

    number: int
    recipe_id: str
    documents: int
    sha256: str


class Scanner:
    """Scans pieces, in whatever process."""

    def __init__(self, folder: ScanFolder) -> None:
        self._folder = folder
        # A piece may be scanned twice at once, where a cluster lost sight of a worker.
        self._writer = secrets.token_hex(8)
        self._signer = None if folder.shingle is None else Signer(shingle=folder.shingle)

    def scan(self, number: int, documents: Iterable[Document]) -> ScanRecord:
        """Write what is remembered of a piece's documents, and the record after it; both are durable then."""
        path = self._folder.file(number)
        temporary = path.with_name(f".{path.name}.{self._writer}.tmp")
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
            file = HashingFile(temporary)
        try:
            count = 0
            for texts in _batches(documents):
                entries = self._entries(texts)
                with storage_errors(path):
                    file.write(entries.tobytes())
                count += len(texts)
            with storage_errors(path):
                file.close()
                os.rename(temporary, path)
        finally:
            file.close()
        record = ScanRecord(number, self._folder.recipe_id, count, file.sha256)
        with storage_errors(path):
            write_durably(self._folder.record(number), json.dumps(asdict(record)).encode("ascii"), writer=self._writer)
        return record

    def _entries(self, texts: list[str]) -> Entries:
        entries = np.zeros(len(texts), dtype=self._folder.entry)
        digests = b"".join(digest_of(text.encode("utf-8"))[:DIGEST] for text in texts)
        entries["digest"] = np.frombuffer(digests, dtype="<u8").reshape(len(texts), -1)
        if self._signer is not None:
            entries["signature"] = self._signer.sign(texts)
        return entries


def discard_torn_scans(folder: ScanFolder) -> None:
    """Remove what scanners that were killed left half-written; for the holder of the draft, before work begins."""
    with storage_errors(folder.path):
        for path in folder.path.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def finished_scan(folder: ScanFolder, number: int) -> ScanRecord | None:
    """Return the record of a piece that an interrupted run scanned, None where it must be scanned (again)."""
    try:
        record = ScanRecord(**json.loads(folder.record(number).read_bytes()))
        if (record.recipe_id, record.number) != (folder.recipe_id, number):
            return None
        with open(folder.file(number), "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
                return None
    except (OSError, ValueError, TypeError):  # missing, torn, or of another version
        return None
    return record


def read_entries(folder: ScanFolder, number: int, *, at_once: int) -> Iterator[Entries]:
    """Yield what was remembered of a piece's documents, in order, at most `at_once` of them together."""
    with storage_errors(folder.file(number)), open(folder.file(number), "rb") as file:
        while data := file.read(at_once * folder.entry.itemsize):
            yield np.frombuffer(data, dtype=folder.entry)


def _batches(documents: Iterable[Document]) -> Iterator[list[str]]:
    """Yield the texts of documents in batches worth a call."""
    batch: list[str] = []
    size = 0
    for document in documents:
        text = "\n".join(document.lines)
        if batch and size + len(text) > PART:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch
