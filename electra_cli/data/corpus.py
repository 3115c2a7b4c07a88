"""Documents from raw text: which reader takes what, what is left out, what is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from electra_cli.data.documents import Document, Tally
from electra_cli.data.filters import rules_of
from electra_cli.data.formats.delimited import read_delimited
from electra_cli.data.formats.json_lines import read_json_lines
from electra_cli.data.formats.parquet import read_parquet
from electra_cli.data.formats.plain import read_plain
from electra_cli.data.formats.wiki import read_wiki
from electra_cli.data.kinds import Kind, kind_of
from electra_cli.data.lines import Places, decoded
from electra_cli.data.pieces import Span
from electra_cli.data.sources import CorpusSettings, Source
from electra_cli.data.spans import break_of, raw_span
from electra_cli.errors import DataError
from electra_cli.reporting import Reporter

__all__ = ["Document", "Tally", "nothing_found", "read_documents", "read_span", "splittable"]


def read_documents(
    sources: Sequence[Source], settings: CorpusSettings, *, tally: Tally, report: Reporter
) -> Iterator[Document]:
    """Yield the documents of all sources in order, in bounded memory, and count them in `tally`.

    Raises:
        DataError: the data are damaged, not UTF-8, not what the format demands, or there is no document at all.
        UsageError: a compressed file holds an archive, or the format of a file must be named.
        ResourceError: an object store fails.
    """
    total = sum(source.bytes for source in sources)
    with report.progress("reading text", total=total, unit="bytes") as meter:
        for source in sources:
            yield from read_span(Span(source), settings, tally=tally, advance=meter.advance)
    if not tally.documents:
        raise nothing_found(sources, tally)


def read_span(
    span: Span, settings: CorpusSettings, *, tally: Tally, advance: Callable[[int], None]
) -> Iterator[Document]:
    """Yield the documents of a span in order, count them in `tally`, and tell `advance` about the bytes done.

    The spans that any cuts of a file make give together what the whole gives, in order; so do their tallies.
    Errors as `read_documents`, but a span may well have no document.
    """
    rules, least = rules_of(settings), settings.min_document_chars
    for document in _documents(span, settings, tally, advance):
        size = sum(map(len, document.lines))
        if size < least:
            tally.drop("short_documents")
            continue
        if rules and (reason := next((reason for reason, out in rules if out(document.lines)), None)):
            tally.drop(reason)
            continue
        tally.documents += 1
        tally.lines += len(document.lines)
        tally.characters += size
        yield document


def splittable(source: Source, settings: CorpusSettings) -> bool:
    """Return whether spans of less than the whole of `source` can be read; looks at its first line at most.

    Compressed files cannot be split, CSV and TSV neither, nor plain text where a file is a document. Raises DataError
    or UsageError where the format cannot be told.
    """
    if source.compression is not None:
        return False
    kind = kind_of(source, settings)
    return kind == "parquet" or break_of(kind, settings) is not None


def nothing_found(sources: Sequence[Source], tally: Tally) -> DataError:
    """Return the error for a corpus in which nothing was found."""
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(tally.dropped.items()))
    return DataError(
        f"no documents in {len(sources)} file{'s' if len(sources) > 1 else ''}"
        + (f" (left out: {reasons})" if reasons else ""),
        code="NO_DOCUMENTS",
        where=sources[0].label if len(sources) == 1 else None,
        hint="name files that hold text; corpus.format and corpus.text_column say how to read them",
    )


def _documents(
    span: Span, settings: CorpusSettings, tally: Tally, advance: Callable[[int], None]
) -> Iterator[Document]:
    source = span.source
    kind: Kind = kind_of(source, settings)
    if kind == "parquet":
        return read_parquet(source, settings, tally, start=span.start, stop=span.start + span.bytes, advance=advance)
    places = Places(source)
    raws = raw_span(span, kind, settings, places=places, advance=advance)
    blocks = decoded(raws, settings, places=places, count=tally.drop)
    if kind == "wiki":
        return read_wiki(blocks, source.label, settings, tally)
    if kind == "jsonl":
        return read_json_lines(blocks, places, settings, tally)
    if kind in ("csv", "tsv"):
        return read_delimited(kind, blocks, places, settings, tally)
    return read_plain(blocks, source.label, settings, tally)
