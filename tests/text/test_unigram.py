"""The Unigram trainer: cuts against a search through all of them, sizes, ties, and the library's trainer beside it."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from electra_cli.text.lattice import ENDLESS, Lattice
from electra_cli.text.unigram import _seeds, train
from electra_cli.text.vocabulary import Wanted, sequences


def all_cuts(word, pieces):
    """Every way to cut a word, the last piece first."""
    if not word:
        yield ()
    for piece in pieces:
        if word.endswith(piece):
            for rest in all_cuts(word[: -len(piece)], pieces):
                yield (piece, *rest)


WORDS = st.lists(st.text(alphabet="abc字", min_size=1, max_size=6), min_size=1, max_size=5)


@given(WORDS, st.sets(st.text(alphabet="abc字", min_size=1, max_size=4), min_size=1, max_size=8), st.randoms())
@settings(max_examples=300, deadline=None)
def test_the_cheapest_cut_is_that_of_a_search_through_all(words, pieces, dice):
    pieces = sorted(pieces)
    cost_T = np.array([dice.randint(1, 4) for _ in pieces])
    count_W = np.array([dice.randint(1, 9) for _ in words])
    lattice = Lattice(words, pieces)
    cost_of = dict(zip(pieces, cost_T.tolist(), strict=True))
    expected = Counter()
    for word, count, found in zip(words, count_W.tolist(), lattice.costs(cost_T).tolist(), strict=True):
        cuts = list(all_cuts(word, pieces))
        if not cuts:
            assert found >= ENDLESS
            continue
        # The cheapest; of several the one with the longest last piece, then the piece before it.
        best = min(cuts, key=lambda cut: (sum(map(cost_of.__getitem__, cut)), [-len(piece) for piece in cut]))
        assert found == sum(map(cost_of.__getitem__, best))
        for piece in best:
            expected[piece] += count
    assert dict(zip(pieces, lattice.counts(cost_T, count_W).tolist(), strict=True)) == {
        piece: expected[piece] for piece in pieces
    }


@given(WORDS, st.sets(st.text(alphabet="abc字", min_size=1, max_size=3), min_size=2, max_size=8), st.randoms())
@settings(max_examples=100, deadline=None)
def test_forgotten_pieces_are_as_if_they_had_never_been(words, pieces, dice):
    pieces = sorted(pieces)
    kept = sorted(dice.sample(pieces, dice.randint(1, len(pieces))))
    lattice, count_W = Lattice(words, pieces), np.ones(len(words), dtype=np.int64)
    lattice.keep(np.array([kept.index(piece) if piece in kept else -1 for piece in pieces]))
    cost_T = np.array([dice.randint(1, 4) for _ in kept])
    assert lattice.counts(cost_T, count_W).tolist() == Lattice(words, kept).counts(cost_T, count_W).tolist()


def test_the_cut_without_the_whole_piece():
    pieces = ["a", "ab", "abc", "b", "c"]
    assert Lattice(pieces, pieces, whole=False).costs(np.array([5, 3, 1, 4, 2])).tolist() == [
        ENDLESS, 9, 5, ENDLESS, ENDLESS,
    ]  # fmt: skip


@given(st.dictionaries(st.text(alphabet="abc字", min_size=1, max_size=20), st.integers(1, 5), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_seeds_are_the_frequent_substrings(words):
    words = dict(sorted(words.items()))
    counted = Counter()
    for word, count in words.items():
        for start, stop in itertools.combinations(range(len(word) + 1), 2):
            if 2 <= stop - start <= 16:
                counted[word[start:stop]] += count
    expected = sorted(piece for piece, count in counted.items() if count >= 3)
    found, counts = _seeds(list(words), np.array(list(words.values())), 10_000, min_frequency=3)
    assert found == expected
    assert counts.tolist() == [counted[piece] for piece in expected]
    best = sorted(expected, key=lambda piece: (-counted[piece] * len(piece), len(piece), piece))[:5]
    assert _seeds(list(words), np.array(list(words.values())), 5, min_frequency=3)[0] == sorted(best)


def some_words(count=2500, seed=1):
    dice = random.Random(seed)
    stems = ["".join(dice.choices("bdfgklmnprst", k=1) + dice.choices("aeiou", k=1)) for _ in range(40)]
    words = {}
    for rank in range(count):
        word = "▁" + "".join(dice.choices(stems, k=dice.randint(1, 4)))
        words[word] = words.get(word, 0) + 1 + 2000 // (rank + 1)
    return words


def test_a_vocabulary_has_the_size_its_order_and_probabilities():
    found = train(some_words(), Wanted(300, unused=1, extra=("[DOC]",)))
    assert len(found.tokens) == len(set(found.tokens)) == len(found.scores) == 300
    assert found.tokens[:7] == ("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DOC]")
    letters = found.tokens[7 : 7 + found.alphabet]
    assert list(letters) == sorted(letters) and "▁" in letters and all(len(letter) == 1 for letter in letters)
    pieces = found.scores[7 + found.alphabet :]
    assert list(pieces) == sorted(pieces, reverse=True)
    assert all(len(token) > 1 for token in found.tokens[7 + found.alphabet :])
    assert sum(np.exp(found.scores[7:])) == pytest.approx(1, abs=0.01)


def test_a_frequent_word_is_one_piece_and_a_rare_one_is_its_parts():
    found = train({"▁water": 900, "▁fall": 500, "▁waterfall": 3, "▁x": 1}, Wanted(20))
    assert {"▁water", "▁fall"} <= set(found.tokens)
    assert "▁waterfall" not in found.tokens


def test_the_order_of_the_words_does_not_matter():
    words = some_words()
    assert train(words, Wanted(200)) == train(dict(reversed(words.items())), Wanted(200))


def test_no_piece_is_a_special_token_s_name():
    words = {"▁[MASK]": 50, "▁a[MASK]": 50, "▁ab": 9}
    assert not any("MASK" in token for token in train(words, Wanted(60)).tokens[5:])


def test_words_outside_the_alphabet_are_counted_as_unknown():
    found = train({"▁ab": 90, "▁añ": 10}, Wanted(50, limit_alphabet=2))
    assert found.alphabet == 3  # the mark is one of them
    assert found.unknown_words == pytest.approx(0.1)


@pytest.mark.slow
def test_it_needs_no_more_tokens_than_the_library_s_trainer():
    """The library's result changes from run to run by a few tenths of a per cent; ours must not be worse by two."""
    words, size = some_words(3000), 400
    ours = train(words, Wanted(size))
    theirs = Tokenizer(models.Unigram())
    theirs.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=list(ours.tokens[:5]), unk_token="[UNK]", show_progress=False
    )
    theirs.train_from_iterator(sequences(words), trainer)
    theirs.pre_tokenizer = None
    mine = Tokenizer(models.Unigram(list(zip(ours.tokens, ours.scores, strict=True)), 1))

    def tokens(library):
        return sum(len(library.encode(word).ids) * count for word, count in words.items())

    assert tokens(mine) <= 1.02 * tokens(theirs)
