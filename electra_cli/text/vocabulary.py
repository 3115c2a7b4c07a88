"""What the trainers of all models share: a request, a result, the alphabet, and texts made of counted words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from electra_cli.errors import DataError, UsageError
from electra_cli.text.parts import LONGEST_WORD, MAX_VOCABULARY, SPECIALS, unused_slots

_WORDS_A_SEQUENCE = 2_000  # the library takes 256 of them at once
OCCURRENCES = 2**26
"""The library's trainers cannot be given counts, so each word is repeated; the counts of a larger text are scaled down
to about this many words. That bounds the time and keeps the trainers' 32-bit counters whole: 67 million words are about
400 MB of English and take some ten seconds."""


@dataclass(frozen=True)
class Wanted:
    """What a vocabulary should be like.

    Attributes:
        size: number of entries, all kinds together.
        min_frequency: a piece of several characters must occur at least this often.
        coverage: the alphabet is the smallest set of the most frequent characters that makes up this share of the
            text's characters; ties go to the lower code point.
        limit_alphabet: at most this many characters, whatever their coverage.
        unused: number of `[unusedN]` slots, for tokens that a user adds later.
        extra: special tokens and placeholders of the user's.
    """

    size: int
    min_frequency: int = 2
    coverage: float = 0.9999
    limit_alphabet: int | None = None
    unused: int = 0
    extra: tuple[str, ...] = ()

    def leading(self) -> list[str]:
        """Return the first entries: `[PAD]`, the slots, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`, the user's own."""
        pad, *others = SPECIALS
        return [pad, *unused_slots(self.unused), *others, *self.extra]

    def insist_on_room(self, smallest: int, what: str) -> None:
        """Raise UsageError if the vocabulary cannot hold the `smallest` number of entries, which `what` explains."""
        if self.size < smallest:
            raise UsageError(
                f"vocab_size {self.size} is too small for this text: {len(self.leading())} special tokens and {what} "
                f"need {smallest}",
                code="VOCAB_TOO_SMALL",
                where="vocab_size",
                hint=f"choose vocab_size from {smallest} to {MAX_VOCABULARY}, or a lower limit_alphabet",
            )


@dataclass(frozen=True)
class Vocabulary:
    """A trained vocabulary.

    Attributes:
        tokens: the entries; position is id.
        alphabet: number of single characters that can begin a word; of BPE, whose alphabet is all bytes, 256.
        coverage: share of the characters of the text that the alphabet covers.
        unknown_words: share of the words of the text that become `[UNK]` or hold one: they have a character outside the
            alphabet or, in WordPiece, are too long.
        merges: BPE: the pairs that are joined, in order.
        scores: Unigram: the log probability of each entry.
    """

    tokens: tuple[str, ...]
    alphabet: int
    coverage: float
    unknown_words: float
    merges: tuple[tuple[str, str], ...] = ()
    scores: tuple[float, ...] = ()


def usable(words: Mapping[str, int]) -> dict[str, int]:
    """Return the words that are not too long to learn from; DataError if there are none."""
    found = {word: count for word, count in words.items() if len(word) <= LONGEST_WORD}
    if not found:
        raise DataError("no documents: the text holds no words", code="NO_DOCUMENTS", hint="name files that hold text")
    return found


def alphabet(words: Mapping[str, int], wanted: Wanted) -> tuple[list[str], float]:
    """Return the chosen characters by code point, and the share of all characters that they make up."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            counts[letter] += count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    total = counts.total()
    chosen: list[str] = []
    covered = 0
    for letter, count in ranked[: wanted.limit_alphabet]:
        # A comparison in whole numbers would need `coverage` as a fraction; a float product is the same everywhere.
        if covered >= wanted.coverage * total:
            break
        chosen.append(letter)
        covered += count
    return sorted(chosen), covered / total


def scaled(words: Mapping[str, int], min_frequency: int, *, occurrences: int) -> tuple[dict[str, int], int]:
    """Scale counts down to about `occurrences` words; return them and the frequency that `min_frequency` becomes."""
    scale = -(-sum(words.values()) // occurrences)
    return {word: (count + scale // 2) // scale for word, count in words.items()}, -(-min_frequency // scale)


def sequences(words: Mapping[str, int]) -> Iterator[str]:
    """Yield texts of bounded length in which each word stands as often as it was counted."""
    parts: list[str] = []
    room = _WORDS_A_SEQUENCE
    for word in sorted(words):
        left = words[word]
        while left:
            now = min(left, room)
            parts.append((word + " ") * now)
            left -= now
            room -= now
            if not room:
                yield "".join(parts)
                parts, room = [], _WORDS_A_SEQUENCE
    if parts:
        yield "".join(parts)
