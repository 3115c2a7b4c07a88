"""The word cache against the library's own `encode_batch`, line by line."""

import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from electra_cli.errors import DataError
from electra_cli.text import word_cache
from electra_cli.text.boundaries import PUNCTUATION, SEPARATORS
from electra_cli.text.bulk_encoding import SEAMS, BulkEncoder
from electra_cli.text.tokenizer import LONGEST_RUN, Tokenizer
from electra_cli.text.word_cache import WordCache

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdeésztABCÉZßσςΣiIjяйЯЙ한국가각자ㅎあア字国漢0123५"
MARKS = "\u0301\u0308\u0323\u3099\u093f\u302e\u20dd"
PIECES = [
    "the",
    "##the",
    "ab",
    "##ab",
    "##bc",
    "국가",
    "##국",
    "##가",
    "한국",
    "mask",
    "sep",
    "##s",
    "字国",
    "й",
    "и",
    "e",
]
VOCABULARY = [
    *SPECIALS,
    *dict.fromkeys(
        [*LETTERS, *MARKS, *(f"##{c}" for c in LETTERS + MARKS), *PIECES, *".,-![]#|;`=「，。℃", "##", "##."]
    ),
]
CASES = {
    "uncased": {"lowercase": True, "strip_accents": True, "split_cjk": True},
    "cased": {"lowercase": False, "strip_accents": False, "split_cjk": True},
    "lower, accents kept": {"lowercase": True, "strip_accents": False, "split_cjk": True},
    "cased, stripped, words of ideographs": {"lowercase": False, "strip_accents": True, "split_cjk": False},
}
TOKENIZERS = {name: Tokenizer.from_vocab(VOCABULARY, **flags) for name, flags in CASES.items()}
# Without any punctuation in the vocabulary nothing can be joined.
BARE = Tokenizer.from_vocab([*SPECIALS, "a", "##a", "字", "é"], lowercase=False)

# White space of several kinds, what is deleted, what decomposes to punctuation, letters that change their length when
# lower-cased, rare punctuation, compatibility ideographs, emoji with joiners.
ODD = (
    " \t\r\u3000\u2028\xa0\x00\x0b\x0c\x1c\x7f\x85\xad\u200b\u200d\ufeff\ufffd\ufffe\ue000"
    "\u037e\u1fef\u2260\u226f\u0130\u1e9e\ufb01\u212a\u2126\u0149\u2044\u066a\u0bf3\u0f3a\u16eb\uff5f\u2e3a"
    "\uf900\U00020000\U0002f800\U0010fffd👩💻🏳️½²"
)
text = st.text(
    st.sampled_from(LETTERS + MARKS + ODD + ".,-![]#|;`=「，。℃·")
    | st.sampled_from("ab e")
    | st.characters(exclude_categories=["Cs"], exclude_characters="\n"),
    max_size=60,
)


def expected(tokenizer, lines):
    return [encoding.ids for encoding in tokenizer.raw.encode_batch(lines, add_special_tokens=False)]


def found(cache, lines):
    encoded = cache.encode_lines(lines)
    assert encoded.ids_N.dtype == np.uint16
    ends = encoded.line_lengths.cumsum()
    assert len(encoded.ids_N) == (ends[-1] if lines else 0)
    return [encoded.ids_N[end - length : end].tolist() for end, length in zip(ends, encoded.line_lengths, strict=True)]


@pytest.mark.parametrize("case", CASES)
@given(lines=st.lists(text, max_size=6))
@example(lines=[])
@example(lines=["", "", ""])
@example(lines=["[SEP] a[MASK]b [PAD]", "!\u0301a .\u0323\u0301e", "ΑΣ ΑΣΑ", "a\x0bb a\x1cb", "a\x00", "a", "\x00"])
@example(lines=["e\u0323\u0301", "\u0301", "a \u0301 b", "가\u302e국", "i\u0307 İ", "≠ a≠b ; \u037e"])
@settings(max_examples=100, deadline=None)
def test_ids_are_those_of_the_library(case, lines):
    tokenizer = TOKENIZERS[case]
    cache = WordCache(tokenizer)
    assert found(cache, lines) == expected(tokenizer, lines)
    assert found(cache, lines[::-1]) == expected(tokenizer, lines[::-1]), "now from the cache"


