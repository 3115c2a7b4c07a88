"""A document, and the count of what was read and what was not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Document:
    """One document.

    Attributes:
        lines: its lines, stripped, none of them blank.
        source: the file that it comes from.
        line: the number of its first line there, from 1 (Parquet: of its row); where a file is read in several spans,
            counted from the first line of its span.
    """

    lines: list[str]
    source: str
    line: int


@dataclass
class Tally:
    """What was read and what was not.

    Attributes:
        documents, lines, characters: what was handed out.
        dropped: reason → how many of the things that the reason names were left out or altered.
    """

    documents: int = 0
    lines: int = 0
    characters: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def drop(self, reason: str, number: int = 1) -> None:
        """Count something left out or altered."""
        self.dropped[reason] += number

    def add(self, other: Tally) -> None:
        """Add what was counted elsewhere, such as in another span."""
        self.documents += other.documents
        self.lines += other.lines
        self.characters += other.characters
        self.dropped.update(other.dropped)
