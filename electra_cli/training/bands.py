"""Where the held-out figures of a run that learns should be, by the model's size and the tokens it has seen.

Only figures that somebody published or that `benchmarks/README.md` reports stand here, each with its source; for all
else there is no band, and nothing is said. To add a measured curve, add one `Band` a point: it holds from its tokens on
until the next band of the same size and figure begins.

The paper and the author give no AUC and no curve, though many users asked (electra.md 8.2, row 8), so there are few
bands, and none yet for small and large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Size = Literal["tiny", "small", "base", "large"]

# Upper ends, in discriminator parameters: the geometric middles between the presets' 1 to 5 million (tiny, by the size
# of the vocabulary), 14 (small), 110 (base) and 335 million (large; electra.md 3.2).
_UP_TO: tuple[tuple[Size, float], ...] = (("tiny", 8e6), ("small", 39e6), ("base", 192e6), ("large", math.inf))


@dataclass(frozen=True)
class Band:
    """Where one held-out figure should lie.

    Attributes:
        size: of the discriminator.
        metric: the figure's name in a `held-out` record.
        tokens: real tokens seen from which on it holds, until the next band of this size and metric.
        low: the lowest value that is expected.
        high: the highest one.
        source: who says so.
    """

    size: Size
    metric: str
    tokens: float
    low: float
    high: float
    source: str


_AUTHOR = "the author: 6 % of tokens replaced at 15 % masking, electra.md 8.2; the width of the band is ours"
_PAPER = "paper: 65 % accuracy of the generator trained by likelihood, electra.md 7.3; the width of the band is ours"
_TINY = "benchmarks/README.md: the tiny recipe on docstrings, the curve on enwiki; the margins are ours"

# 6 % replaced of 15 % masked are 40 %: the generator's samples are right for the other 60 %. Of which size and when
# is not recorded; small's generator is a quarter as wide as base's, so it is taken for base, from the middle of
# the paper's run on (electra.md 5.3).
BANDS: tuple[Band, ...] = (
    Band("tiny", "discriminator_auc", 1.0e6, 0.54, 0.80, _TINY),
    Band("tiny", "discriminator_auc", 1.2e7, 0.62, 0.80, _TINY),
    Band("tiny", "generator_accuracy", 4.0e6, 0.17, 0.35, _TINY),
    Band("base", "generator_sampled_accuracy", 383_000 * 256 * 512, 0.40, 0.75, _AUTHOR),
    Band("base", "generator_accuracy", 383_000 * 256 * 512, 0.55, 0.75, _PAPER),
)


def size_of(parameters: int) -> Size:
    """The published size that a discriminator of so many parameters is nearest to, on a logarithmic scale."""
    return next(size for size, end in _UP_TO if parameters <= end)


def bands_at(size: Size, tokens: float) -> tuple[Band, ...]:
    """The bands that hold for a model of `size` after `tokens` tokens, at most one for each figure."""
    begun = sorted((band for band in BANDS if band.size == size and band.tokens <= tokens), key=lambda b: b.tokens)
    return tuple({band.metric: band for band in begun}.values())
