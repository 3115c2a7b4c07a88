"""Labelled rows from the user's own CSV, TSV and JSON-lines files.

Strict by intent: a row that does not fit its header is an error with file, line and row number, never a guess.
Labels and texts stay the text that they are (`007`, `NA`, `null`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from electra_cli.errors import DataError, UsageError
from electra_cli.tasks.lines import read_lines, stored_file
from electra_cli.tasks.task import Examples

Format = Literal["csv", "tsv", "jsonl"]

FORMATS: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}


@dataclass(frozen=True)
class Columns:
    """Which columns to read."""

    text: str
    pair: str | None = None
    label: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return tuple(name for name in (self.text, self.pair, self.label) if name is not None)


class Row(NamedTuple):
    """One row: the line it starts at, and its columns by name."""

    line: int
    values: Mapping[str, str]


def format_of(path: Path) -> Format:
    """The format that the file's name stands for (`.xz` aside); raises UsageError for other names."""
    name = path.name.removesuffix(".xz").lower()
    for suffix, known in FORMATS.items():
        if name.endswith(suffix):
            return known
    raise UsageError(
        f"{path.name}: the name doesn't say what the file is",
        code="UNKNOWN_FORMAT",
        hint=f"rename it to end in one of {', '.join(FORMATS)}",
    )


def read_table(path: Path, columns: Columns) -> Examples:
    """The rows of a labelled file. Raises DataError for anything that does not fit, and for a file without rows."""
    path = stored_file(path)
    lines: list[int] = []
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[str] = []
    for line, values in iterate_rows(path, columns.names, label=columns.label):
        lines.append(line)
        texts.append(values[columns.text])
        if columns.pair is not None:
            pairs.append(values[columns.pair])
        if columns.label is not None:
            if not values[columns.label]:
                raise DataError("the label is empty", code="EMPTY_LABEL", where=f"{path}:{line}")
            labels.append(values[columns.label])
    if not lines:
        raise DataError("there are no rows", code="NO_ROWS", where=str(path))
    return Examples(
        path, lines, texts, pairs if columns.pair is not None else None, labels if columns.label is not None else None
    )


def iterate_rows(path: Path, names: Sequence[str], *, label: str | None = None) -> Iterator[Row]:
    """Yields the rows of a file with the columns `names`; see `read_table`. In JSON, `label` may also be an integer."""
    readers: dict[Format, Callable[[], Iterator[Row]]] = {
        "csv": lambda: _delimited(path, names, _csv_records(path)),
        "tsv": lambda: _delimited(path, names, _tsv_records(path)),
        "jsonl": lambda: _json_rows(path, names, label=label),
    }
    return readers[format_of(path)]()


def parse_json(line: str, *, where: str) -> dict[str, Any]:
    """One JSON object from one line; raises DataError for broken JSON, NaN, a repeated key and other kinds of value."""
    try:
        value = json.loads(line, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DataError(f"broken JSON: {error.msg} at column {error.colno}", code="BAD_JSON", where=where) from None
    except (ValueError, RecursionError) as error:
        raise DataError(str(error), code="BAD_JSON", where=where) from None
    if not isinstance(value, dict):
        raise DataError(f"a JSON {_kind(value)} where an object is expected", code="BAD_JSON", where=where)
    return value


def json_text(row: Mapping[str, Any], name: str, *, where: str) -> str:
    """The text under `name`; raises DataError when it is missing, not a string, or not valid Unicode."""
    if name not in row:
        listed = ", ".join(row) or "none"
        raise DataError(f"no column {name}; the columns are: {listed}", code="MISSING_COLUMN", where=where)
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"{name} is a {_kind(value)}, expected a string", code="WRONG_TYPE", where=where)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{name} holds half of a surrogate pair", code="NOT_UTF8", where=where) from None
    return value


def _json_rows(path: Path, names: Sequence[str], *, label: str | None) -> Iterator[Row]:
    label_kind: type | None = None
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        row = parse_json(line, where=where)
        if label is not None and label in row:
            kind = type(row[label])
            if label_kind is not None and kind is not label_kind:
                raise DataError(
                    f"{label} is a {_kind(row[label])} here and something else above", code="WRONG_TYPE", where=where
                )
            label_kind = kind
            if kind is int:
                row[label] = str(row[label])
        yield Row(number, {name: json_text(row, name, where=where) for name in names})


def _delimited(path: Path, names: Sequence[str], records: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    """Yields the rows of a file whose first record is its header."""
    line, header = next(records, (1, []))
    if not header:
        raise DataError("the file is empty", code="NO_ROWS", where=str(path))
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise DataError(
            f"a column name stands twice in the header: {', '.join(doubled)}",
            code="DUPLICATE_COLUMN",
            where=f"{path}:{line}",
        )
    missing = [name for name in names if name not in header]
    if missing:
        raise DataError(
            f"no column {', '.join(missing)}; the columns are: {', '.join(header)}",
            code="MISSING_COLUMN",
            where=f"{path}:{line}",
            hint="the first line must be a header; name its columns with --text-column, --pair-column, --label-column",
        )
    places = {name: header.index(name) for name in names}
    for row, (number, fields) in enumerate(records, start=1):
        if len(fields) != len(header):
            raise DataError(
                f"row {row} has {len(fields)} columns, expected {len(header)} ({', '.join(header)})",
                code="RAGGED_ROW",
                where=f"{path}:{number}",
            )
        yield Row(number, {name: fields[place] for name, place in places.items()})


def _tsv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the numbered records of a TSV file, in which quotes mean nothing; blank lines are skipped."""
    for number, line in read_lines(path):
        line = line.rstrip("\n").removesuffix("\r")
        if line:
            yield number, line.split("\t")


def _csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the records of a CSV file with the line each starts at; blank lines are skipped."""
    reader = csv.reader((line for _, line in read_lines(path)), strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"not valid CSV from here on: {error}",
                code="BAD_CSV",
                where=f"{path}:{start}",
                hint='a field with a quote, a comma or a line break stands in "quotes", with quotes inside doubled',
            ) from None
        if fields:
            yield start, fields


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice in an object")
    return row


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _kind(value: Any) -> str:
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return "null" if value is None else kinds.get(type(value), "value")
