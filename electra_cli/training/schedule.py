"""The learning rate of each step."""

from __future__ import annotations


def warmup_then_linear(step: int, *, peak: float, total: int, warmup: int) -> float:
    """The released code's schedule: a linear decay to 0 over the whole run times a linear warm-up (electra.md 5.2).

    Args:
        step: updates already taken, from 0; the first update's rate is 0 when there is a warm-up.
        peak: the rate that both factors multiply.
        total: updates in the run.
        warmup: updates of warm-up; 0 for none (the released code divides 0 by 0 there).
    """
    rising = min(1.0, step / warmup) if warmup else 1.0
    return peak * max(0.0, 1.0 - step / total) * rising
