"""The ways in which documents become rows, by name."""

from __future__ import annotations

from collections.abc import Callable

from electra_cli.data.encoded import EncodedDocuments
from electra_cli.data.layouts import RowRule, Rows, two_segment_rows
from electra_cli.data.packing import packed_rows
from electra_cli.data.shards import RecipeName
from electra_cli.data.stream_rows import stream_rows
from electra_cli.text.tokenizer import Tokenizer

_RECIPES: dict[RecipeName, Callable[[EncodedDocuments, Tokenizer, RowRule], Rows]] = {
    "pairs": two_segment_rows,
    "packed": packed_rows,
    "stream": stream_rows,
}


def lay_out(documents: EncodedDocuments, tokenizer: Tokenizer, rule: RowRule) -> Rows:
    """Lay documents out as rows by the rule's recipe."""
    return _RECIPES[rule.recipe](documents, tokenizer, rule)
