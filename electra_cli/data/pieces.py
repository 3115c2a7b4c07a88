"""Pieces of a corpus: amounts of text that any process can read by itself, planned from the sizes of files alone.

Where a piece begins depends on nothing that has to be read first, so that workers, a cluster's nodes or the jobs of an
array each find their own without a reader in the middle. Piece after piece, the documents are those of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from electra_cli.data.sources import CorpusSettings, Source

if TYPE_CHECKING:
    from electra_cli.data.corpus import Document, Tally

SMALLEST_UNIT = 8 * 1024 * 1024
LARGEST_UNIT = 128 * 1024 * 1024  # a worker needs about 160 MB, and twice the size of a unit
_UNITS = 4096  # files of a large corpus should stay about this many, so that opening them stays quick


@dataclass(frozen=True)
class Span:
    """A part of one source: the documents that begin at a byte from `start` up to `stop` (None: its end)."""

    source: Source
    start: int = 0
    stop: int | None = None

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return (self.source.bytes if self.stop is None else self.stop) - self.start


@dataclass(frozen=True)
class Piece:
    """Consecutive spans of a corpus, to be read by one process; `number` counts from 0 in the order of the corpus."""

    number: int
    spans: tuple[Span, ...]

    @property
    def bytes(self) -> int:
        """Its size in the files, compressed or not."""
        return sum(span.bytes for span in self.spans)


def unit_size(sources: Sequence[Source]) -> int:
    """Return how many bytes a piece should have where the user does not say: a power of two from 8 to 128 MiB."""
    total = sum(source.bytes for source in sources)
    size = SMALLEST_UNIT
    while size < LARGEST_UNIT and size * _UNITS < total:
        size *= 2
    return size


def plan_pieces(
    sources: Sequence[Source], *, piece_bytes: int, splittable: Callable[[Source], bool] = lambda _: False
) -> list[Piece]:
    """Cut a corpus into pieces of about `piece_bytes` of its files: small files share one, large ones have several.

    `splittable` is asked about files that do not fit one piece; see `data.corpus.splittable`.
    """
    pieces: list[Piece] = []
    spans: list[Span] = []
    held = 0
    for source in sources:
        start = 0
        if source.bytes > piece_bytes and splittable(source):
            while source.bytes - start > piece_bytes - held:
                spans.append(Span(source, start, start + piece_bytes - held))
                start += piece_bytes - held
                pieces.append(Piece(len(pieces), tuple(spans)))
                spans, held = [], 0
        spans.append(Span(source, start))
        held += source.bytes - start
        if held >= piece_bytes:
            pieces.append(Piece(len(pieces), tuple(spans)))
            spans, held = [], 0
    if spans:
        pieces.append(Piece(len(pieces), tuple(spans)))
    return pieces


def read_piece(
    piece: Piece, settings: CorpusSettings, *, tally: Tally, advance: Callable[[int], None] = lambda _: None
) -> Iterator[Document]:
    """Yield the documents of a piece in order, in bounded memory, and count them in `tally`.

    Args:
        piece: see `plan_pieces`.
        settings: how text is read.
        tally: what is handed out and what is left out is counted here.
        advance: called with the number of bytes read from the files.

    Raises:
        DataError: the data are damaged, not UTF-8, or not what the format demands.
        UsageError: a compressed file holds an archive.
    """
    from electra_cli.data.corpus import read_span

    for span in piece.spans:
        yield from read_span(span, settings, tally=tally, advance=advance)
