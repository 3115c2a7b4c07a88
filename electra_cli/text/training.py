"""From counted words to a tokenizer, whatever the model."""

from __future__ import annotations

from collections.abc import Mapping

from electra_cli.text.parts import TokenizerParts, WordRules
from electra_cli.text.vocabulary import Vocabulary, Wanted


def train(words: Mapping[str, int], wanted: Wanted, rules: WordRules) -> Vocabulary:
    """Train the vocabulary of the model that the rules name, from the words that they cut (`text.words.words_of`).

    Raises:
        DataError: there are no words.
        UsageError: the size does not even hold the special tokens and the alphabet.
    """
    if rules.model == "bpe":
        from electra_cli.text import bpe

        return bpe.train(words, wanted)
    if rules.model == "unigram":
        from electra_cli.text import unigram

        return unigram.train(words, wanted)
    from electra_cli.text import wordpiece

    return wordpiece.train(words, wanted)


def assembled(
    vocabulary: Vocabulary, rules: WordRules, *, special_tokens: tuple[str, ...] = (), model_max_length: int = 512
) -> TokenizerParts:
    """Return the parts of the tokenizer with that vocabulary; `special_tokens` are entries that text never becomes."""
    return TokenizerParts(
        tokens=vocabulary.tokens,
        rules=rules,
        merges=vocabulary.merges,
        scores=vocabulary.scores,
        special_tokens=special_tokens,
        model_max_length=model_max_length,
    )
