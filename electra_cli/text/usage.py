"""How a tokenizer takes a text apart: from its distinct words and their counts, each encoded once.

Measures: tokens a word ("fertility") and the share of words kept whole, after Rust et al. 2021, "How Good is Your
Tokenizer?", https://arxiv.org/abs/2012.15613; punctuation marks are words there and here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from electra_cli.text.anatomy import NO_TEXT, entries_of
from electra_cli.text.scripts import COMMON, SHARED, script_runs
from electra_cli.text.tokenizer import Ids, Tokenizer

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScriptUsage:
    """The part of a text that is written in one script.

    Attributes:
        characters: characters of the script; no white space.
        words: words whose first character with a script is of it.
        tokens: of those words.
        whole_words: of those words, how many are one token.
        unknown_words: of those words, how many hold an `[UNK]`.
    """

    characters: int = 0
    words: int = 0
    tokens: int = 0
    whole_words: int = 0
    unknown_words: int = 0


@dataclass(frozen=True)
class Usage:
    """How one tokenizer takes one text apart.

    Attributes:
        words, distinct_words: of the text.
        tokens: of the text, without special tokens.
        whole_words: words that are one token, and not `[UNK]`.
        unknown_words, unknown_tokens: words that hold an `[UNK]`; `[UNK]` tokens.
        entries: entries of the vocabulary that text can become (no special tokens, no free slots).
        used: how many of them the text uses.
        scripts: Unicode script → its part of the text, the one with most characters first; without those that have
            neither character nor word.
        rarest: entries that the text uses and their counts, the rarest first, those of equal count from the last id.
        never: entries that the text does not use, from the last id.
        missing: characters that are `[UNK]` even alone, with their counts, the most frequent first.
    """

    words: int
    distinct_words: int
    tokens: int
    whole_words: int
    unknown_words: int
    unknown_tokens: int
    entries: int
    used: int
    scripts: dict[str, ScriptUsage]
    rarest: tuple[tuple[str, int], ...]
    never: tuple[str, ...]
    missing: tuple[tuple[str, int], ...]


class UsageCounter:
    """Adds up how a tokenizer encodes distinct words, weighed by their counts."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._used = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        self._starts, names = script_runs()
        self._scripts = sorted(set(names))
        self._script_of_run = np.array([self._scripts.index(name) for name in names])
        self._shared = np.array([name in SHARED for name in self._scripts])
        # a row a script: characters, words, tokens, whole words, unknown words
        self._sums = np.zeros((5, len(self._scripts)), dtype=np.int64)
        self._distinct = 0
        self._unknown: Counter[str] = Counter()

    def add(self, words: Sequence[str], counts: Counts) -> list[Ids]:
        """Count `words` (distinct, not empty), of which `counts` says how often each occurs; return their ids."""
        encoded = self._tokenizer.encode_lines(words)
        tokens_W = np.array([len(ids) for ids in encoded], dtype=np.int64)
        ids = np.concatenate([np.empty(0, dtype=np.int64), *encoded])
        self._used += _sums(ids, np.repeat(counts, tokens_W), len(self._used))
        unknown_W = np.zeros(len(words), dtype=bool)
        unknown_W[np.repeat(np.arange(len(words)), tokens_W)[ids == self._tokenizer.unk_id]] = True
        for index in np.flatnonzero(unknown_W).tolist():
            for character in words[index]:
                self._unknown[character] += int(counts[index])
        self._add_scripts(words, counts, tokens_W, unknown_W)
        self._distinct += len(words)
        return encoded

    def usage(self, *, examples: int) -> Usage:
        """Return the sums; `missing` names at most `examples` characters."""
        tokens = self._tokenizer.tokens
        free = {i for i, entry in enumerate(entries_of(self._tokenizer.parts)) if entry.kind in NO_TEXT}
        by_count = sorted((int(count), -i) for i, count in enumerate(self._used) if i not in free)
        rarest = tuple((tokens[-i], count) for count, i in by_count if count)
        characters, words, pieces, whole, unknown = self._sums.tolist()
        rows = zip(characters, words, pieces, whole, unknown, strict=True)
        scripts = {name: ScriptUsage(*row) for name, row in zip(self._scripts, rows, strict=True) if any(row)}
        return Usage(
            words=sum(words),
            distinct_words=self._distinct,
            tokens=sum(pieces),
            whole_words=sum(whole),
            unknown_words=sum(unknown),
            unknown_tokens=int(self._used[self._tokenizer.unk_id]),
            entries=len(by_count),
            used=len(rarest),
            scripts=dict(sorted(scripts.items(), key=lambda item: (-item[1].characters, item[0]))),
            rarest=rarest,
            never=tuple(tokens[-i] for count, i in by_count if not count),
            missing=self._missing(examples),
        )

    def _add_scripts(
        self, words: Sequence[str], counts: Counts, tokens_W: Counts, unknown_W: npt.NDArray[np.bool_]
    ) -> None:
        lengths_W = np.array([len(word) for word in words], dtype=np.int64)
        points = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        script_C = self._script_of_run[np.searchsorted(self._starts, points, side="right") - 1]
        owner_C = np.repeat(np.arange(len(words)), lengths_W)
        size = len(self._scripts)
        # a word is of the script of its first character that has one
        script_W = np.full(len(words), self._scripts.index(COMMON))
        own = ~self._shared[script_C]
        owners, first = np.unique(owner_C[own], return_index=True)
        script_W[owners] = script_C[own][first]
        whole_W = (tokens_W == 1) & ~unknown_W
        self._sums += np.stack(
            [
                _sums(script_C, np.repeat(counts, lengths_W), size),
                _sums(script_W, counts, size),
                _sums(script_W, counts * tokens_W, size),
                _sums(script_W, counts * whole_W, size),
                _sums(script_W, counts * unknown_W, size),
            ]
        )

    def _missing(self, examples: int) -> tuple[tuple[str, int], ...]:
        """Return the characters of unknown words that no token stands for."""
        found: list[tuple[str, int]] = []
        for character, count in sorted(self._unknown.items(), key=lambda item: (-item[1], item[0])):
            if len(found) == examples:
                break
            (ids,) = self._tokenizer.encode_lines([character])
            if self._tokenizer.unk_id in ids:
                found.append((character, count))
        return tuple(found)


def _sums(index: npt.NDArray[np.int64], weights: npt.NDArray[np.int64], size: int) -> Counts:
    """Add up `weights` by `index`; exact, as no sum reaches 2^53."""
    return np.bincount(index, weights=weights, minlength=size).astype(np.int64)
