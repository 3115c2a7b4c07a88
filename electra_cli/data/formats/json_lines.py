"""JSON lines: an object a line, a document each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from electra_cli.data.documents import Document, Tally
from electra_cli.data.formats.rows import no_column, read_value
from electra_cli.data.lines import Block, Places
from electra_cli.data.sources import CorpusSettings
from electra_cli.errors import DataError


def read_json_lines(
    blocks: Iterable[Block], places: Places, settings: CorpusSettings, tally: Tally
) -> Iterator[Document]:
    """Yield a document for each line that is not blank."""
    for block in blocks:
        for index, line in enumerate(block.lines):
            if line.strip():
                number = block.number(index)
                text = _text_of(_parsed(line, number, places), settings.text_column, number, places)
                yield from read_value(text, number, places=places, settings=settings, tally=tally)


def _parsed(line: str, number: int, places: Places) -> dict[str, Any]:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) != len(pairs):
            raise ValueError("a key stands twice")
        return row

    try:
        row = json.loads(line, parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not a line of JSON: {error}", code="BAD_JSON", where=places.where(number)) from error
    if not isinstance(row, dict):
        raise DataError(
            "not a JSON object", code="BAD_JSON", where=places.where(number), hint='each line: {"text": "…"}'
        )
    return row


def _text_of(row: dict[str, Any], column: str, number: int, places: Places) -> str | None:
    if column not in row:
        raise no_column(column, list(row), where=places.where(number))
    text = row[column]
    if text is None or isinstance(text, str):
        return text
    raise DataError(
        f"column {column!r} is {type(text).__name__}, not text", code="NOT_TEXT", where=places.where(number)
    )
