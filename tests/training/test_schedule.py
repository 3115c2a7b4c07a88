from __future__ import annotations

import pytest

from electra_cli.training.schedule import warmup_then_linear


def test_warmup_and_decay_multiply() -> None:
    """electra.md 5.2: both factors are active at once, and the first update's rate is 0."""
    rates = [warmup_then_linear(step, peak=2.0, total=10, warmup=4) for step in range(11)]
    expected = [0, 2 * 0.9 / 4, 2 * 0.8 * 2 / 4, 2 * 0.7 * 3 / 4, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2, 0]
    assert rates == pytest.approx(expected)


def test_no_warmup_starts_at_the_peak() -> None:
    assert warmup_then_linear(0, peak=3.0, total=10, warmup=0) == 3.0
