"""Documents as token ids: what every row recipe starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from electra_cli.text.tokenizer import Ids, Tokenizer
from electra_cli.text.word_starts import Flags, word_starts


@dataclass(frozen=True)
class EncodedDocuments:
    """Consecutive documents as one stream of ids, without special tokens.

    Attributes:
        stream: ids of all lines, one after another.
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
    tokenizer: Tokenizer, texts: Sequence[bytes], digests: Sequence[bytes], *, with_word_starts: bool = False
) -> EncodedDocuments:
    """Encode documents, each given as its lines joined by newlines in UTF-8."""
    documents = [text.decode("utf-8").split("\n") for text in texts]
    lines = [line for document in documents for line in document]
    encoded = tokenizer.encode_lines(lines)
    return EncodedDocuments(
        stream=np.concatenate(encoded),
        line_tokens=np.array([len(ids) for ids in encoded], dtype=np.int64),
        document_lines=np.array([len(document) for document in documents], dtype=np.int64),
        digests=digests,
        starts=np.concatenate(word_starts(tokenizer, lines, encoded)) if with_word_starts else None,
    )
