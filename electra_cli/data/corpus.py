"""Documents from raw text: plain, wikiextractor's blocks, JSON lines, Parquet."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from electra_cli.data.sources import CorpusSettings, Source
from electra_cli.data.streams import Block, read_blocks
from electra_cli.errors import DataError
from electra_cli.reporting import Reporter

_WIKI_START = re.compile(r'<doc id="[^"]*".*>\Z')
_WIKI_END = "</doc>"


@dataclass(frozen=True, slots=True)
class Document:
    """One document.

    Attributes:
        lines: its lines, stripped, none of them blank.
        source: the file that it comes from.
        line: the number of its first line there, from 1 (Parquet: of its row).
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
        """Add what was counted elsewhere."""
        self.documents += other.documents
        self.lines += other.lines
        self.characters += other.characters
        self.dropped.update(other.dropped)


def read_documents(
    sources: Sequence[Source], settings: CorpusSettings, *, tally: Tally, report: Reporter
) -> Iterator[Document]:
    """Yield the documents of all sources in order, in bounded memory, and count them in `tally`.

    Raises:
        DataError: the data are damaged, not UTF-8, not what the format demands, or there is no document at all.
        UsageError: a compressed file holds an archive.
    """
    total = sum(source.bytes for source in sources)
    with report.progress("reading text", total=total, unit="bytes") as meter:
        for source in sources:
            yield from read_source(source, settings, tally=tally, advance=meter.advance)
    if not tally.documents:
        raise nothing_found(sources, tally)


def read_source(
    source: Source, settings: CorpusSettings, *, tally: Tally, advance: Callable[[int], None]
) -> Iterator[Document]:
    """Yield the documents of one source and count them in `tally`; `advance` is told of the bytes read."""
    for document in _documents(source, settings, tally, advance):
        size = sum(map(len, document.lines))
        if size < settings.min_document_chars:
            tally.drop("short_documents")
            continue
        tally.documents += 1
        tally.lines += len(document.lines)
        tally.characters += size
        yield document


def nothing_found(sources: Sequence[Source], tally: Tally) -> DataError:
    """Return the error of a corpus without a document."""
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(tally.dropped.items()))
    return DataError(
        f"no documents in {len(sources)} file{'s' if len(sources) > 1 else ''}"
        + (f" (left out: {reasons})" if reasons else ""),
        code="NO_DOCUMENTS",
        where=sources[0].label if len(sources) == 1 else None,
        hint="name files that hold text; corpus.format and corpus.text_column say how to read them",
    )


def _documents(
    source: Source, settings: CorpusSettings, tally: Tally, advance: Callable[[int], None]
) -> Iterator[Document]:
    if settings.format == "parquet" or (settings.format == "auto" and source.parquet):
        return _cut(_parquet(source, settings, tally, advance), settings, tally)
    blocks = read_blocks(source, settings, count=tally.drop, consumed=advance)
    kind, blocks = (settings.format, blocks) if settings.format != "auto" else _detected(blocks, source, settings)
    if kind == "wiki":
        return _cut(_wiki(blocks, source, tally), settings, tally)
    if kind == "jsonl":
        return _cut(_json_lines(blocks, source, settings, tally), settings, tally)
    return _plain(blocks, source, settings, tally)


def _detected(blocks: Iterator[Block], source: Source, settings: CorpusSettings) -> tuple[str, Iterator[Block]]:
    """Return the format that the first line with something on it shows, and all blocks from the start."""
    read: list[Block] = []
    kind = "text"
    for block in blocks:
        read.append(block)
        index, line = next(((i, line.strip()) for i, line in enumerate(block.lines) if line.strip()), (0, ""))
        if line:
            kind = _kind_of(line, f"{source.label}:{block.number(index)}", settings)
            break

    def again() -> Iterator[Block]:
        yield from read
        yield from blocks

    return kind, again()


