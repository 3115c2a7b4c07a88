import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from electra_cli.errors import DataError, UsageError
from electra_cli.text.vocabulary import Wanted
from electra_cli.text.wordpiece import train

REPOSITORY = Path(__file__).resolve().parents[2]


def some_words(count=3000, seed=1):
    """Made-up words of a few syllables with a long tail of counts, so that there are many ties."""
    dice = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = {}
    for rank in range(count):
        word = "".join(dice.choices(syllables, k=dice.randint(1, 4)))
        words[word] = words.get(word, 0) + 1 + 2000 // (rank + 1)
    return words


def test_the_first_merges_can_be_computed_by_hand():
    # Pairs: a+##b 10, ##b+##c 7, x+##y 5. First ab (10), then abc (7), then xy (5).
    found = train({"ab": 3, "abc": 7, "xy": 5}, Wanted(size=100))
    assert found.tokens == (
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *("a", "b", "c", "x", "y", "##b", "##c", "##y"),
        *("ab", "abc", "xy"),
    )
    assert found.alphabet == 5
    assert found.coverage == 1.0
    assert found.unknown_words == 0.0


def test_ids_follow_the_documented_order():
    found = train({"ab": 3, "abc": 7}, Wanted(size=20, unused=2))
    assert found.tokens[:8] == ("[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a")


def test_the_vocabulary_has_exactly_the_size_that_was_asked_for():
    found = train(some_words(), Wanted(size=500))
    assert len(found.tokens) == len(set(found.tokens)) == 500


def test_a_merge_rarer_than_min_frequency_is_left_out():
    tokens = train({"ab": 3, "xy": 2}, Wanted(size=100, min_frequency=3)).tokens
    assert "ab" in tokens
    assert "xy" not in tokens


def test_the_order_of_the_words_does_not_matter():
    words = some_words()
    other = dict(sorted(words.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest()))
    assert list(words) != list(other)
    assert train(words, Wanted(size=600)) == train(other, Wanted(size=600))


def test_processes_threads_and_hash_seeds_do_not_matter():
    # The plain trainer of the library gives another vocabulary in every one of such runs.
    script = (
        "import random, hashlib\n"
        "from electra_cli.text.vocabulary import Wanted\n"
        "from electra_cli.text.wordpiece import train\n"
        "dice = random.Random(7)\n"
        "words = {}\n"
        "for rank in range(4000):\n"
        "    word = ''.join(dice.choices('abcdefghijklmnopqrstuvwxyz', k=dice.randint(1, 9)))\n"
        "    words[word] = words.get(word, 0) + 1 + 900 // (rank + 1)\n"
        "items = sorted(words.items(), key=lambda item: hash(item[0]))\n"
        "print(hashlib.sha256(repr(train(dict(items), Wanted(size=800)).tokens).encode()).hexdigest())\n"
    )
    found = set()
    for hash_seed, threads in (("0", "1"), ("1", "2"), ("99", "2")):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "RAYON_NUM_THREADS": threads, "PYTHONPATH": str(REPOSITORY)}
        found.add(subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True).stdout)
    assert len(found) == 1


def test_the_alphabet_prefers_frequent_characters_then_low_code_points():
    words = {"a": 10, "d": 5, "c": 5, "b": 5, "z": 1}
    assert train(words, Wanted(size=50, limit_alphabet=3)).tokens[5:] == ("a", "b", "c")
    assert train(words, Wanted(size=50, coverage=20 / 26)).tokens[5:] == ("a", "b", "c")
    assert train(words, Wanted(size=50, coverage=1.0)).alphabet == 5


def test_words_outside_the_alphabet_teach_nothing():
    # The library skips ý and would learn the pair a+##b from "aýb".
    words = {"a": 99, "b": 99, "ab": 1, "aýb": 50}
    assert "ab" not in train(words, Wanted(size=50, limit_alphabet=2)).tokens
    assert train(words, Wanted(size=50, limit_alphabet=2)).unknown_words == pytest.approx(50 / 249)
    assert "aýb" in train(words, Wanted(size=50, limit_alphabet=3)).tokens


def test_words_that_are_always_unknown_teach_nothing():
    words = {"ab": 1, "ab" * 51: 50}
    assert train(words, Wanted(size=50)).tokens[5:] == ("a", "b", "##b")
    assert train(words, Wanted(size=50)).unknown_words == pytest.approx(50 / 51)


def test_continuations_are_only_those_that_occur():
    tokens = train({"字": 9, "国": 9, "ab": 3}, Wanted(size=50)).tokens
    assert {token for token in tokens if token.startswith("##")} == {"##b"}


def test_a_size_below_the_alphabet_is_refused_with_the_range():
    with pytest.raises(UsageError, match="need 12") as caught:
        train({"ab": 1, "cd": 1, "e": 1}, Wanted(size=9, coverage=1.0))
    assert caught.value.code == "VOCAB_TOO_SMALL"
    assert "12 to 1000000" in (caught.value.hint or "")


def test_no_words_are_no_documents():
    for words in ({}, {"a" * 101: 5}):
        with pytest.raises(DataError) as caught:
            train(words, Wanted(size=100))
        assert caught.value.code == "NO_DOCUMENTS"


def test_large_counts_are_scaled_down():
    words = some_words(500)
    large = {word: count * 8 for word, count in words.items()}
    expected = train(words, Wanted(size=400, min_frequency=2))
    scaled = train(large, Wanted(size=400, min_frequency=16), occurrences=sum(words.values()))
    assert scaled.tokens == expected.tokens
