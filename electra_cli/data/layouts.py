"""Documents laid out as rows of a fixed length. Letters: B rows, L tokens of a row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from electra_cli.data.encoded import EncodedDocuments
from electra_cli.data.placement import placed
from electra_cli.data.segments import RowSpans, add_rows, document_random
from electra_cli.data.shards import RecipeName
from electra_cli.text.tokenizer import Ids, Tokenizer
from electra_cli.text.word_cache import Flags


@dataclass(frozen=True)
class RowRule:
    """How documents become rows.

    Attributes:
        length: tokens of a row.
        min_row_tokens: rows with fewer tokens from the text are left out.
        seed: of the segments' randomness.
        carry_over: whether what does not fit a row begins the next one.
        word_starts: whether rows say which of their tokens begin a word of the text.
        recipe: two segments a row, packed documents, or a stream.
    """

    length: int
    min_row_tokens: int
    seed: int
    carry_over: bool = True
    word_starts: bool = False
    recipe: RecipeName = "pairs"


@dataclass(frozen=True)
class Rows:
    """Rows as they go into a shard.

    Attributes:
        ids_BL: token ids, padded.
        lengths_B: tokens of each row, special tokens included.
        first_B: tokens of the first segment, with `[CLS]` and its `[SEP]`.
        word_start_BL: which tokens begin a word; None where the rule does not ask.
        piece_start_BL: where pieces of text begin that do not see each other; None where every row is one.
        dropped: reason → how many of the things that the reason names were left out.
    """

    ids_BL: npt.NDArray[np.integer]
    lengths_B: Ids
    first_B: Ids
    word_start_BL: Flags | None = None
    piece_start_BL: Flags | None = None
    dropped: Counter[str] = field(default_factory=Counter)


def two_segment_rows(documents: EncodedDocuments, tokenizer: Tokenizer, rule: RowRule) -> Rows:
    """Lay documents out as the paper's two-segment rows: `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`, padded."""
    spans = RowSpans()
    line_tokens = documents.line_tokens.tolist()
    line = start = 0
    for count, digest in zip(documents.document_lines.tolist(), documents.digests, strict=True):
        lengths = line_tokens[line : line + count]
        rng = document_random(digest, seed=rule.seed)
        add_rows(spans, lengths, start=start, length=rule.length, rng=rng, carry_over=rule.carry_over)
        line += count
        start += sum(lengths)
    rows = placed(spans, length=rule.length, least=rule.min_row_tokens)
    ids_BL = rows.filled(documents.stream, rest=tokenizer.pad_id)
    ids_BL[:, 0] = tokenizer.cls_id
    ids_BL.reshape(-1)[rows.seams()] = tokenizer.sep_id
    starts_BL = None
    if documents.starts is not None:
        starts_BL = rows.filled(documents.starts, rest=False)
        # The first token of a span begins a word whatever the text says: what stood before it is elsewhere.
        starts_BL.reshape(-1)[rows.places_S] = True
    dropped = Counter(short_rows=rows.short, short_row_tokens=rows.short_tokens, overflow_tokens=start - spans.tokens())
    return Rows(ids_BL, rows.lengths_B, rows.first_B, starts_BL, dropped=+dropped)


def blank_rows(count: int, tokenizer: Tokenizer, *, length: int) -> npt.NDArray[np.unsignedinteger]:
    """Return rows of padding, in the type that shards store ids in."""
    width = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    return np.full((count, length), tokenizer.pad_id, dtype=width)
