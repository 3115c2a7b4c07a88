from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.data.words import ChunkCounter
from electra_cli.text.tokenizer import Tokenizer
from electra_cli.text.usage import ScriptUsage, UsageCounter

TOKENS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENS += ["a", "b", "c", "中", ".", "д", "##a", "##b", "##c", "ab", "abc", "##bc"]
WORDS = {"abc": 5, "abca": 2, "c": 1, "中": 4, ".": 7, "дa": 3, "国": 2, "axb": 1}


def counted(words, tokenizer, examples=10):
    counter = UsageCounter(tokenizer)
    counter.add(list(words), np.array(list(words.values()), dtype=np.int64))
    return counter.usage(examples=examples)


def test_the_figures_are_those_of_a_case_worked_by_hand():
    found = counted(WORDS, Tokenizer.from_vocab(TOKENS))
    assert (found.words, found.distinct_words) == (25, 8)
    assert found.tokens == 5 + 2 * 2 + 1 + 4 + 7 + 3 * 2 + 2 + 1
    assert found.whole_words == 5 + 1 + 4 + 7
    assert found.unknown_words == found.unknown_tokens == 3
    assert (found.entries, found.used) == (12, 6)
    assert found.rarest == (("c", 1), ("д", 3), ("中", 4), ("##a", 5), ("abc", 7), (".", 7))
    assert found.never == ("##bc", "ab", "##c", "##b", "b", "a")
    assert found.missing == (("国", 2), ("x", 1))
    assert found.scripts["Latin"] == ScriptUsage(30, words=9, tokens=11, whole_words=6, unknown_words=1)
    assert found.scripts["Cyrillic"] == ScriptUsage(3, words=3, tokens=6, whole_words=0, unknown_words=0)
    assert found.scripts["Han"] == ScriptUsage(6, words=6, tokens=6, whole_words=4, unknown_words=2)
    assert list(found.scripts) == ["Latin", "Common", "Han", "Cyrillic"]


LINES = st.lists(st.text(alphabet="abcxAB中国 .д\u0301", max_size=30), min_size=1, max_size=8)


@given(LINES)
@settings(max_examples=100, deadline=None)
def test_the_sums_are_those_of_the_text_encoded_line_by_line(lines):
    tokenizer = Tokenizer.from_vocab(TOKENS)
    counter = ChunkCounter(rule=tokenizer.cut_rule)
    counter.add(lines)
    words = counter.total()
    found = counted(words, tokenizer)
    ids = Counter(np.concatenate(tokenizer.encode_lines(lines)).tolist())
    assert (found.tokens, found.unknown_tokens) == (ids.total(), ids[tokenizer.unk_id])
    for token, count in found.rarest:
        assert ids[tokenizer.tokens.index(token)] == count
    assert found.used + len(found.never) == found.entries
    assert sum(part.characters for part in found.scripts.values()) == sum(len(w) * n for w, n in words.items())


def test_batches_add_up():
    tokenizer = Tokenizer.from_vocab(TOKENS)
    counter = UsageCounter(tokenizer)
    for word, count in WORDS.items():
        counter.add([word], np.array([count]))
    assert counter.usage(examples=10) == counted(WORDS, tokenizer)
