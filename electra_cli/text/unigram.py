"""Training a Unigram vocabulary that is the same to the byte whenever the text is the same.

The model is Kudo's (2018, https://arxiv.org/abs/1804.10959). The library's trainer gives other pieces in every process,
with one thread too: its sums of floating-point numbers follow the order of a hash map. So this is one of our own, in
whole numbers: costs are negative log probabilities in units of 2**-14, and each word is counted as its single cheapest
cut ("Viterbi" or hard EM) instead of all cuts by their probability. benchmarks/unigram.py compares both.

It starts from the frequent substrings of the words, and again and again drops the quarter of the pieces that the text
misses least, until as many as were asked for are left. Single characters always stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from electra_cli.text.lattice import ENDLESS, LONGEST_PIECE, Lattice, Numbers
from electra_cli.text.parts import MARKS
from electra_cli.text.vocabulary import Vocabulary, Wanted, alphabet, usable

_UNIT = 2**14
_CHARACTERS = 3 * 2**19
"""Distinct words of this many characters are learnt from, the most frequent ones: that bounds memory and time."""
_SEEDS, _MOST_SEEDS, _FEWEST_SEEDS = 6, 300_000, 2
"""Substrings to begin with: so many times the pieces wanted, at most that number, at least the last times as many."""
_KEPT = 0.75
"""Share of the pieces that a round of pruning keeps (as in the paper's implementation)."""
_ROUNDS = 2
"""Rounds of counting and weighing between two prunings (as there)."""
_AT_ONCE = 2**15  # pieces whose best other cut is looked for together


def train(words: Mapping[str, int], wanted: Wanted) -> Vocabulary:
    """Train a vocabulary from words and their counts.

    Ids: the leading entries as in WordPiece, the alphabet by code point, and the other pieces by falling probability.

    Args:
        words: words with their mark (`text.words.words_of`).
        wanted: size and alphabet; the mark is not counted in `limit_alphabet`.

    Returns:
        The vocabulary; shorter than wanted where the text holds no more repeated pieces.

    Raises:
        DataError: there are no words.
        UsageError: the size does not even hold the special tokens and the alphabet.
    """
    mark, leading = MARKS["unigram"], wanted.leading()
    short = usable(words)
    letters, covered = alphabet({word.replace(mark, ""): count for word, count in short.items()}, wanted)
    letters = sorted({*letters, mark})
    wanted.insist_on_room(len(leading) + len(letters), f"an alphabet of {len(letters)} characters")
    allowed = set(letters)
    known = {word: count for word, count in short.items() if allowed.issuperset(word)}
    unknown = 1 - sum(count for word, count in words.items() if allowed.issuperset(word)) / sum(words.values())
    # A word that holds a special token could teach its name as a piece.
    learnt = _most_frequent({word: n for word, n in known.items() if not any(name in word for name in leading)})
    pieces, costs = _pieces(learnt, letters, wanted.size - len(leading), min_frequency=wanted.min_frequency)
    cost_of = dict(zip(pieces, costs.tolist(), strict=True))
    rest = sorted(set(pieces) - allowed, key=lambda piece: (cost_of[piece], piece))
    never = max(cost_of.values())
    tokens = (*leading, *letters, *rest)
    return Vocabulary(
        tokens=tokens,
        alphabet=len(letters),
        coverage=covered,
        unknown_words=unknown,
        scores=tuple(-cost_of.get(token, never) / _UNIT for token in tokens),
    )


def _most_frequent(words: Mapping[str, int]) -> dict[str, int]:
    """Return the most frequent words that together have `_CHARACTERS` characters, ties by code point, sorted."""
    chosen: dict[str, int] = {}
    room = _CHARACTERS
    for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        room -= len(word)
        if room < 0:
            break
        chosen[word] = count
    return dict(sorted(chosen.items()))


def _pieces(
    words: Mapping[str, int], letters: Sequence[str], size: int, *, min_frequency: int
) -> tuple[list[str], Numbers]:
    """Return `size` pieces or fewer, the letters among them, and their costs."""
    if not words:
        return list(letters), _weighed(np.zeros(len(letters), dtype=np.int64))
    count_W = np.array(list(words.values()), dtype=np.int64)
    seeds = max(_FEWEST_SEEDS * size, min(_SEEDS * size, _MOST_SEEDS))
    longer, counts = _seeds(list(words), count_W, seeds, min_frequency=min_frequency)
    pieces = [*letters, *longer]
    fixed_T = np.arange(len(pieces)) < len(letters)
    counts_T = np.append(np.ones(len(letters), dtype=np.int64), counts)
    lattice = Lattice(list(words), pieces)
    cost_T = _weighed(counts_T)
    while True:
        for _ in range(_ROUNDS):
            counts_T = lattice.counts(cost_T, count_W)
            cost_T = _weighed(counts_T)
        used_T = fixed_T | (counts_T > 0)
        if int(used_T.sum()) <= size:
            number_T = np.where(used_T, used_T.cumsum() - 1, -1)
        else:
            target = max(size, int(_KEPT * int(used_T.sum())))
            number_T = _numbered(_missed(_without(pieces, cost_T), cost_T, counts_T, fixed_T), target)
        kept = number_T >= 0
        done = int(kept.sum()) <= size
        pieces = [piece for piece, stays in zip(pieces, kept.tolist(), strict=True) if stays]
        fixed_T, cost_T = fixed_T[kept], cost_T[kept]
        lattice.keep(number_T)
        if done:
            return pieces, _weighed(lattice.counts(cost_T, count_W))


def _without(pieces: Sequence[str], cost_T: Numbers) -> Numbers:
    """Return the cost of each piece's best cut into others, if it has one; some pieces at a time, for the memory."""
    parts = [pieces[start : start + _AT_ONCE] for start in range(0, len(pieces), _AT_ONCE)]
    return np.concatenate([Lattice(part, pieces, whole=False).costs(cost_T) for part in parts])


def _missed(other_T: Numbers, cost_T: Numbers, counts_T: Numbers, fixed_T: npt.NDArray[np.bool_]) -> Numbers:
    """Return how much more the text would cost without each piece, were its best other cut in all its places."""
    missed_T = counts_T * (other_T - cost_T)
    return np.where(fixed_T | (other_T >= ENDLESS), np.iinfo(np.int64).max, missed_T)


def _numbered(missed_T: Numbers, target: int) -> Numbers:
    """Return the new numbers of the `target` pieces that are missed most, ties to the lower number; -1 for the rest."""
    kept_T = np.zeros(len(missed_T), dtype=np.bool_)
    kept_T[np.argsort(-missed_T, kind="stable")[:target]] = True
    return np.where(kept_T, kept_T.cumsum() - 1, -1)


def _weighed(counts_T: Numbers) -> Numbers:
    """Return the cost of each piece, from how often it stands; what stands nowhere counts half."""
    share_T = np.maximum(counts_T, 0.5) / max(int(counts_T.sum()), 1)
    cost: Numbers = np.rint(-np.log(share_T) * _UNIT).astype(np.int64)
    return np.maximum(cost, 1)


def _seeds(words: Sequence[str], count_W: Numbers, limit: int, *, min_frequency: int) -> tuple[list[str], Numbers]:
    """Return the substrings of 2 to 16 characters that make up most of the text, sorted, and how often each stands.

    At most `limit`, by frequency times length, ties to the shorter and then to the lower code points.
    """
    text = "\0".join(words) + "\0"
    points_P = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.int64)
    sizes_W = np.diff(np.flatnonzero(points_P == 0), prepend=-1)
    weight_P = np.repeat(count_W, sizes_W)
    start = np.flatnonzero(points_P != 0)
    number = points_P[start]
    places: list[Numbers] = []
    lengths: list[Numbers] = []
    counts: list[Numbers] = []
    for length in range(2, LONGEST_PIECE + 1):
        following = points_P[start + length - 1]
        inside = following != 0
        start, key = start[inside], (number[inside] << 21) | following[inside]
        if not len(start):
            break
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
        frequency = np.zeros(len(first), dtype=np.int64)
        np.add.at(frequency, number, weight_P[start])
        often = frequency >= min_frequency  # what holds a rarer substring is rarer still
        places.append(start[first[often]])
        lengths.append(np.full(int(often.sum()), length, dtype=np.int64))
        counts.append(frequency[often])
        start, number = start[often[number]], number[often[number]]
    if not places:
        return [], np.zeros(0, dtype=np.int64)
    place, size, frequency = np.concatenate(places), np.concatenate(lengths), np.concatenate(counts)
    # Numbers of equal length follow their code points, so a stable order is all that the ties need.
    best = np.sort(np.argsort(-frequency * size, kind="stable")[:limit])
    found = [text[at : at + wide] for at, wide in zip(place[best].tolist(), size[best].tolist(), strict=True)]
    order = sorted(range(len(found)), key=found.__getitem__)
    return [found[i] for i in order], frequency[best[order]]
