"""Training a WordPiece vocabulary that is the same to the byte whenever the text is the same.

The library's trainer is not reproducible: it numbers the continuation characters (`##c`) in the order of a hash map,
and ties between merges are broken by those numbers. Here it is given no freedom: it gets a table of distinct words and
their counts instead of the text, an alphabet chosen by us, and every continuation character, sorted, as a "special
token", which fixes its number. The vocabulary is then rebuilt with those as ordinary tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from electra_cli.errors import DataError, UsageError
from electra_cli.text.tokenizer_files import LONGEST_WORD, PREFIX, SPECIALS

_WORDS_A_SEQUENCE = 2_000  # the library takes 256 of them at once
# 67 million words are about 400 MB of English and take some ten seconds.
_OCCURRENCES = 2**26


@dataclass(frozen=True)
class Vocabulary:
    """A trained vocabulary.

    Attributes:
        tokens: the entries; position is id.
        alphabet: number of single characters that can begin a word.
        coverage: share of the characters of the text that the alphabet covers.
        unknown_words: share of the words of the text that hold a character outside the alphabet or are too long.
    """

    tokens: tuple[str, ...]
    alphabet: int
    coverage: float
    unknown_words: float


def train(
    words: Mapping[str, int],
    *,
    vocab_size: int,
    min_frequency: int = 2,
    coverage: float = 0.9999,
    limit_alphabet: int | None = None,
    unused: int = 0,
    occurrences: int = _OCCURRENCES,
) -> Vocabulary:
    """Train a vocabulary from words and their counts.

    Ids: `[PAD]` is 0, then `unused` slots, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`, the alphabet by code point, the same as
    continuations, and the merged pieces in the order in which they were found.

    Args:
        words: pre-tokenised words with their counts (`text.words.words_of`).
        vocab_size: number of entries wanted, all kinds together.
        min_frequency: a merge must occur at least this often.
        coverage: the alphabet is the smallest set of the most frequent characters that makes up this share of the
            text's characters; ties go to the lower code point.
        limit_alphabet: at most this many characters, whatever their coverage.
        unused: number of `[unusedN]` slots, for tokens that a user adds later.
        occurrences: the library's trainer cannot be given counts, so each word is repeated; the counts of a larger text
            are scaled down to about this many words. That bounds the time, and keeps its 32-bit counters whole.

    Returns:
        The vocabulary; shorter than `vocab_size` where the text holds no more repeated pieces.

    Raises:
        DataError: there are no words.
        UsageError: `vocab_size` does not even hold the special tokens and the alphabet.
    """
    usable = {word: count for word, count in words.items() if len(word) <= LONGEST_WORD}
    if not usable:
        raise DataError("no documents: the text holds no words", code="NO_DOCUMENTS", hint="name files that hold text")
    letters, covered = _alphabet(usable, coverage=coverage, limit=limit_alphabet)
    allowed = set(letters)
    usable = {word: count for word, count in usable.items() if allowed.issuperset(word)}
    continuations = sorted({PREFIX + letter for word in usable for letter in word[1:]})
    leading = _leading(unused)
    _check_room(vocab_size, leading, letters, continuations)
    scale = -(-sum(usable.values()) // occurrences)
    merged = _merges(
        # Words of one character have no pair to merge, and are a fifth of English and most of Chinese.
        {word: (count + scale // 2) // scale for word, count in usable.items() if len(word) > 1},
        letters,
        [*leading, *continuations],
        vocab_size=vocab_size,
        min_frequency=-(-min_frequency // scale),
    )
    total = sum(words.values())
    return Vocabulary(
        tokens=(*leading, *letters, *continuations, *merged),
        alphabet=len(letters),
        coverage=covered,
        unknown_words=1 - sum(usable.values()) / total,
    )


def _check_room(vocab_size: int, leading: list[str], letters: list[str], continuations: list[str]) -> None:
    """Refuse a vocabulary that does not hold what it must hold before any merge."""
    smallest = len(leading) + len(letters) + len(continuations)
    if vocab_size < smallest:
        raise UsageError(
            f"vocab_size {vocab_size} is too small for this text: {len(leading)} special tokens and an alphabet of "
            f"{len(letters)} characters ({len(continuations)} of them inside words too) need {smallest}",
            code="VOCAB_TOO_SMALL",
            where="vocab_size",
            hint=f"choose vocab_size from {smallest} to 1000000, or a lower limit_alphabet",
        )


def _leading(unused: int) -> list[str]:
    pad, *others = SPECIALS
    return [pad, *(f"[unused{i}]" for i in range(unused)), *others]


def _alphabet(words: Mapping[str, int], *, coverage: float, limit: int | None) -> tuple[list[str], float]:
    """Return the chosen characters by code point, and the share of all characters that they make up."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            counts[letter] += count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    total = counts.total()
    chosen: list[str] = []
    covered = 0
    for letter, count in ranked[:limit]:
        # A comparison in whole numbers would need `coverage` as a fraction; a float product is the same everywhere.
        if covered >= coverage * total:
            break
        chosen.append(letter)
        covered += count
    return sorted(chosen), covered / total


def _merges(
    words: Mapping[str, int], letters: list[str], fixed: list[str], *, vocab_size: int, min_frequency: int
) -> list[str]:
    """Return the merged pieces in the order in which the library's trainer finds them."""
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=fixed,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        continuing_subword_prefix=PREFIX,
        show_progress=False,
    )
    library.train_from_iterator(_sequences(words), trainer)
    known = {*fixed, *letters}
    by_id = sorted(library.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    return [token for token, _ in by_id if token not in known]


def _sequences(words: Mapping[str, int]) -> Iterator[str]:
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
