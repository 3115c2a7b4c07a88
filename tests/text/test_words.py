import unicodedata
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Digits, Sequence, WhitespaceSplit

from electra_cli.errors import DataError
from electra_cli.text.parts import WordRules
from electra_cli.text.words import words_of

ALL_ASCII = st.text(alphabet=[chr(point) for point in range(128)], max_size=30)


def by_the_library(text, rules):
    """Words by the library's own components, put together by hand."""
    normal = BertNormalizer(
        lowercase=rules.lowercase, strip_accents=rules.strip_accents, handle_chinese_chars=rules.split_cjk
    ).normalize_str(text)
    if rules.model == "wordpiece":
        first = WhitespaceSplit() if rules.pre_segmented else BertPreTokenizer()
        both = Sequence([first, Digits(individual_digits=True)]) if rules.split_digits else first
        return [word for word, _ in both.pre_tokenize_str(normal)]
    mark = " " if rules.model == "bpe" else "▁"
    words = []
    for chunk in normal.split():
        marked = chunk if chunk.startswith(mark) else mark + chunk
        words += [marked] if rules.pre_segmented else runs(marked, mark, rules.split_digits)
    return words


def runs(text, mark, split_digits):
    """The rule in words: runs of one class, a mark goes with what follows it, digits perhaps one by one."""
    words, last = [], ""
    for char in text:
        kind = {"L": "letter", "M": "letter", "N": "number"}.get(unicodedata.category(char)[0], "sign")
        kind = "mark" if char == mark else kind
        if kind != "mark" and (last == "mark" or (kind == last and not (kind == "number" and split_digits))):
            words[-1] += char
        else:
            words.append(char)
        last = kind
    return words


def all_rules():
    for model in ("wordpiece", "bpe", "unigram"):
        for lowercase in (True, False):
            plain = WordRules(model=model, lowercase=lowercase, strip_accents=lowercase)
            yield plain
            yield replace(plain, split_digits=True, split_cjk=False)
            yield replace(plain, pre_segmented=True, split_cjk=False)


TEXT = st.text(alphabet="aZÉé9½٣,.-»字国한ก\u0e33\u0301\u200d▁😀 \u3000", max_size=20)


@given(st.dictionaries(st.one_of(ALL_ASCII, TEXT), st.integers(1, 5), max_size=8))
@settings(max_examples=150, deadline=None)
def test_words_are_those_of_the_library(chunks):
    for rules in all_rules():
        expected = Counter()
        for chunk, count in chunks.items():
            for word in by_the_library(chunk, rules):
                expected[word] += count
        assert words_of(chunks, rules) == expected, rules


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_bert_s_words_are_those_of_any_text(text):
    assert words_of({text: 1}, WordRules()) == Counter(by_the_library(text, WordRules()))


def test_placeholders_are_no_words():
    rules = WordRules(placeholders=("<URL>", "<URLS>"))
    assert words_of({"see<URLS>now": 2, "<url>": 1, "<URL>": 9}, rules) == {
        "see": 2, "now": 2, "<": 1, "url": 1, ">": 1,
    }  # fmt: skip


def test_counts_of_chunks_that_give_the_same_word_are_summed():
    chunks = {"Don't": 2, "don": 3, "DÖN,": 5}
    assert words_of(chunks, WordRules()) == {"don": 10, "'": 2, "t": 2, ",": 5}
    cased = words_of(chunks, WordRules(lowercase=False, strip_accents=False))
    assert cased == {"Don": 2, "'": 2, "t": 2, "don": 3, "DÖN": 5, ",": 5}


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(DataError) as caught:
        words_of({"a\ud800": 1}, WordRules())
    assert caught.value.code == "LONE_SURROGATE"
