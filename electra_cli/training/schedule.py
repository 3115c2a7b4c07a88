"""The learning rate of each step."""

from __future__ import annotations

import math
from typing import Literal

DecayForm = Literal["linear", "1-sqrt"]


def warmup_then_linear(step: int, *, peak: float, total: int, warmup: int, power: float = 1.0) -> float:
    """The released code's schedule: a decay to 0 over the whole run times a linear warm-up (electra.md 5.2).

    Args:
        step: updates already taken, from 0; the first update's rate is 0 when there is a warm-up.
        peak: the rate that both factors multiply.
        total: updates in the run.
        warmup: updates of warm-up; 0 for none (the released code divides 0 by 0 there).
        power: of the decay, 1 for a straight line (released code: `lr_decay_power`).
    """
    return float(peak * max(0.0, 1.0 - step / total) ** power * _rising(step, warmup))


def warmup_stable_decay(
    step: int, *, peak: float, total: int, warmup: int, decay_share: float, form: DecayForm = "linear"
) -> float:
    """Warm-up, a constant rate, and a decay to 0 in the last part of the run (arXiv 2405.18392: 1-sqrt, 10 to 20 %).

    Args:
        step: updates already taken, from 0.
        peak: the constant rate.
        total: updates in the run.
        warmup: updates of warm-up; where it reaches into the decay, both factors are active.
        decay_share: the share of the updates in which the rate falls.
        form: of the fall: `linear`, or `1-sqrt`, which falls fast first and slowly in the end.
    """
    falling = round(decay_share * total)
    done = max(0, step - (total - falling))
    if not done:
        return peak * _rising(step, warmup)
    share = min(1.0, done / falling)
    return peak * (1.0 - (share if form == "linear" else math.sqrt(share))) * _rising(step, warmup)


def _rising(step: int, warmup: int) -> float:
    return min(1.0, step / warmup) if warmup else 1.0
