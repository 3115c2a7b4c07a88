"""Parquet: a document a row of one column, row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from electra_cli.data.documents import Document, Tally
from electra_cli.data.formats.rows import no_column, read_value
from electra_cli.data.lines import Places
from electra_cli.data.sources import CorpusSettings, Source
from electra_cli.data.streams import BUFFER, read_error
from electra_cli.errors import DataError

_BATCH_BYTES = 4 * 1024 * 1024  # of text, about, that are taken out at once
_BATCH_ROWS = 1024
_PAGES = 1024 * 1024  # bytes of a file here that are read at once; by default a whole column of a row group is


def read_parquet(
    source: Source,
    settings: CorpusSettings,
    tally: Tally,
    *,
    start: int,
    stop: int,
    advance: Callable[[int], None],
) -> Iterator[Document]:
    """Yield the documents of the row groups that begin in the bytes from `start` to `stop`."""
    places, number = Places(source), 1
    try:
        with source.open() as raw:
            buffer = _PAGES if source.store is None else BUFFER
            file = pq.ParquetFile(raw, page_checksum_verification=True, buffer_size=buffer, pre_buffer=False)
            _check_column(file.schema_arrow, settings, source)
            done = start
            for group in range(file.metadata.num_row_groups):
                facts = file.metadata.row_group(group)
                begins, rows = _first_byte(facts), facts.num_rows
                if not start <= begins < stop:
                    number += rows
                    continue
                for text in _texts(file, group, facts, settings.text_column):
                    yield from read_value(text, number, places=places, settings=settings, tally=tally)
                    number += 1
                reached = min(
                    begins + sum(facts.column(i).total_compressed_size for i in range(facts.num_columns)), stop
                )
                advance(max(reached - done, 0))
                done = max(done, reached)
            advance(stop - done)
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: text that is not UTF-8
        if isinstance(error, OSError) and source.store is not None:
            raise read_error(source, error) from error
        raise DataError(
            f"the Parquet file is damaged ({' '.join(str(error).split())})", code="BAD_PARQUET", where=source.label
        ) from error


def _check_column(schema: Any, settings: CorpusSettings, source: Source) -> None:
    if settings.text_column not in schema.names:
        raise no_column(settings.text_column, schema.names, where=source.label)
    kind = schema.field(settings.text_column).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(value) or pa.types.is_large_string(value)):
        raise DataError(f"column {settings.text_column!r} is {kind}, not text", code="NOT_TEXT", where=source.label)


def _texts(file: Any, group: int, facts: Any, column: str) -> Iterator[str | None]:
    sizes = [facts.column(i) for i in range(facts.num_columns)]
    size = sum(one.total_uncompressed_size for one in sizes if one.path_in_schema == column)
    rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * facts.num_rows // max(size, 1)))
    for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=[column]):
        yield from batch.column(0).to_pylist()


def _first_byte(facts: Any) -> int:
    """Return where a row group begins in the file."""
    columns = [facts.column(i) for i in range(facts.num_columns)]
    return min(int(one.dictionary_page_offset or one.data_page_offset) for one in columns)
