"""From distinct chunks of text to words as BERT's pre-tokenizer sees them, with their counts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from electra_cli.errors import DataError
from electra_cli.text.tokenizer_files import LONGEST_WORD

TOO_LONG = "x" * (LONGEST_WORD + 1)
"""Stands for every word that is too long to be anything but `[UNK]`, so that none of them is held."""

# For printable ASCII both components do exactly this; the library needs ten times as long, one small call a chunk.
_ASCII_WORDS = re.compile(r"[0-9A-Za-z]+|[!-/:-@\[-`{-~]")


def words_of(chunks: Mapping[str, int], *, lowercase: bool, strip_accents: bool, split_cjk: bool) -> dict[str, int]:
    """Normalise and pre-tokenise each distinct chunk once and sum the counts of its words.

    Args:
        chunks: distinct pieces of text, cut at boundaries (`text.boundaries`), with their numbers of occurrences.
        lowercase: as in BERT's normalizer.
        strip_accents: as in BERT's normalizer.
        split_cjk: `handle_chinese_chars` of BERT's normalizer.

    Returns:
        Words and their counts, in no meaningful order; the same as counting the words of the whole text. Those longer
        than `LONGEST_WORD` are counted together, as `TOO_LONG`.

    Raises:
        DataError: a chunk holds half of a surrogate pair, which no UTF-8 can carry.
    """
    normalizer = BertNormalizer(
        clean_text=True, handle_chinese_chars=split_cjk, strip_accents=strip_accents, lowercase=lowercase
    )
    pre_tokenizer = BertPreTokenizer()
    words: dict[str, int] = {}
    count_of = words.get
    for chunk, count in chunks.items():
        if chunk.isascii() and chunk.isprintable():
            for word in _ASCII_WORDS.findall(chunk.lower() if lowercase else chunk):
                words[word] = count_of(word, 0) + count
            continue
        try:
            normal = normalizer.normalize_str(chunk)
        except UnicodeEncodeError:
            raise DataError(
                f"the text holds half of a surrogate pair ({chunk[:20]!r}), which is not a character",
                code="LONE_SURROGATE",
                hint="repair the \\ud800-\\udfff escapes of the JSON source",
            ) from None
        for word, _ in pre_tokenizer.pre_tokenize_str(normal):
            words[word] = count_of(word, 0) + count
    for word in [word for word in words if len(word) > LONGEST_WORD]:
        count = words.pop(word)
        words[TOO_LONG] = count_of(TOO_LONG, 0) + count
    return words
