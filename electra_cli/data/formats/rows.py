"""Text that comes as one value of a row: checked, and cut where it is too long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from electra_cli.data.documents import Document, Tally
from electra_cli.data.lines import Places
from electra_cli.data.sources import CorpusSettings
from electra_cli.errors import DataError

_SHOWN = 10  # columns that a message lists


def read_value(
    text: str | None, number: int, *, places: Places, settings: CorpusSettings, tally: Tally
) -> Iterator[Document]:
    """Yield the document of one row's text, several if it is too long, none if there is nothing in it."""
    if text is None:
        tally.drop("empty_texts")
        return
    if "\0" in text:
        tally.drop("nul_characters", text.count("\0"))
        text = text.replace("\0", "")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"the text holds half of a surrogate pair (\\u{ord(text[error.start]):04x})",
                code="LONE_SURROGATE",
                where=places.where(number),
                hint="repair the \\ud800-\\udfff escape",
            ) from error
    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    if not lines:
        tally.drop("empty_texts")
    elif len(text) <= settings.max_document_chars:
        yield Document(lines, places.source.label, number)
    else:
        yield from _cut(Document(lines, places.source.label, number), settings.max_document_chars, tally)


def no_column(column: str, names: Sequence[str], *, where: str) -> DataError:
    """Return the error for a row or file without the text column."""
    listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return DataError(
        f"has no column {column!r}: {listed or 'it has none at all'}",
        code="NO_COLUMN",
        where=where,
        hint="--set corpus.text_column=NAME",
    )


def _cut(document: Document, limit: int, tally: Tally) -> Iterator[Document]:
    """Cut a document at line ends."""
    part: list[str] = []
    size = 0
    for line in document.lines:
        if part and size + len(line) > limit:
            tally.drop("document_cuts")
            yield Document(part, document.source, document.line)
            part, size = [], 0
        part.append(line)
        size += len(line)
    yield Document(part, document.source, document.line)
