"""What a vocabulary consists of, without any text: kinds, scripts, lengths, the longest pieces.

Imports nothing heavy: `electra inspect` answers at once.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from electra_cli.text.parts import BYTE_MARK, MARKS, PREFIX, SPECIALS, TokenizerParts, byte_alphabet
from electra_cli.text.scripts import script_of_word

KINDS = ("special tokens", "[unused] slots", "characters", "continuing characters", "word beginnings", "continuations")
"""Of entries: special ones and placeholders, free slots, single characters that begin a word or continue one, longer
pieces that begin a word (whole words among them), longer pieces that continue one. Of BPE, characters are bytes."""
NO_TEXT = frozenset(KINDS[:2])
"""Kinds that text never becomes."""

_UNUSED = re.compile(r"\[unused\d+\]\Z")


@dataclass(frozen=True)
class Anatomy:
    """What a vocabulary consists of.

    Attributes:
        entries: their number.
        kinds: how many there are of each of `KINDS`.
        scripts: Unicode script → entries whose first character with a script is of it; the most frequent first. Special
            tokens and free slots are in none.
        lengths: characters without the prefix → entries, ascending; without special tokens and free slots.
        longest: the longest entries, those of equal length by id.
    """

    entries: int
    kinds: dict[str, int]
    scripts: dict[str, int]
    lengths: dict[int, int]
    longest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a vocabulary: which of `KINDS` it is of, and what it stands for in the text (no prefix)."""

    kind: str
    text: str


def entries_of(parts: TokenizerParts) -> list[Entry]:
    """Return what each entry of the vocabulary is; position is id."""
    named = {*SPECIALS, *parts.special_tokens, *parts.rules.placeholders}
    pairs = zip(parts.tokens, parts.continues_word(), strict=True)
    return [Entry(KINDS[0], token) if token in named else _entry(token, continues, parts) for token, continues in pairs]


def anatomy_of(parts: TokenizerParts, *, examples: int) -> Anatomy:
    """Take the vocabulary apart; name at most `examples` of the longest entries."""
    kinds = Counter(dict.fromkeys(KINDS, 0))
    scripts: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    sizes: dict[str, int] = {}
    for token, entry in zip(parts.tokens, entries_of(parts), strict=True):
        kinds[entry.kind] += 1
        if entry.kind not in NO_TEXT:
            scripts[script_of_word(entry.text)] += 1
            sizes[token] = len(entry.text)
            lengths[len(entry.text)] += 1
    return Anatomy(
        entries=len(parts.tokens),
        kinds=dict(kinds),
        scripts=dict(sorted(scripts.items(), key=lambda item: (-item[1], item[0]))),
        lengths=dict(sorted(lengths.items())),
        longest=tuple(sorted(sizes, key=lambda token: -sizes[token])[:examples]),
    )


def _entry(token: str, continues: bool, parts: TokenizerParts) -> Entry:
    if _UNUSED.match(token):
        return Entry(KINDS[1], token)
    model = parts.rules.model
    prefix = {"wordpiece": PREFIX if continues else "", "bpe": BYTE_MARK, "unigram": MARKS["unigram"]}[model]
    text = token.removeprefix(prefix) or token
    return Entry(KINDS[(2 if len(text) == 1 else 4) + continues], _of_bytes(text) if model == "bpe" else text)


def _of_bytes(text: str) -> str:
    """Return what byte-level BPE writes as `text`; parts of a character become U+FFFD."""
    return bytes(_BYTES[char] for char in text).decode("utf-8", "replace")


_BYTES = {char: byte for byte, char in enumerate(byte_alphabet())}