def _kind_of(line: str, where: str, settings: CorpusSettings) -> str:
    if _WIKI_START.match(line):
        return "wiki"
    if line.startswith("{") and line.endswith("}"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return "text"
        if settings.text_column not in row:
            raise DataError(
                f"looks like JSON lines, but has no column {settings.text_column!r}: {', '.join(list(row)[:10])}",
                code="NO_COLUMN",
                where=where,
                hint="--set corpus.text_column=NAME, or --set corpus.format=text if it is plain text",
            )
        return "jsonl"
    return "text"


def _plain(blocks: Iterable[Block], source: Source, settings: CorpusSettings, tally: Tally) -> Iterator[Document]:
    """Yield the documents of plain text; ones that are too long are cut while they are read."""
    ends_at_blank, ends_at_line = settings.document == "blank-line", settings.document == "line"
    lines: list[str] = []
    start = size = 0
    for block in blocks:
        for index, line in enumerate(block.lines):
            text = line.strip()
            if text:
                if not lines:
                    start = block.number(index)
                elif size + len(text) > settings.max_document_chars:
                    tally.drop("document_cuts")
                    yield Document(lines, source.label, start)
                    lines, size, start = [], 0, block.number(index)
                lines.append(text)
                size += len(text)
            if lines and ((ends_at_blank and not text) or ends_at_line):
                yield Document(lines, source.label, start)
                lines, size = [], 0
    if lines:
        yield Document(lines, source.label, start)


def _wiki(blocks: Iterable[Block], source: Source, tally: Tally) -> Iterator[Document]:
    """Yield the documents of wikiextractor's output; blank lines in them are paragraphs.

    The first line of a block is the article's title. A block with nothing else (many are: redirects, pages that are
    only a table) is left out.
    """
    lines: list[str] = []
    start = 0  # 0: outside a block
    for block in blocks:
        for index, line in enumerate(block.lines):
            text = line.strip()
            opens = text.startswith("<doc ") and _WIKI_START.match(text)
            if opens or text == _WIKI_END:
                if len(lines) > 1:
                    yield Document(lines, source.label, start)
                elif start:
                    tally.drop("documents_without_text")
                lines, start = [], block.number(index) if opens else 0
            elif text and start:
                lines.append(text)
            elif text:
                tally.drop("lines_outside_documents")
    if len(lines) > 1:
        yield Document(lines, source.label, start)
    elif start:
        tally.drop("documents_without_text")


def _json_lines(blocks: Iterable[Block], source: Source, settings: CorpusSettings, tally: Tally) -> Iterator[Document]:
    for block in blocks:
        for index, line in enumerate(block.lines):
            if not line.strip():
                continue
            number = block.number(index)
            where = f"{source.label}:{number}"
            text = _text_of(_parsed(line, where), settings.text_column, where)
            yield from _from_text(text, source, number, tally)


def _parsed(line: str, where: str) -> dict[str, Any]:
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
        raise DataError(f"not a line of JSON: {error}", code="BAD_JSON", where=where) from error
    if not isinstance(row, dict):
        raise DataError("not a JSON object", code="BAD_JSON", where=where, hint='each line: {"text": "…"}')
    return row


def _text_of(row: dict[str, Any], column: str, where: str) -> str | None:
    if column not in row:
        raise DataError(
            f"has no column {column!r}: {', '.join(list(row)[:10])}",
            code="NO_COLUMN",
            where=where,
            hint="--set corpus.text_column=NAME",
        )
    text = row[column]
    if text is None or isinstance(text, str):
        return text
    raise DataError(f"column {column!r} is {type(text).__name__}, not text", code="NOT_TEXT", where=where)


def _parquet(
    source: Source, settings: CorpusSettings, tally: Tally, advance: Callable[[int], None]
) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source.path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            if settings.text_column not in schema.names:
                raise DataError(
                    f"has no column {settings.text_column!r}: {', '.join(schema.names[:10])}",
                    code="NO_COLUMN",
                    where=source.label,
                    hint="--set corpus.text_column=NAME",
                )
            kind = schema.field(settings.text_column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise DataError(
                    f"column {settings.text_column!r} is {kind}, not text", code="NOT_TEXT", where=source.label
                )
            rows, done = max(file.metadata.num_rows, 1), 0
            number = 1
            for batch in file.iter_batches(batch_size=256, columns=[settings.text_column]):
                for text in batch.column(0).to_pylist():
                    yield from _from_text(text, source, number, tally)
                    number += 1
                before, done = done, source.bytes * (number - 1) // rows
                advance(done - before)
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: text that is not UTF-8
        raise DataError(
            f"the Parquet file is damaged ({' '.join(str(error).split())})", code="BAD_PARQUET", where=source.label
        ) from error


def _from_text(text: str | None, source: Source, number: int, tally: Tally) -> Iterator[Document]:
    """Yield the document of one row's text, if there is any text."""
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
                where=f"{source.label}:{number}",
                hint="repair the \\ud800-\\udfff escape",
            ) from error
    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    if lines:
        yield Document(lines, source.label, number)
    else:
        tally.drop("empty_texts")


def _cut(documents: Iterable[Document], settings: CorpusSettings, tally: Tally) -> Iterator[Document]:
    """Cut documents that are too long at line ends."""
    limit = settings.max_document_chars
    for document in documents:
        if sum(map(len, document.lines)) <= limit:
            yield document
            continue
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
