"""What wikiextractor writes: `<doc id=… title=…>`, the title, the text, `</doc>`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from electra_cli.data.documents import Document, Tally
from electra_cli.data.kinds import WIKI_START
from electra_cli.data.lines import Block
from electra_cli.data.sources import CorpusSettings

_END = "</doc>"


def read_wiki(blocks: Iterable[Block], label: str, settings: CorpusSettings, tally: Tally) -> Iterator[Document]:
    """Yield the documents of wikiextractor's output; blank lines in them are paragraphs, too long ones are cut.

    The first line of a block is the article's title. A block with nothing else (many are: redirects, pages that are
    only a table) is left out.
    """
    limit = settings.max_document_chars
    lines: list[str] = []
    start = size = 0  # start 0: outside a block
    cut = False
    for block in blocks:
        for index, line in enumerate(block.lines):
            text = line.strip()
            opens = text.startswith("<doc ") and WIKI_START.match(text)
            if opens or text == _END:
                if len(lines) > 1 or cut:
                    yield Document(lines, label, start)
                elif start:
                    tally.drop("documents_without_text")
                lines, size, cut = [], 0, False
                start = block.number(index) if opens else 0
            elif text and start:
                if lines and size + len(text) > limit:
                    tally.drop("document_cuts")
                    yield Document(lines, label, start)
                    lines, size, cut = [], 0, True
                lines.append(text)
                size += len(text)
            elif text:
                tally.drop("lines_outside_documents")
    if len(lines) > 1 or cut:
        yield Document(lines, label, start)
    elif start:
        tally.drop("documents_without_text")
