"""Documents as token ids: what every row recipe starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from electra_cli.text.tokenizer import Ids
from electra_cli.text.word_cache import Flags, WordCache


@dataclass(frozen=True)
class EncodedDocuments:
    """Consecutive documents as one stream of ids, without special tokens.

    Attributes:
        stream: ids of all lines, one after another, 16 bits wide where the vocabulary allows it, else 32.
        line_tokens: tokens of each line; their sum is the length of `stream`.
        document_lines: lines of each document; their sum is the number of lines.
        digests: sha256 of each document's text (`segments.digest_of`).
        starts: which tokens of `stream` begin a word between white space; None where nobody asked.
    """

    stream: npt.NDArray[np.integer]
    line_tokens: Ids
    document_lines: Ids
    digests: Sequence[bytes]
    starts: Flags | None = None

    def document_ends(self) -> Ids:
        """The token behind the last of each document."""
        last = self.document_lines.cumsum() - 1
        return np.asarray(self.line_tokens.cumsum()[last], dtype=np.int64)


def encode_documents(
    cache: WordCache, texts: Sequence[bytes], digests: Sequence[bytes], *, with_word_starts: bool = False
) -> EncodedDocuments:
    """Encode documents, each given as its lines joined by newlines in UTF-8."""
    encoded = cache.encode(b"\n".join(texts), word_starts=with_word_starts)
    return EncodedDocuments(
        stream=encoded.ids_N,
        line_tokens=encoded.line_lengths,
        document_lines=np.array([text.count(b"\n") + 1 for text in texts], dtype=np.int64),
        digests=digests,
        starts=encoded.word_starts_N,
    )