@given(st.lists(st.lists(text, max_size=4), max_size=6), st.integers(1, 40), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_ids_depend_neither_on_what_the_cache_has_seen_nor_on_its_size_nor_on_where_text_is_cut(texts, block, entries):
    tokenizer = TOKENIZERS["uncased"]
    cache = WordCache(tokenizer, entries=entries, long_bytes=50)
    for lines in texts:
        cache._block = block
        assert found(cache, lines) == expected(tokenizer, lines)


@given(st.lists(text, max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_vocabulary_without_punctuation(lines):
    assert found(WordCache(BARE), lines) == expected(BARE, lines)


@given(st.lists(text | st.just("\n"), max_size=6).map(lambda parts: ["".join(parts), "a\nb"]))
@settings(max_examples=50, deadline=None)
def test_a_newline_within_a_line_is_white_space(lines):
    tokenizer = TOKENIZERS["uncased"]
    assert found(WordCache(tokenizer), lines) == expected(tokenizer, lines)


@pytest.mark.parametrize("case", ["uncased", "cased"])
def test_every_character_alone_and_between_letters(case):
    tokenizer = TOKENIZERS[case]
    cache = WordCache(tokenizer)
    points = [point for point in range(0x3100) if point != 0x0A] + list(range(0xF8F0, 0x10000, 3))
    lines = [f"{chr(point)} a{chr(point)}b é{chr(point)}\u0301" for point in points]
    assert found(cache, lines) == expected(tokenizer, lines)


@pytest.mark.slow
def test_every_character_there_is():
    tokenizer = TOKENIZERS["uncased"]
    ranges = [*range(0x3100, 0x3500), *range(0xA000, 0xD800, 5), *range(0xE000, 0xF8F0, 50), *range(0x10000, 0x20000)]
    ranges += range(0x20000, sys.maxunicode + 1, 97)
    lines = [
        " ".join(f"a{chr(point)}b" for point in ranges[start : start + 100]) for start in range(0, len(ranges), 100)
    ]
    assert found(WordCache(tokenizer), lines) == expected(tokenizer, lines)


def test_words_of_every_length():
    # One to four lanes of eight bytes and beyond, the longest word that has pieces, and longer ones.
    tokenizer = TOKENIZERS["uncased"]
    lines = ["a" * n + " " + "é" * n + " 국" * n + "b" * n for n in range(1, 130)]
    cache = WordCache(tokenizer)
    assert found(cache, lines) == expected(tokenizer, lines)
    assert found(cache, lines) == expected(tokenizer, lines)


def test_an_endless_word_is_one_unknown_as_in_the_plain_path():
    tokenizer = TOKENIZERS["uncased"]
    for run in ("x" * LONGEST_RUN, "x" * (LONGEST_RUN + 1), "é" * (LONGEST_RUN + 1), "℃" * (LONGEST_RUN + 1)):
        lines = [f"the {run}.ab", run, "b"]
        plain = [ids.tolist() for ids in tokenizer.encode_lines(lines)]
        assert found(WordCache(tokenizer), lines) == plain
        assert plain[0][0] == VOCABULARY.index("the") and plain[0][-2:] == [
            VOCABULARY.index("."),
            VOCABULARY.index("ab"),
        ]
        assert plain[1] == [tokenizer.unk_id]


def test_a_long_line_without_white_space_is_cut_at_ideographs():
    tokenizer = TOKENIZERS["uncased"]
    line = "字国，" * 300_000
    cache = WordCache(tokenizer)
    assert found(cache, [line, "ab"]) == [expected(tokenizer, ["字国，"])[0] * 300_000, expected(tokenizer, ["ab"])[0]]


def test_half_of_a_surrogate_pair_is_refused_as_in_the_plain_path():
    tokenizer = TOKENIZERS["uncased"]
    errors = []
    for encode in (WordCache(tokenizer).encode_lines, tokenizer.encode_lines):
        with pytest.raises(DataError) as caught:
            encode(["fine", "ab \ud800"])
        errors.append((caught.value.code, str(caught.value)))
    assert errors[0] == errors[1] and errors[0][0] == "LONE_SURROGATE"


def test_ids_take_32_bits_where_the_vocabulary_needs_them():
    large = Tokenizer.from_vocab([*SPECIALS, *(f"w{number}" for number in range(70_000)), "."])
    encoded = WordCache(large).encode(b"w69999 w0.")
    assert encoded.ids_N.dtype == np.uint32
    assert encoded.ids_N.tolist() == [70_004, 5, 70_005]


def test_memory_stays_bounded():
    cache = WordCache(TOKENIZERS["uncased"], entries=1000, long_bytes=1000)
    for number in range(40):
        cache.encode(b" ".join(b"%d" % word for word in range(number * 500, number * 500 + 500)))
        cache.encode(b" ".join(b"%040d" % word for word in range(number * 50, number * 50 + 50)))
    assert cache._held <= 2000 and cache._long_held <= 1000 + 50 * 40
    assert max(len(table._values) for table in cache._tables) <= 2**14


def test_no_other_character_becomes_a_seam():
    # What `bulk_encoding` rests on: no text that holds none of these marks gets one by normalisation.
    normalize = TOKENIZERS["uncased"].raw.normalizer.normalize_str
    points = [*range(0xAC00), *range(0xE000, 0xE010), *range(0xF8F0, 0x20000), *range(0x2F800, 0x2FA20)]
    others = "".join(chr(point) for point in points if chr(point) not in SEAMS)
    assert not set(SEAMS) & set(normalize(others))
    assert set(";`=<>") <= set(normalize(others)), "those that do are not among the seams"


def test_all_ascii_punctuation_and_white_space_is_cut_off():
    # So that a text handed to `bulk_encoding` holds a mark only if it is that mark.
    cut = {chr(p) for first, last in (*PUNCTUATION, *SEPARATORS) for p in range(first, last + 1)}
    assert set("\t\n\r !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") <= cut


def test_the_bulk_encoder_returns_every_text_once():
    texts = [b"ab", b".", b"the", "국가".encode(), "é\u0301".encode(), b"a" * 5000, "\u200b".encode(), b"]"]
    tokenizer = TOKENIZERS["uncased"]
    ids_of = {}
    for some, ids, counts in BulkEncoder(tokenizer).encode(texts):
        ends = counts.cumsum()
        ids_of |= {one: ids[end - count : end].tolist() for one, end, count in zip(some, ends, counts, strict=True)}
    plain = expected(tokenizer, [one.decode() for one in texts])
    assert [ids_of[one] for one in texts] == plain and len(ids_of) == len(texts)


def test_blocks_grow_from_small_to_the_usual_size():
    cache = WordCache(TOKENIZERS["uncased"])
    cache.encode(b"the " * 2**20)
    assert cache._block == word_cache._BLOCK
