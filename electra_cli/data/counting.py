"""The words of a corpus, counted piece by piece in any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from electra_cli.data.corpus import Tally
from electra_cli.data.dedup import Duplicates
from electra_cli.data.pieces import Piece, read_piece
from electra_cli.data.sources import CorpusSettings
from electra_cli.data.word_tables import Item, WordTable
from electra_cli.data.words import ChunkCounter
from electra_cli.text.parts import WordRules
from electra_cli.text.words import words_of

HELD = 500_000
"""Distinct words that a worker holds, and distinct chunks: some 130 MB together."""


@dataclass(frozen=True)
class PieceWords:
    """The words of one piece, in a form that is cheap to send.

    Attributes:
        words: distinct words, each with a newline behind it, UTF-8.
        counts: of each, int64.
        runs: files with words that were too many to send.
        tally: what was read.
    """

    words: bytes
    counts: bytes
    runs: tuple[Path, ...]
    tally: Tally

    def items(self) -> Iterator[Item]:
        """Yield the words that were sent, with their counts."""
        words = self.words.decode("utf-8").split("\n")
        return zip(words[:-1], np.frombuffer(self.counts, dtype=np.int64).tolist(), strict=True)


@dataclass(frozen=True)
class CountJob:
    """Counting the words of pieces (`workers.Job`).

    Attributes:
        folder: where a worker writes what it cannot hold.
        corpus: how text is read.
        rules: how it becomes words (`text.words.words_of`).
        held: distinct words that a worker holds.
        duplicates: which documents are left out because the corpus had them before; None: all stay.
    """

    folder: Path
    corpus: CorpusSettings
    rules: WordRules
    held: int = HELD
    duplicates: Duplicates | None = None

    def start(self) -> Callable[[Piece], PieceWords]:
        """Return what counts the words of one piece."""
        return self._count

    def _count(self, piece: Piece) -> PieceWords:
        tally = Tally()
        table = WordTable(self.folder, f"piece-{piece.number}", limit=self.held)
        counter = ChunkCounter(rule=self.rules.cut_rule)
        documents = read_piece(piece, self.corpus, tally=tally)
        if self.duplicates is not None:
            documents = self.duplicates.left_out(piece.number, documents, tally=tally)
        for document in documents:
            counter.add(document.lines)
            if counter.distinct > self.held:
                table.add(self._words(counter.drain()).items())
        table.add(self._words(counter.drain()).items())
        if not table.in_memory:
            return PieceWords(b"", b"", tuple(table.write()), tally)
        items = list(table.items())
        words = "".join(f"{word}\n" for word, _ in items).encode("utf-8")
        return PieceWords(words, np.array([count for _, count in items], dtype=np.int64).tobytes(), (), tally)

    def _words(self, chunks: Mapping[str, int]) -> dict[str, int]:
        return words_of(chunks, self.rules)
