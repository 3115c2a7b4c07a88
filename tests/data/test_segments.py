import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.data.segments import digest_of, document_random, is_held_out
from tests.data.plain_segments import Row
from tests.data.plain_segments import fast_rows_of as rows_of
from tests.data.plain_segments import rows_of as plain_rows_of


class Dice:
    """Randomness that was thrown beforehand."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def random(self):
        return self.draws.pop(0)


LONG = 0.9  # not below SHORT_TARGET: the target is the row length
TWO = 0.9  # not below SINGLE_SEGMENT: two segments
HEADS, TAILS = 0.1, 0.9


def test_lines_are_split_at_the_goal():
    # Length 15, so the goal is (15 - 3) // 2 = 6. Lines of 5: the first joins A; the second would make 10, and the
    # coin says no, so B begins; the third goes to B (10 < 6 is false). 15 tokens reach the target. A is 5, B may hold
    # 15 - 5 - 3 = 7 of its 10; the three that do not fit begin the next row, which the end of the document closes.
    dice = Dice(LONG, TWO, TAILS, LONG, TWO, LONG)
    rows = list(rows_of([5, 5, 5], length=15, rng=dice))
    assert rows == [Row(((0, 5),), ((5, 12),)), Row(((12, 15),), ())]
    assert dice.draws == []


def test_a_coin_decides_about_the_line_that_overfills_the_first_segment():
    dice = Dice(LONG, TWO, HEADS, LONG, TWO, LONG)
    rows = list(rows_of([5, 5, 5], length=15, rng=dice))
    # A = 10 tokens; the third line: 15 < 6 no; B is empty but 10 < 6 is false, no coin; B holds 15 - 10 - 3 = 2.
    assert rows == [Row(((0, 10),), ((10, 12),)), Row(((12, 15),), ())]
    assert dice.draws == []


def test_a_short_line_may_join_the_first_segment_after_the_second_began():
    # Length 23, goal 10. 6 → A. 9 → 15 < 10 no, coin tails → B. 3 → 6 + 3 < 10: A again. 5 → 14 < 10 no, B.
    # A holds lines 1 and 3, B 23 - 9 - 3 = 11 of the 14 tokens of lines 2 and 4; three are left.
    dice = Dice(LONG, TWO, TAILS, LONG, TWO, LONG)
    rows = list(rows_of([6, 9, 3, 5], length=23, rng=dice))
    assert rows == [Row(((0, 6), (15, 18)), ((6, 15), (18, 20))), Row(((20, 23),), ())]


def test_one_row_in_ten_is_a_single_segment():
    dice = Dice(LONG, 0.05, LONG, TWO, LONG)
    rows = list(rows_of([5, 5, 5], length=15, rng=dice))
    assert rows == [Row(((0, 13),), ()), Row(((13, 15),), ())]


def test_the_rest_of_a_long_line_is_carried_over():
    # Alone in its row a line joins A whole, so rows of length - 2 = 8 tokens follow each other.
    dice = Dice(*[LONG, TWO] * 4, LONG)
    rows = list(rows_of([26], length=10, rng=dice))
    assert rows == [Row(((0, 8),), ()), Row(((8, 16),), ()), Row(((16, 24),), ()), Row(((24, 26),), ())]


def test_the_rest_and_the_next_line_share_a_row():
    # Length 10, goal 3: after 8 of 10 tokens the other 2 join A of the next row, and the new line (2 + 4 < 3 no) gets
    # into it by the coin.
    dice = Dice(LONG, TWO, LONG, TWO, HEADS, LONG)
    assert list(rows_of([10, 4], length=10, rng=dice)) == [Row(((0, 8),), ()), Row(((8, 14),), ())]


def test_short_targets_give_short_rows():
    # 0.04 < 0.05: short; 5 + int(0.5 * (20 - 5 + 1)) = 13. Lines of 4: the fourth reaches 13, goal (13 - 3) // 2 = 5.
    dice = Dice(0.04, 0.5, TWO, TAILS, LONG, TWO, TAILS, LONG)
    rows = list(rows_of([4, 4, 4, 4, 4, 4], length=20, rng=dice))
    assert rows[0] == Row(((0, 4),), ((4, 16),))
    # The cut is at the row length, not at the target: 4 + 12 + 3 = 19 tokens fit.
    assert rows[1:] == [Row(((16, 20),), ((20, 24),))]


def test_lines_without_tokens_are_passed_over():
    assert list(rows_of([0, 3, 0], length=10, rng=Dice(LONG, TWO, LONG))) == [Row(((0, 3),), ())]
    assert list(rows_of([], length=10, rng=Dice(LONG))) == []


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(8, 64), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_every_token_is_in_exactly_one_row(lengths, length, seed):
    rows = list(rows_of(lengths, length=length, rng=random.Random(seed)))
    taken = [place for row in rows for start, stop in row.first + row.second for place in range(start, stop)]
    assert sorted(taken) == list(range(sum(lengths)))
    for row in rows:
        specials = 3 if row.second else 2
        assert row.first and 0 < row.tokens <= length - specials


def test_what_does_not_fit_is_lost_where_nothing_is_carried_over():
    # The rows of `test_lines_are_split_at_the_goal` and of `…_long_line_is_carried_over`, without what follows the cut.
    dice = Dice(LONG, TWO, TAILS, LONG)
    assert list(rows_of([5, 5, 5], length=15, rng=dice, carry_over=False)) == [Row(((0, 5),), ((5, 12),))]
    assert dice.draws == []
    dice = Dice(LONG, TWO, LONG, TWO, LONG)
    rows = list(rows_of([26, 4], length=10, rng=dice, carry_over=False))
    assert rows == [Row(((0, 8),), ()), Row(((26, 30),), ())]
    assert dice.draws == []


def released(lines, length, rng):
    """electra.md 1.3, list by list: what the released code makes of a document, [CLS] and [SEP] left out."""

    def short_or_long():
        return 5 + int(rng.random() * (length - 4)) if rng.random() < 0.05 else length

    def emit():
        goal = 100_000 if rng.random() < 0.1 else (target - 3) // 2
        a, b = [], []
        for sentence in sentences:
            if not a or len(a) + len(sentence) < goal or (not b and len(a) < goal and rng.random() < 0.5):
                a += sentence
            else:
                b += sentence
        a = a[: length - 2]
        return a, b[: max(0, length - len(a) - 3)]

    sentences, count, target = [], 0, short_or_long()
    for line in lines:
        if not line:
            continue
        sentences.append(line)
        count += len(line)
        if count >= target:
            yield emit()
            sentences, count, target = [], 0, short_or_long()
    if sentences:
        yield emit()


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(8, 64), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_without_carry_over_rows_are_those_of_the_released_code(lengths, length, seed):
    ends = [sum(lengths[:number]) for number in range(len(lengths) + 1)]
    lines = [list(range(start, stop)) for start, stop in pairwise(ends)]
    expected = list(released(lines, length, random.Random(seed)))
    rows = rows_of(lengths, length=length, rng=random.Random(seed), carry_over=False)
    found = [
        tuple([place for start, stop in segment for place in range(start, stop)] for segment in (row.first, row.second))
        for row in rows
    ]
    assert found == expected


def test_shares_are_those_of_the_paper():
    rows = [row for seed in range(300) for row in rows_of([9] * 150, length=64, rng=random.Random(seed))]
    single = sum(not row.second for row in rows) / len(rows)
    short = sum(row.tokens < 50 for row in rows) / len(rows)
    assert 0.08 < single < 0.16  # a tenth, and the last rows of documents
    assert 0.03 < short < 0.09  # a twentieth, mostly below 50, and the last rows


def test_randomness_belongs_to_the_document_and_the_seed():
    first, second = digest_of(b"one"), digest_of(b"two")
    draws = [document_random(digest, seed=seed).random() for digest in (first, second) for seed in (0, 1)]
    assert len(set(draws)) == 4
    assert document_random(first, seed=0).random() == draws[0]


def test_held_out_documents_are_a_fixed_share():
    digests = [digest_of(b"document %d" % number) for number in range(20_000)]
    held = {number for number, digest in enumerate(digests) if is_held_out(digest, seed=0, fraction=0.05)}
    assert 900 < len(held) < 1100
    more = {number for number, digest in enumerate(digests) if is_held_out(digest, seed=0, fraction=0.1)}
    assert held < more
    other = {number for number, digest in enumerate(digests) if is_held_out(digest, seed=1, fraction=0.05)}
    assert len(held & other) < 100
    assert not any(is_held_out(digest, seed=0, fraction=0.0) for digest in digests)


line_lengths = st.lists(st.integers(0, 30) | st.integers(0, 500), max_size=40)


@given(line_lengths, st.integers(5, 64) | st.sampled_from([128, 512]), st.integers(0, 2**32), st.booleans())
@settings(max_examples=500, deadline=None)
def test_rows_are_those_of_the_plain_code(lengths, length, seed, carry_over):
    rng, plain_rng = random.Random(seed), random.Random(seed)
    expected = list(plain_rows_of(lengths, length=length, rng=plain_rng, carry_over=carry_over))
    assert rows_of(lengths, length=length, rng=rng, carry_over=carry_over) == expected
    assert rng.getstate() == plain_rng.getstate(), "the same draws"


def test_rows_can_begin_later_in_the_stream():
    lengths = [40, 3, 9, 100, 2]
    here, there = (rows_of(lengths, length=20, rng=random.Random(1), start=start) for start in (0, 1000))
    moved = [
        Row(*(tuple((start + 1000, stop + 1000) for start, stop in part) for part in (row.first, row.second)))
        for row in here
    ]
    assert there == moved
