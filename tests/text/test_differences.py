import numpy as np
import pytest

from electra_cli.text.differences import Difference, Differences
from electra_cli.text.tokenizer import Tokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["abc", "Abc", "ABC", "á", "."]
COUNTS = np.array([9, 8, 7, 6, 5])


@pytest.mark.parametrize("examples", [1, 9])
def test_differences_are_cuts_and_not_letters(examples):
    lower = Tokenizer.from_vocab([*SPECIALS, "a", "abc", "."])
    cased = Tokenizer.from_vocab([*SPECIALS, "abc", "A", "##bc", "ABC", "á", "."], lowercase=False)
    apart = Differences(lower, cased, examples=examples)
    apart.add(WORDS, COUNTS, lower.encode_lines(WORDS), cased.encode_lines(WORDS))
    assert (apart.words, apart.distinct_words) == (8, 1)
    assert apart.examples == [Difference("Abc", 8, ("abc",), ("A", "##bc"))]


def test_the_first_differences_are_kept():
    one, two = (Tokenizer.from_vocab([*SPECIALS, *tokens]) for tokens in (["abc", "."], ["."]))
    apart = Differences(one, two, examples=1)
    for start in (0, 2):
        words = WORDS[start : start + 2]
        apart.add(words, COUNTS[start:], one.encode_lines(words), two.encode_lines(words))
    assert (apart.words, apart.distinct_words) == (24, 3)
    assert apart.examples == [Difference("abc", 9, ("abc",), ("[UNK]",))]
