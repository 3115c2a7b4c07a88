from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from electra_cli.errors import DataError
from electra_cli.text.words import words_of

ALL_ASCII = st.text(alphabet=[chr(point) for point in range(128)], max_size=30)


def counted(chunks, **flags):
    normalizer = BertNormalizer(
        lowercase=flags["lowercase"], strip_accents=flags["strip_accents"], handle_chinese_chars=flags["split_cjk"]
    )
    words = Counter()
    for chunk, count in chunks.items():
        for word, _ in BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(chunk)):
            words[word] += count
    return words


@given(
    st.dictionaries(st.one_of(ALL_ASCII, st.text(max_size=20)), st.integers(1, 5), max_size=20),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_words_are_those_of_the_library(chunks, lowercase, strip_accents, split_cjk):
    flags = {"lowercase": lowercase, "strip_accents": strip_accents, "split_cjk": split_cjk}
    assert words_of(chunks, **flags) == counted(chunks, **flags)


def test_counts_of_chunks_that_give_the_same_word_are_summed():
    chunks = {"Don't": 2, "don": 3, "DÖN,": 5}
    assert words_of(chunks, lowercase=True, strip_accents=True, split_cjk=True) == {"don": 10, "'": 2, "t": 2, ",": 5}
    cased = words_of(chunks, lowercase=False, strip_accents=False, split_cjk=True)
    assert cased == {"Don": 2, "'": 2, "t": 2, "don": 3, "DÖN": 5, ",": 5}


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(DataError) as caught:
        words_of({"a\ud800": 1}, lowercase=True, strip_accents=True, split_cjk=True)
    assert caught.value.code == "LONE_SURROGATE"
