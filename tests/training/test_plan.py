from __future__ import annotations

import itertools

import pytest

from electra_cli.training.plan import Phase, RowPlan, row_plan
from electra_cli.training.work import RowStock, Work


def test_one_phase_is_step_times_batch() -> None:
    plan = row_plan(steps=5, lengths=[32], batch_size=8, micro_batch=4)
    assert [(step.start, step.sizes, step.number) for step in plan.walk(2)] == [
        (16, (4, 4), 4),
        (24, (4, 4), 6),
        (32, (4, 4), 8),
    ]
    assert plan.rows_before(5) == (40,)


def test_ramp_by_hand() -> None:
    """From 4 to 16 over 6 steps, the line 4 + 2 s, cut to multiples of 4."""
    plan = row_plan(steps=8, lengths=[32], batch_size=16, micro_batch=4, ramp_from=4, ramp_steps=6)
    assert [sum(step.sizes) for step in plan.walk(0)] == [4, 4, 8, 8, 12, 12, 16, 16]
    assert [step.start for step in plan.walk(0)] == [0, 4, 8, 16, 24, 36, 48, 64]
    assert [step.number for step in plan.walk(0)] == [0, 1, 2, 4, 6, 9, 12, 16]


def test_ramp_without_micro_batch_goes_by_the_common_divisor() -> None:
    plan = row_plan(steps=6, lengths=[32], batch_size=10, ramp_from=4, ramp_steps=3)
    assert [step.sizes for step in plan.walk(0)] == [(4,), (6,), (8,), (10,), (10,), (10,)]


def test_phases_keep_the_tokens_of_a_step() -> None:
    """BERT's: 9 of 10 steps at 128, then 512; the micro-batch shrinks alike."""
    plan = row_plan(steps=10, lengths=[128, 512], batch_size=32, micro_batch=16, shares=[0.9, 0.1])
    assert plan.phases == (Phase(0, 9, 128, 32, 16), Phase(9, 10, 512, 8, 4))
    assert [plan.at(step) for step in (0, 8, 9, 10)] == [0, 0, 1, 1]
    assert plan.rows_before(9) == (288, 0) and plan.rows_before(10) == (288, 8)


def test_phases_with_batches_of_their_own() -> None:
    plan = row_plan(steps=4, lengths=[64, 96], batch_size=9, micro_batch=3, shares=[0.5, 0.5], batch_sizes=[9, 7])
    assert [(phase.rows, phase.micro_batch) for phase in plan.phases] == [
        (9, 3),
        (7, 1),
    ]  # 2 rows of 96 do not divide 7


def test_a_phase_without_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="phase 2 has no step"):
        row_plan(steps=3, lengths=[128, 512], batch_size=8, shares=[0.9, 0.1])


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_walking_from_any_step_is_the_rest_of_walking_from_the_first(micro_batch: int | None) -> None:
    plan = row_plan(
        steps=40,
        lengths=[32, 80, 32],
        batch_size=24,
        micro_batch=micro_batch,
        shares=[0.5, 0.3, 0.2],
        ramp_from=8,
        ramp_steps=25,  # into the second phase
    )
    whole = list(plan.walk(0))
    assert len(whole) == plan.steps == 40
    for first in range(41):
        assert list(plan.walk(first)) == whole[first:]
    for phase, steps in itertools.groupby(whole, key=lambda step: step.phase):  # no row is left out or read twice
        ends = [0]
        for step in steps:
            assert step.start == ends[-1]
            ends.append(step.start + sum(step.sizes))
        assert plan.rows_before(40)[phase] == ends[-1]
    numbers = [step.number + index for step in whole for index in range(len(step.sizes))]
    assert numbers == list(range(len(numbers)))  # dropout never draws the same noise twice


def test_a_long_ramp_is_counted_at_once() -> None:
    plan = row_plan(steps=10**6, lengths=[128], batch_size=1024, micro_batch=8, ramp_from=8, ramp_steps=10**6)
    assert plan.rows_before(1000)[0] == sum(plan.phases[0].rows_at(step) for step in range(1000))
    mean = plan.rows_before(10**6)[0] / 10**6
    assert mean == pytest.approx((8 + 1024) / 2 - 4, abs=1)  # the line's mean less half a micro-batch


def test_what_the_steps_add_up_to() -> None:
    plan = RowPlan((Phase(0, 2, 10, 4, None), Phase(2, 3, 20, 3, None)))
    work = Work(plan, [RowStock(rows=16, tokens=144, flops=100), RowStock(rows=6, tokens=90, flops=300)])
    assert [work.positions_before(step) for step in range(4)] == [0, 40, 80, 140]
    assert [work.flops_before(step) for step in range(4)] == [0, 400, 800, 1700]
    assert work.tokens_before(3) == 8 * 9 + 3 * 15
    assert work.epochs() == [0.5, 0.5]
    assert work.counters(3, tokens=105) == {
        "tokens": 105,
        "tokens_with_padding": 140,
        "padding": 0.25,
        "flops": 1700.0,
    }
