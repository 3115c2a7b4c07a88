"""Parts of a run: shares of a corpus's pieces that know nothing of each other, for arrays of jobs on many machines.

Every part works out the same plan from the list of files and their sizes, takes the pieces that are its own, and reads
no other file. Shares are consecutive, so that a part touches few files, and balanced by the files' bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from electra_cli.artifacts.manifest import fingerprint
from electra_cli.data.pieces import Piece
from electra_cli.data.sources import Source
from electra_cli.errors import UsageError

MOST_PARTS = 100_000


@dataclass(frozen=True)
class Part:
    """Which part of how many; the first is number 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def parse_part(text: str) -> Part:
    """Return the part that `text` names, such as `3/8`; UsageError for anything else."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if found and 1 <= int(found[1]) <= int(found[2]) <= MOST_PARTS:
        return Part(int(found[1]), int(found[2]))
    raise UsageError(
        f"{text!r} is not one of the parts 1/N to N/N",
        code="BAD_PART",
        where="--part",
        hint=f"for example --part 3/8; N is at most {MOST_PARTS:,}",
    )


@dataclass(frozen=True)
class Share:
    """What one part does.

    Attributes:
        part: which one it is.
        pieces: its pieces; none where there are fewer than parts.
        numbers: of the files that those lie in, among all files of the corpus.
        files: files of the whole corpus.
        all_pieces: pieces of the whole corpus.
        plan: fingerprint of how the corpus is cut; parts belong together only if it is the same.
    """

    part: Part
    pieces: tuple[Piece, ...]
    numbers: tuple[int, ...]
    files: int
    all_pieces: int
    plan: str

    def to_json(self) -> dict[str, object]:
        """Return what a recipe says about it."""
        return {"number": self.part.number, "of": self.part.of, "plan": self.plan}


def share_of(sources: Sequence[Source], pieces: Sequence[Piece], part: Part) -> Share:
    """Return what `part` does of a corpus cut into `pieces`: those whose middle lies in its share of the bytes."""
    numbers = {source: number for number, source in enumerate(sources)}
    total = max(sum(piece.bytes for piece in pieces), 1)
    mine: list[Piece] = []
    begin = 0
    for piece in pieces:
        # whole numbers only: every machine must come to the same shares
        if min((2 * begin + piece.bytes) * part.of // (2 * total), part.of - 1) == part.number - 1:
            mine.append(piece)
        begin += piece.bytes
    spans = [[[numbers[span.source], span.start, span.stop] for span in piece.spans] for piece in pieces]
    return Share(
        part=part,
        pieces=tuple(mine),
        numbers=tuple(sorted({numbers[span.source] for piece in mine for span in piece.spans})),
        files=len(sources),
        all_pieces=len(pieces),
        plan=fingerprint([[source.bytes for source in sources], spans]),
    )
