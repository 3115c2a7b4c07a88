import random
from pathlib import Path

import pytest

from electra_cli.data.parts import Part, parse_part, share_of
from electra_cli.data.pieces import plan_pieces
from electra_cli.data.sources import Source
from electra_cli.errors import UsageError


def files(*sizes):
    return [Source(f"/corpus/{number}", f"{number}", size, None, False) for number, size in enumerate(sizes)]


def shares(sources, of, *, piece_bytes=100):
    pieces = plan_pieces(sources, piece_bytes=piece_bytes, splittable=lambda source: source.bytes % 2 == 0)
    return pieces, [share_of(sources, pieces, Part(number + 1, of)) for number in range(of)]


@pytest.mark.parametrize("text", ["1/1", "3/8", "8/8", "100000/100000"])
def test_a_part_is_a_number_and_how_many(text):
    part = parse_part(text)
    assert str(part) == text and 1 <= part.number <= part.of


@pytest.mark.parametrize("text", ["0/4", "5/4", "a/b", "3", "/4", "3/", "-1/4", "1/4/2", "1/0", "1/100001", "", "٣/8"])
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_part(text)
    assert caught.value.code == "BAD_PART"


@pytest.mark.parametrize("of", [1, 2, 3, 7, 40])
def test_shares_are_all_pieces_once_in_order_and_about_equal(of):
    dice = random.Random(of)
    for _ in range(20):
        sources = files(*(dice.choice([0, 1, 50, 99, 100, 430, 2000]) for _ in range(dice.randint(1, 30))))
        pieces, found = shares(sources, of)
        assert [piece for share in found for piece in share.pieces] == pieces
        assert len({share.plan for share in found}) == 1
        largest = max(piece.bytes for piece in pieces)
        total = sum(piece.bytes for piece in pieces)
        assert all(sum(piece.bytes for piece in share.pieces) <= total / of + largest for share in found)
        for share in found:
            assert (share.files, share.all_pieces) == (len(sources), len(pieces))
            assert set(share.numbers) == {sources.index(span.source) for piece in share.pieces for span in piece.spans}


def test_a_case_by_hand():
    """Pieces of 100, 100, 100 (both files) and 50 bytes have their middles at 50, 150, 250, 325; a half is 175."""
    _, (first, second) = shares(files(240, 110), 2)
    assert [piece.bytes for piece in first.pieces] == [100, 100]
    assert [piece.bytes for piece in second.pieces] == [100, 50]
    assert (first.numbers, second.numbers) == ((0,), (0, 1))


def test_the_plan_is_of_sizes_and_cuts_alone():
    plans = {
        "as it is": shares(files(200, 300), 2)[1][0].plan,
        "another size": shares(files(200, 301), 2)[1][0].plan,
        "another order": shares(files(300, 200), 2)[1][0].plan,
        "other pieces": shares(files(200, 300), 2, piece_bytes=50)[1][0].plan,
    }
    assert len(set(plans.values())) == 4
    elsewhere = [Source(f"/other{source.path}", source.label, source.bytes, None, False) for source in files(200, 300)]
    assert shares(elsewhere, 2)[1][1].plan == plans["as it is"]


def test_more_parts_than_pieces_leave_some_empty(tmp_path: Path):
    _, found = shares(files(10), 3)
    assert [len(share.pieces) for share in found] == [0, 1, 0]
    assert found[0].numbers == ()
