"""How much each of several corpora counts for, as exact numbers.

Multilingual BERT smooths the shares of its languages with the exponent 0.7 (github.com/google-research/bert,
multilingual.md), XLM with 0.5 (Conneau and Lample 2019, arXiv:1901.07291), XLM-R with 0.3 (Conneau et al. 2020,
arXiv:1911.02116); a temperature T is the exponent 1/T (Arivazhagan et al. 2019, arXiv:1907.05019).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction

# Decimal arithmetic is software: the same digits on every machine, which a float's power does not promise.
_PRECISE = Context(prec=40)
_KEPT = Context(prec=18)


def smoothed(characters: Sequence[int], temperature: float) -> list[Fraction]:
    """Return weights in proportion to characters ** (1 / temperature), to 18 digits; 1 leaves the proportions alone."""
    exponent = _PRECISE.divide(Decimal(1), Decimal(repr(temperature)))
    return [Fraction(_KEPT.plus(_PRECISE.power(Decimal(number), exponent))) for number in characters]


def exact(weights: Sequence[float]) -> list[Fraction]:
    """Return weights as the decimal numbers that were written."""
    return [Fraction(repr(weight)) for weight in weights]


def factors(characters: Sequence[int], weights: Sequence[Fraction]) -> list[Fraction]:
    """Return what the counts of each corpus are multiplied by, so that its characters have the share of its weight.

    All corpora together keep their number of characters: it is as if as much text had been drawn by the weights.
    """
    total, whole = sum(characters), sum(weights)
    return [Fraction(total, number) * weight / whole for number, weight in zip(characters, weights, strict=True)]
