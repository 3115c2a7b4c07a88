"""What a text file holds, seen at its first line with something on it."""

from __future__ import annotations

import codecs
import csv
import json
import re
from typing import Literal

from electra_cli.data.lines import decoded_line
from electra_cli.data.sources import CorpusSettings, Source
from electra_cli.data.streams import Stream, opened
from electra_cli.errors import DataError, UsageError

Kind = Literal["text", "wiki", "jsonl", "csv", "tsv", "parquet"]

WIKI_START = re.compile(r'<doc id="[^"]*".*>\Z')
_BLOCK = 64 * 1024
_HEADER = 4096  # characters; a longer line is text, whatever stands in it
_NAME = re.compile(r"[\w.-]+(?: [\w.-]+){0,3}")  # of a column, as against a sentence


def kind_of(source: Source, settings: CorpusSettings) -> Kind:
    """Return the format of a source: the one that was set, or what its head shows, wherever reading begins.

    Raises DataError where the text column is missing or the data are damaged, UsageError where a guess would be needed.
    """
    if settings.format != "auto":
        return settings.format
    if source.parquet and source.compression is None:
        return "parquet"
    with opened(source) as stream:
        number, line, complete = _first_line(stream, settings)
    where = f"{source.label}:{number}"
    if WIKI_START.match(line):
        return "wiki"
    if line.startswith("{") and (line.endswith("}") or not complete):
        return _json_or_text(line, where, settings, complete=complete)
    if complete and len(line) < _HEADER:
        _refuse_header(line, where, settings)
    return "text"


def _first_line(stream: Stream, settings: CorpusSettings) -> tuple[int, str, bool]:
    """Return the number of the first line that is not blank, the line stripped, and whether it is complete.

    Of a line that is longer than allowed only the beginning is read.
    """
    held, number, mark = b"", 1, True
    while data := stream.read(max(_BLOCK, len(held))):
        held += data
        if mark:  # the first block: all of a short file, or more than the mark
            held, mark = held.removeprefix(codecs.BOM_UTF8), False
        stop = held.rfind(b"\n") + 1
        lines, held = held[:stop], held[stop:]
        if lines.isspace():
            number += lines.count(b"\n")
            continue
        for line in lines.split(b"\n")[:-1]:
            if text := (decoded_line(line, settings) or "").strip():
                return number, text, True
            number += 1
        if len(held) > settings.max_line_bytes:
            return number, held.decode("utf-8", "replace").replace("\0", "").strip(), False
    return number, (decoded_line(held, settings) or "").strip(), True


def _json_or_text(line: str, where: str, settings: CorpusSettings, *, complete: bool) -> Kind:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        # What is too long to be looked at whole is JSON rather than text: the error about it says how to say otherwise.
        return "text" if complete else "jsonl"
    if settings.text_column not in row:
        raise DataError(
            f"looks like JSON lines, but has no column {settings.text_column!r}: {', '.join(list(row)[:10])}",
            code="NO_COLUMN",
            where=where,
            hint="--set corpus.text_column=NAME, or --set corpus.format=text if it is plain text",
        )
    return "jsonl"


def _refuse_header(line: str, where: str, settings: CorpusSettings) -> None:
    """Raise UsageError for a first line that looks like the header of CSV or TSV with the text column.

    Read as plain text it would put identifiers and labels into the corpus without a word; as a table it would, now and
    then, take a column of what is text. So neither is guessed.
    """
    for kind, delimiter in (("tsv", "\t"), ("csv", ",")):
        try:
            names = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        if len(set(names)) == len(names) > 1 and settings.text_column in names and all(map(_NAME.fullmatch, names)):
            raise UsageError(
                f"looks like a {kind.upper()} file with the column {settings.text_column!r}",
                code="UNKNOWN_FORMAT",
                where=where,
                hint=f"--set corpus.format={kind}, or --set corpus.format=text if it is plain text",
            )
