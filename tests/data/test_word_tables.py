import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.data import word_tables as module
from electra_cli.data.word_tables import BoundedWords, WordTable, bounded, weighted
from electra_cli.errors import ResourceError, UsageError

WORD = st.text(alphabet="ab \x85\u2028\ue000\U0001f600字", min_size=1, max_size=3)
TABLE = st.dictionaries(WORD, st.integers(1, 9), max_size=12)


@given(st.lists(TABLE, max_size=6), st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_in_between_the_counts_are_the_same(tmp_path_factory, tables, limit):
    expected = Counter()
    table = WordTable(tmp_path_factory.mktemp("runs"), "t", limit=limit)
    for words in tables:
        expected.update(words)
        table.add(words.items())
        assert len(table._held) <= limit
    assert dict(table.items()) == expected
    assert list(table.sorted_items()) == sorted(expected.items())


def test_runs_of_others_are_added_and_many_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_OPEN_RUNS", 4)
    mine = WordTable(tmp_path / "new", "mine", limit=100)
    mine.add({"a": 1, "b": 1}.items())
    for number in range(9):
        other = WordTable(tmp_path / "new", f"other-{number}", limit=100)
        other.add({"b": 2, "c": number + 1}.items())
        mine.adopt(other.write())
        assert len(list((tmp_path / "new").iterdir())) < 4
    assert list(mine.items()) == [("a", 1), ("b", 19), ("c", 45)]
    assert not mine.in_memory


def test_a_full_disk_is_a_resource_error(tmp_path):
    (tmp_path / "t-0.words").symlink_to("/dev/full")
    table = WordTable(tmp_path, "t", limit=0)
    with pytest.raises(ResourceError) as caught:
        table.add({"a": 1}.items())
    assert caught.value.code == "DISK_FULL"


COUNTS = {"a": 9, "b": 5, "c": 5, "d": 2, "e": 1, "f": 1}


class TestBounded:
    @pytest.mark.parametrize(
        ("limit", "kept", "least", "left_out", "occurrences"),
        [(6, "abcdef", 1, 0, 0), (5, "abcd", 2, 2, 2), (4, "abcd", 2, 2, 2), (3, "abc", 5, 3, 4), (2, "a", 9, 5, 14)],
    )
    def test_the_rarest_go_all_of_a_count_together(self, limit, kept, least, left_out, occurrences):
        for seed in range(3):
            items = random.Random(seed).sample(sorted(COUNTS.items()), 6)
            found = bounded(lambda items=items: iter(items), limit)
            expected = {word: COUNTS[word] for word in kept}
            assert found == BoundedWords(expected, least, left_out, occurrences)

    def test_nothing_left_is_refused(self):
        with pytest.raises(UsageError, match="2 most frequent") as caught:
            bounded(lambda: iter([("a", 3), ("b", 3)]), 1)
        assert caught.value.code == "TOO_MANY_WORDS"


@given(st.lists(TABLE, min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_weighing_is_exact_and_rounds_once(tmp_path_factory, tables, data):
    folder = tmp_path_factory.mktemp("runs")
    factors = [data.draw(st.fractions(Fraction(1, 50), 7, max_denominator=60)) for _ in tables]
    held = []
    for number, words in enumerate(tables):
        held.append(WordTable(folder, str(number), limit=data.draw(st.sampled_from([0, 99]))))
        held[-1].add(words.items())
    expected = {}
    for word in set().union(*tables):
        total = sum(words.get(word, 0) * factor for words, factor in zip(tables, factors, strict=True))
        if (total + Fraction(1, 2)) // 1:
            expected[word] = (total + Fraction(1, 2)) // 1
    assert list(weighted(held, factors)) == sorted(expected.items())
