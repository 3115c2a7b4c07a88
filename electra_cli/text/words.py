"""From distinct chunks of text to words as a tokenizer's rules cut them, with their counts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from tokenizers import Tokenizer, models

from electra_cli.errors import DataError
from electra_cli.text.parts import LONGEST_WORD, MARKS, WordRules
from electra_cli.text.tokenizer_json import normalizer_json, words_json

TOO_LONG = "x" * (LONGEST_WORD + 1)
"""Stands for every word that is too long to learn from, so that none of them is held."""

_SIGNS = r"!-/:-@\[-`{-~"


def words_of(chunks: Mapping[str, int], rules: WordRules) -> dict[str, int]:
    """Normalise each distinct chunk and cut it into words, once, and sum the counts of the words.

    Args:
        chunks: distinct pieces of text, cut at boundaries (`text.boundaries`), with their numbers of occurrences.
        rules: how text becomes words. Placeholders are no words.

    Returns:
        Words and their counts, in no meaningful order; the same as counting the words of the whole text. Those of BPE
        and Unigram have their mark.

    Raises:
        DataError: a chunk holds half of a surrogate pair, which no UTF-8 can carry.
    """
    plain, cut = _ascii_words(rules), _words(rules)
    words: dict[str, int] = {}
    count_of = words.get
    for chunk, count in _without_placeholders(chunks, rules):
        if chunk.isascii() and chunk.isprintable():
            for word in plain(chunk.lower() if rules.lowercase else chunk):
                words[word] = count_of(word, 0) + count
            continue
        try:
            found = cut(chunk)
        except UnicodeEncodeError:
            raise DataError(
                f"the text holds half of a surrogate pair ({chunk[:20]!r}), which is not a character",
                code="LONE_SURROGATE",
                hint="repair the \\ud800-\\udfff escapes of the JSON source",
            ) from None
        for word in found:
            words[word] = count_of(word, 0) + count
    for word in [word for word in words if len(word) > LONGEST_WORD]:
        count = words.pop(word)
        words[TOO_LONG] = count_of(TOO_LONG, 0) + count
    return words


def _without_placeholders(chunks: Mapping[str, int], rules: WordRules) -> Iterable[tuple[str, int]]:
    pattern = rules.placeholder_pattern
    if pattern is None:
        return chunks.items()
    known = set(rules.placeholders)
    return ((part, count) for chunk, count in chunks.items() for part in pattern.split(chunk) if part not in known)


@lru_cache(maxsize=16)
def _words(rules: WordRules) -> Callable[[str], list[str]]:
    """Return what cuts any text into words, by the library."""
    tables = {"normalizer": normalizer_json(rules), "pre_tokenizer": words_json(rules)}
    library = Tokenizer.from_str(json.dumps({**json.loads(Tokenizer(models.BPE()).to_str()), **tables}))
    normalizer, pre_tokenizer = library.normalizer, library.pre_tokenizer
    assert normalizer is not None and pre_tokenizer is not None
    return lambda text: [word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))]


def _ascii_words(rules: WordRules) -> Callable[[str], list[str]]:
    """Return what does the same to printable ASCII; the library needs ten times as long, one small call a chunk."""
    if rules.model == "wordpiece":
        if rules.pre_segmented:
            return str.split
        letters = r"[0-9]|[A-Za-z]+" if rules.split_digits else "[0-9A-Za-z]+"
        return re.compile(rf"{letters}|[{_SIGNS}]").findall
    mark = MARKS[rules.model]
    if rules.pre_segmented:
        return lambda text: [mark + word for word in text.split()]
    digits = "[0-9]" if rules.split_digits else "[0-9]+"
    find = re.compile(rf"{mark}?[A-Za-z]+|{mark}?{digits}|{mark}?[{_SIGNS}]+").findall
    return lambda text: [word for chunk in text.split() for word in find(mark + chunk)]
