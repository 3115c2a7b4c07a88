"""CSV and TSV: a header, and a document a row.

Strict by intent: a row that does not fit its header is an error with file, line and row number, never a guess.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Literal

from electra_cli.data.documents import Document, Tally
from electra_cli.data.formats.rows import no_column, read_value
from electra_cli.data.lines import Block, Places
from electra_cli.data.sources import CorpusSettings
from electra_cli.errors import DataError

_DELIMITERS = {"csv": ",", "tsv": "\t"}


def read_delimited(
    kind: Literal["csv", "tsv"], blocks: Iterable[Block], places: Places, settings: CorpusSettings, tally: Tally
) -> Iterator[Document]:
    """Yield a document for each row below the header; blank lines between rows are passed over."""
    delimiter = _DELIMITERS[kind]
    if settings.quotes == "none" or (settings.quotes == "auto" and kind == "tsv"):
        records = _unquoted(blocks, delimiter)
    else:
        records = _quoted(blocks, delimiter, places, settings.max_line_bytes)
    header: list[str] = []
    column = row = 0
    for number, fields in records:
        if not header:
            header, column = fields, _place(fields, number, places, settings)
            continue
        row += 1
        if len(fields) != len(header):
            raise DataError(
                f"row {row} has {len(fields)} columns, expected {len(header)} ({', '.join(header)})",
                code="RAGGED_ROW",
                where=places.where(number),
            )
        yield from read_value(fields[column], number, places=places, settings=settings, tally=tally)


def _place(header: list[str], number: int, places: Places, settings: CorpusSettings) -> int:
    """Return which column holds the text."""
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise DataError(
            f"a column name stands twice in the header: {', '.join(doubled)}",
            code="DUPLICATE_COLUMN",
            where=places.where(number),
            hint="the first line must be a header, each name once",
        )
    if settings.text_column not in header:
        raise no_column(settings.text_column, header, where=places.where(number))
    return header.index(settings.text_column)


def _unquoted(blocks: Iterable[Block], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the numbered rows of a file in which a row is a line and quotes mean nothing."""
    for block in blocks:
        for index, line in enumerate(block.lines):
            if text := line.removesuffix("\r"):
                yield block.number(index), text.split(delimiter)


def _quoted(blocks: Iterable[Block], delimiter: str, places: Places, limit: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a file with quoted fields, each with the number of the line it starts at.

    A row is held until it ends, so it must not be longer than `limit` characters, by which an open quote is noticed.
    """
    # The library's own limit is of the whole process, and of a field; ours is of a row.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    start = held = 0

    def fed() -> Iterator[str]:
        nonlocal start, held
        for block in blocks:
            for index, line in enumerate(block.lines):
                start = start or block.number(index)
                held += len(line) + 1
                if held > limit:
                    raise DataError(
                        f"the row that begins here is longer than {limit} bytes: is a quote left open?",
                        code="LINE_TOO_LONG",
                        where=places.where(start),
                        hint="close the quote, or raise the limit: --set corpus.max_line_bytes=…",
                    )
                yield line + "\n"

    reader = csv.reader(fed(), delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"not valid CSV from here on: {error}",
                code="BAD_CSV",
                where=places.where(start),
                hint='a field with a quote, a delimiter or a line break stands in "quotes", quotes inside doubled; '
                "where quotes mean nothing, --set corpus.quotes=none",
            ) from error
        if fields:
            yield start, fields
        start = held = 0
