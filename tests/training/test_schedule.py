from __future__ import annotations

import pytest

from electra_cli.training.schedule import warmup_stable_decay, warmup_then_linear


def test_warmup_and_decay_multiply() -> None:
    """electra.md 5.2: both factors are active at once, and the first update's rate is 0."""
    rates = [warmup_then_linear(step, peak=2.0, total=10, warmup=4) for step in range(11)]
    expected = [0, 2 * 0.9 / 4, 2 * 0.8 * 2 / 4, 2 * 0.7 * 3 / 4, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2, 0]
    assert rates == pytest.approx(expected)


def test_no_warmup_starts_at_the_peak() -> None:
    assert warmup_then_linear(0, peak=3.0, total=10, warmup=0) == 3.0


def test_power_of_the_decay() -> None:
    """electra.md 5.2: (1 - t/T)^power."""
    rates = [warmup_then_linear(step, peak=2.0, total=4, warmup=2, power=2.0) for step in range(5)]
    assert rates == pytest.approx([0, 2 * 0.75**2 / 2, 2 * 0.25, 2 * 0.0625, 0])


def test_stable_until_the_decay() -> None:
    """Warm-up of 2, the peak until step 6 of 10, then four steps down: 1, 3/4, 1/2, 1/4 of it."""
    rates = [warmup_stable_decay(step, peak=2.0, total=10, warmup=2, decay_share=0.4) for step in range(11)]
    assert rates == pytest.approx([0, 1, 2, 2, 2, 2, 2, 1.5, 1, 0.5, 0])


def test_one_minus_the_root() -> None:
    rates = [
        warmup_stable_decay(step, peak=1.0, total=8, warmup=0, decay_share=0.5, form="1-sqrt") for step in range(9)
    ]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5, 0])


def test_a_decay_of_no_step_never_falls() -> None:
    assert [warmup_stable_decay(step, peak=1.0, total=3, warmup=0, decay_share=0.1) for step in range(3)] == [1, 1, 1]


def test_warmup_that_reaches_into_the_decay_multiplies() -> None:
    rates = [warmup_stable_decay(step, peak=1.0, total=4, warmup=4, decay_share=1.0) for step in range(5)]
    assert rates == pytest.approx([0, 0.75 / 4, 0.5 * 2 / 4, 0.25 * 3 / 4, 0])
