"""Where two tokenizers cut the same words differently."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from electra_cli.text.anatomy import entries_of
from electra_cli.text.tokenizer import Ids, Tokenizer
from electra_cli.text.usage import Counts


@dataclass(frozen=True)
class Difference:
    """A word that two tokenizers cut differently: how often it occurs, and the tokens of each."""

    word: str
    count: int
    first: tuple[str, ...]
    second: tuple[str, ...]


class Differences:
    """Compares how two tokenizers cut words: where they cut, not what normalisation makes of the letters.

    "The" and "the" are cut alike by a cased and a lower-casing tokenizer, and so are "né" and "ne".

    Attributes:
        words: how many words of the text are cut differently.
        distinct_words: how many distinct ones.
        examples: the first of them, in the order in which they were added.
    """

    def __init__(self, first: Tokenizer, second: Tokenizer, *, examples: int) -> None:
        self.words = self.distinct_words = 0
        self.examples: list[Difference] = []
        self._limit = examples
        self._first, self._second = first, second
        self._cuts = _plain(first), _plain(second)

    def add(self, words: Sequence[str], counts: Counts, first: Sequence[Ids], second: Sequence[Ids]) -> None:
        """Compare the ids that the two tokenizers give to `words`."""
        plain, other = self._cuts
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            if [plain[i] for i in a.tolist()] == [other[i] for i in b.tolist()]:
                continue
            count = int(counts[index])
            self.words += count
            self.distinct_words += 1
            if len(self.examples) < self._limit:
                cut_a = tuple(self._first.tokens[i] for i in a.tolist())
                cut_b = tuple(self._second.tokens[i] for i in b.tolist())
                self.examples.append(Difference(words[index], count, cut_a, cut_b))


def _plain(tokenizer: Tokenizer) -> list[str]:
    """Return what the entries stand for, without case and accents."""
    texts = (unicodedata.normalize("NFD", entry.text.casefold()) for entry in entries_of(tokenizer.parts))
    return ["".join(letter for letter in text if unicodedata.category(letter) != "Mn") for text in texts]
