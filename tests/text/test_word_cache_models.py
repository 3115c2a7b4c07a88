"""The word cache with tokenizers that cut elsewhere than BERT's, or at white space only, against their plain path."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from electra_cli.text.tokenizer import LONGEST_RUN
from electra_cli.text.word_cache import WordCache
from tests.text.test_models import MADE, PIECES, SPECIAL, TEXT

text = st.lists(
    st.sampled_from([*PIECES, *SPECIAL, " ", "\u3000", "字国", "https:", "<url>", "A1B22"])
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12),
    max_size=10,
).map("".join)


def found(cache, lines):
    encoded = cache.encode_lines(lines)
    ends = encoded.line_lengths.cumsum()
    return [encoded.ids_N[end - length : end].tolist() for end, length in zip(ends, encoded.line_lengths, strict=True)]


def expected(tokenizer, lines):
    return [ids.tolist() for ids in tokenizer.encode_lines(lines)]


@pytest.mark.parametrize("name", MADE)
@given(lines=st.lists(text, max_size=4))
@example(lines=[TEXT, TEXT.replace(" ", ""), "", " a", "a ", "  a  b", "<URL><URL>a", "[网址]b", "<url> <URL>"])
@settings(max_examples=60, deadline=None)
def test_ids_are_those_of_the_plain_path(name, lines):
    tokenizer = MADE[name]
    cache = WordCache(tokenizer)
    assert found(cache, lines) == expected(tokenizer, lines)
    assert found(cache, lines[::-1]) == expected(tokenizer, lines[::-1]), "now from the cache"


@pytest.mark.parametrize("name", MADE)
def test_endless_words(name):
    tokenizer = MADE[name]
    lines = [f"the {'x' * (LONGEST_RUN + 5)} fox", "é" * (LONGEST_RUN + 1), "a<URL>" * 20_000]
    assert found(WordCache(tokenizer), lines) == expected(tokenizer, lines)
