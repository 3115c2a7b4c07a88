from fractions import Fraction

import pytest

from electra_cli.data.corpus_weights import exact, factors, smoothed


def test_weights_are_shares_of_the_characters():
    # 900 and 100 characters, to be equal: 500 of each
    assert factors([900, 100], exact([0.5, 0.5])) == [Fraction(5, 9), Fraction(5)]
    assert factors([900, 100], exact([0.1, 0.3])) == [Fraction(250, 900), Fraction(750, 100)]
    assert sum(f * n for f, n in zip(factors([7, 11, 13], exact([1, 2, 3])), [7, 11, 13], strict=True)) == 31


def test_written_decimals_are_taken_as_written():
    assert exact([0.1, 1e-7, 3.0]) == [Fraction(1, 10), Fraction(1, 10**7), 3]


def test_temperature_one_changes_nothing():
    characters = [10**12 + 1, 3, 77]
    assert smoothed(characters, 1.0) == characters
    assert factors(characters, smoothed(characters, 1.0)) == [1, 1, 1]


@pytest.mark.parametrize(
    ("temperature", "expected"), [(2.0, [1000, 10]), (3.0, [100, Fraction("4.64158883361277889")])]
)
def test_a_temperature_is_a_root(temperature, expected):
    assert smoothed([10**6, 100], temperature) == expected


def test_it_is_what_the_papers_say():
    # multilingual BERT: shares to the power of 0.7, normalised again; by floating point here
    characters = [2_100_000, 150_000, 7_000]
    weights = smoothed(characters, 1 / 0.7)
    shares = [float(weight / sum(weights)) for weight in weights]
    powers = [number**0.7 for number in characters]
    assert shares == pytest.approx([power / sum(powers) for power in powers], rel=1e-12)
