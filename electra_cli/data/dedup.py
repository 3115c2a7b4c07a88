"""Leaving out documents that the corpus had before: scan the pieces, decide, and read them without.

What is left out depends on the order of the documents and on the settings, not on how the corpus is cut into pieces or
who scans them when. `dedup_scan` and `dedup_decide` say how.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from electra_cli.artifacts import storage_errors
from electra_cli.artifacts.storage import write_durably
from electra_cli.data.dedup_decide import EXACT, KEPT, NEAR, Scans, decide, passes
from electra_cli.data.dedup_scan import ScanFolder, Scanner, ScanRecord, discard_torn_scans, finished_scan
from electra_cli.data.dedup_settings import DedupSettings
from electra_cli.data.documents import Document, Tally
from electra_cli.data.pieces import Piece, read_piece
from electra_cli.data.sources import CorpusSettings
from electra_cli.data.workers import Engine
from electra_cli.errors import DataError
from electra_cli.reporting import Reporter

REASONS = {EXACT: "duplicate_documents", NEAR: "near_duplicate_documents"}
"""What a document that is left out is counted as."""

_VERDICTS, _OFFSETS, _DECISION = "verdicts.bin", "offsets.bin", "decision.json"


@dataclass(frozen=True)
class Duplicates:
    """What was decided of a corpus: in `folder` a byte for each document, and where each piece's begin."""

    folder: Path

    def left_out(self, number: int, documents: Iterable[Document], *, tally: Tally) -> Iterator[Document]:
        """Yield a piece's documents without the duplicates, which `tally` counts as left out instead of read.

        Raises:
            DataError: these are not as many documents as were scanned: the text has changed since.
        """
        offsets = np.memmap(self.folder / _OFFSETS, dtype="<i8", mode="r")
        start, stop = int(offsets[number]), int(offsets[number + 1])
        with storage_errors(self.folder), open(self.folder / _VERDICTS, "rb") as file:
            file.seek(start)
            verdicts = file.read(stop - start)
        for document, verdict in zip_longest(documents, verdicts):
            if document is None or verdict is None:
                raise DataError(
                    f"the text has changed: it had {len(verdicts)} documents here when it was first read",
                    code="CHANGED",
                    hint="run the same command again when nothing writes to the files",
                )
            if verdict == KEPT:
                yield document
            else:
                tally.documents -= 1
                tally.lines -= len(document.lines)
                tally.characters -= sum(map(len, document.lines))
                tally.drop(REASONS[verdict])


@dataclass(frozen=True)
class ScanJob:
    """Scanning the pieces of a corpus (`workers.Job`)."""

    folder: ScanFolder
    corpus: CorpusSettings

    def start(self) -> Callable[[Piece], ScanRecord]:
        """Return what scans a piece."""
        scanner = Scanner(self.folder)

        def scan(piece: Piece) -> ScanRecord:
            return scanner.scan(piece.number, read_piece(piece, self.corpus, tally=Tally()))

        return scan


def find_duplicates(
    pieces: Sequence[Piece],
    *,
    folder: Path,
    corpus: CorpusSettings,
    settings: DedupSettings,
    recipe_id: str,
    engine: Engine,
    workers: int,
    report: Reporter,
) -> Duplicates | None:
    """Find the documents to leave out; None where none are wanted out.

    What an interrupted call finished is used again.

    Args:
        pieces: the corpus, in order.
        folder: where the scans and the decision are kept; made here.
        corpus: how the text is read.
        settings: what counts as a duplicate.
        recipe_id: whose scans these are.
        engine: what scans the pieces.
        workers: processes that scan; 0 where the engine decides.
        report: where progress goes.

    Raises:
        DataError: the text cannot be read.
        UsageError: a library is missing.
        WorkerError, ResourceError: a worker died; the disk is full.
    """
    if settings.match == "none":
        return None
    settings.check_installed()
    near = settings.match == "near"
    scans = ScanFolder(folder, recipe_id, settings.shingle if near else None)
    if not _decided(folder, recipe_id, pieces=len(pieces)):
        records = _scan(pieces, ScanJob(scans, corpus), engine=engine, workers=workers, report=report)
        _decide(Scans(scans, records), recipe_id, threshold=settings.threshold if near else None, report=report)
    return Duplicates(folder)


def _scan(pieces: Sequence[Piece], job: ScanJob, *, engine: Engine, workers: int, report: Reporter) -> list[ScanRecord]:
    """Scan what is not scanned yet; return the records of all pieces in order."""
    discard_torn_scans(job.folder)
    records = {piece.number: record for piece in pieces if (record := finished_scan(job.folder, piece.number))}
    missing = [piece for piece in pieces if piece.number not in records]
    total, left = sum(piece.bytes for piece in pieces), sum(piece.bytes for piece in missing)
    with report.progress("looking for duplicates", total=total, unit="bytes", done=total - left) as meter:
        if missing:
            for piece, record in engine(job, missing, workers=min(workers, len(missing))):
                records[piece.number] = record
                meter.advance(piece.bytes)
    return [records[piece.number] for piece in pieces]


def _decide(scans: Scans, recipe_id: str, *, threshold: float | None, report: Reporter) -> None:
    """Decide, make the decision durable, and remove the scans, which are not needed any more."""
    folder = scans.folder.path
    with report.progress("comparing documents", total=passes(threshold), unit="passes") as meter:
        verdicts = decide(scans, folder / "work", threshold=threshold, advance=meter.advance)
    offsets = scans.offsets.astype("<i8").tobytes()
    decision = _Decision(recipe_id, len(scans.offsets) - 1, _sha256(verdicts.data), _sha256(offsets))
    with storage_errors(folder):
        write_durably(folder / _VERDICTS, verdicts.data)
        write_durably(folder / _OFFSETS, offsets)
        write_durably(folder / _DECISION, json.dumps(asdict(decision)).encode("ascii"))
        for number in range(decision.pieces):
            scans.folder.record(number).unlink(missing_ok=True)
            scans.folder.file(number).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Decision:
    recipe_id: str
    pieces: int
    verdicts: str
    offsets: str


def _decided(folder: Path, recipe_id: str, *, pieces: int) -> bool:
    """Whether an interrupted call decided already."""
    try:
        found = _Decision(**json.loads((folder / _DECISION).read_bytes()))
        with open(folder / _VERDICTS, "rb") as verdicts, open(folder / _OFFSETS, "rb") as offsets:
            hashes = [hashlib.file_digest(file, "sha256").hexdigest() for file in (verdicts, offsets)]
    except (OSError, ValueError, TypeError):  # missing, torn, or of another version
        return False
    return found == _Decision(recipe_id, pieces, *hashes)


def _sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
