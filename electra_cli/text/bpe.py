"""Training a byte-level BPE vocabulary that is the same to the byte whenever the text is the same.

Words become bytes, and each of the 256 is an entry: no text is `[UNK]`. The library's trainer breaks ties by the
numbers of the pieces, and those are fixed when the alphabet is; it gets a table of distinct words instead of the text.
The bytes are written as GPT-2 wrote them, one visible character each, the space as Ġ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from electra_cli.text.parts import byte_alphabet
from electra_cli.text.vocabulary import OCCURRENCES, Vocabulary, Wanted, scaled, sequences, usable


def train(words: Mapping[str, int], wanted: Wanted, *, occurrences: int = OCCURRENCES) -> Vocabulary:
    """Train a vocabulary from words and their counts.

    Ids: the leading entries as in WordPiece, the 256 bytes by their characters' code points, and the merged pieces in
    the order in which they were found.

    Args:
        words: words with their mark (`text.words.words_of`).
        wanted: size; a byte-level vocabulary has no use for `coverage` and `limit_alphabet`.
        occurrences: counts are scaled down to about this many words.

    Returns:
        The vocabulary; shorter than wanted where the text holds no more repeated pieces.

    Raises:
        DataError: there are no words.
        UsageError: the size does not even hold the special tokens and the bytes.
    """
    leading, letters = wanted.leading(), byte_alphabet()
    wanted.insist_on_room(len(leading) + len(letters), "the 256 bytes")
    table = dict(enumerate(letters))
    # A word that holds a special token could teach its name as a piece.
    counts, min_frequency = scaled(
        {
            word.encode("utf-8").decode("latin-1").translate(table): count
            for word, count in usable(words).items()
            if not any(name in word for name in leading)
        },
        wanted.min_frequency,
        occurrences=occurrences,
    )
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
    trainer = trainers.BpeTrainer(
        vocab_size=wanted.size - len(leading),
        min_frequency=min_frequency,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    library.train_from_iterator(sequences(counts), trainer)
    model = json.loads(library.to_str())["model"]
    return Vocabulary(
        tokens=(*leading, *sorted(model["vocab"], key=model["vocab"].__getitem__)),
        alphabet=len(letters),
        coverage=1.0,
        unknown_words=0.0,
        merges=tuple((first, second) for first, second in model["merges"]),
    )
