"""Word starts against the library's own offsets into the text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.text.boundaries import SEPARATORS
from electra_cli.text.tokenizer import Tokenizer
from electra_cli.text.word_cache import WordCache

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = "我们在天安门上看见升旗，。"
TOKENIZER = Tokenizer.from_vocab(
    [*SPECIALS, *CHARACTERS, "see", "##ing", "##s", "a", "e", "##e", "##a", "!", "#", "-"], lowercase=True
)
SPACES = {chr(point) for first, last in SEPARATORS for point in range(first, last + 1)}


def by_offsets(text: str) -> list[bool]:
    """A token begins a word if there is white space, or nothing, between it and the token before it."""
    starts, end = [], None
    for first, last in TOKENIZER.raw.encode(text, add_special_tokens=False).offsets:
        starts.append(end is None or bool(SPACES & set(text[end:first])))
        end = last
    return starts


def starts_of(lines: list[str]) -> list[list[bool]]:
    found = WordCache(TOKENIZER).encode_lines(lines, word_starts=True)
    assert found.word_starts_N.dtype == np.bool_
    ends = found.line_lengths.cumsum()
    return [
        found.word_starts_N[end - length : end].tolist() for end, length in zip(ends, found.line_lengths, strict=True)
    ]


def test_words_of_segmented_chinese_begin_where_the_segmenter_says() -> None:
    spaced = "我们 在 天安门 上 看见 升旗 ， seeing sees 。"
    assert starts_of([spaced, "", "天安门"]) == [
        # 我们 | 在 | 天安门 | 上 | 看见 | 升旗 | ， | see ##ing | see ##s | 。
        [bool(int(flag)) for flag in "10110011010110101"],
        [],
        [True, False, False],
    ]


def test_the_ids_are_those_of_the_text_without_spaces() -> None:
    spaced = "我们 在 天安门 上 看见 升旗 。"
    with_spaces, without = TOKENIZER.encode_lines([spaced, spaced.replace(" ", "")])
    assert with_spaces.tolist() == without.tolist()
    assert TOKENIZER.unk_id not in with_spaces


@pytest.mark.parametrize(
    "text", ["a-a a!", "a\u3000e\u2028s", "a \x00 e", "e\u0301 \u0301 e", "see\x0bing a\x85e", "\u200b a"]
)
def test_words_are_what_stands_between_white_space(text: str) -> None:
    assert starts_of([text]) == [by_offsets(text)]


alphabet = st.sampled_from(
    [*"我们天门，。aeEésx-!# \t", " ", " ", "\u3000", "\x00", "\x0b", "\u0301", "\xa0", "\u200b", "ß", "İ", "한"]
)


@given(st.lists(st.text(alphabet | st.characters(exclude_categories=["Cs"]), max_size=40), max_size=4))
@settings(max_examples=200, deadline=None)
def test_starts_are_those_of_the_librarys_offsets(lines: list[str]) -> None:
    lines = [line.replace("\n", " ").replace("\r", " ") for line in lines]
    assert starts_of(lines) == [by_offsets(line) for line in lines]


def test_a_line_longer_than_the_library_is_given_at_once() -> None:
    line = "我们 在天安门 " * 20_000
    (found,) = starts_of([line])
    assert found == [bool(int(flag)) for flag in "101000"] * 20_000
