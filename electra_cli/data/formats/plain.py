"""Plain text: a document a file, a paragraph between blank lines, or a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from electra_cli.data.documents import Document, Tally
from electra_cli.data.lines import Block
from electra_cli.data.sources import CorpusSettings


def read_plain(blocks: Iterable[Block], label: str, settings: CorpusSettings, tally: Tally) -> Iterator[Document]:
    """Yield the documents of plain text; ones that are too long are cut while they are read."""
    ends_at_blank, ends_at_line = settings.document == "blank-line", settings.document == "line"
    limit = settings.max_document_chars
    lines: list[str] = []
    start = size = 0
    for block in blocks:
        ends_here = ends_at_line and not block.goes_on
        for index, line in enumerate(block.lines):
            text = line.strip()
            if text:
                if not lines:
                    start = block.number(index)
                elif size + len(text) > limit:
                    tally.drop("document_cuts")
                    yield Document(lines, label, start)
                    lines, size, start = [], 0, block.number(index)
                lines.append(text)
                size += len(text)
            if lines and ((ends_at_blank and not text) or ends_here):
                yield Document(lines, label, start)
                lines, size = [], 0
    if lines:
        yield Document(lines, label, start)
