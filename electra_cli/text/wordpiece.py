"""Training a WordPiece vocabulary that is the same to the byte whenever the text is the same.

The library's trainer is not reproducible: it numbers the continuation characters (`##c`) in the order of a hash map,
and ties between merges are broken by those numbers. Here it is given no freedom: it gets a table of distinct words and
their counts instead of the text, an alphabet chosen by us, and every continuation character, sorted, as a "special
token", which fixes its number. The vocabulary is then rebuilt with those as ordinary tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from electra_cli.text.parts import PREFIX
from electra_cli.text.vocabulary import OCCURRENCES, Vocabulary, Wanted, alphabet, scaled, sequences, usable


def train(words: Mapping[str, int], wanted: Wanted, *, occurrences: int = OCCURRENCES) -> Vocabulary:
    """Train a vocabulary from words and their counts.

    Ids: `[PAD]` is 0, then the slots, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`, the user's own tokens, the alphabet by code
    point, the same as continuations, and the merged pieces in the order in which they were found.

    Args:
        words: pre-tokenised words with their counts (`text.words.words_of`).
        wanted: size and alphabet.
        occurrences: counts are scaled down to about this many words.

    Returns:
        The vocabulary; shorter than wanted where the text holds no more repeated pieces.

    Raises:
        DataError: there are no words.
        UsageError: the size does not even hold the special tokens and the alphabet.
    """
    short = usable(words)
    letters, covered = alphabet(short, wanted)
    allowed, leading = set(letters), wanted.leading()
    short = {word: count for word, count in short.items() if allowed.issuperset(word)}
    continuations = sorted({PREFIX + letter for word in short for letter in word[1:]})
    wanted.insist_on_room(
        len(leading) + len(letters) + len(continuations),
        f"an alphabet of {len(letters)} characters ({len(continuations)} of them inside words too)",
    )
    counts, min_frequency = scaled(short, wanted.min_frequency, occurrences=occurrences)
    # Words of one character have no pair to merge, and are a fifth of English and most of Chinese.
    counts = {word: count for word, count in counts.items() if len(word) > 1}
    merged = _merges(counts, letters, [*leading, *continuations], vocab_size=wanted.size, min_frequency=min_frequency)
    return Vocabulary(
        tokens=(*leading, *letters, *continuations, *merged),
        alphabet=len(letters),
        coverage=covered,
        unknown_words=1 - sum(short.values()) / sum(words.values()),
    )


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
    library.train_from_iterator(sequences(words), trainer)
    known = {*fixed, *letters}
    by_id = sorted(library.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    return [token for token, _ in by_id if token not in known]
