from __future__ import annotations

import pytest
import torch
from torch import nn

from electra_cli.training.averaging import WeightAverage


def walk(model: nn.Linear, average: WeightAverage, *, first: int, last: int) -> list[int]:
    """Give the model the weight `step` after each step; return the steps after which a snapshot was counted."""
    taken = []
    for step in range(first + 1, last + 1):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.after(step)
        if average.snapshots(step) > average.snapshots(step - 1):
            taken.append(step)
    return taken


def test_the_mean_is_over_the_snapshots_and_the_last_step() -> None:
    model = nn.Linear(2, 1)
    average = WeightAverage(model, every=3, start=0.5, steps=11)
    assert walk(model, average, first=0, last=11) == [6, 9, 11]
    assert average.mean["weight"].tolist() == [[pytest.approx((6 + 9 + 11) / 3)] * 2]
    with average.in_place():
        assert model.weight.tolist()[0][0] == pytest.approx(26 / 3)
    assert model.weight.tolist()[0][0] == 11


def test_snapshots_from_the_first_step_and_none_twice() -> None:
    model = nn.Linear(2, 1)
    assert walk(model, WeightAverage(model, every=1, start=0.0, steps=4), first=0, last=4) == [1, 2, 3, 4]
    assert walk(model, WeightAverage(model, every=2, start=0.0, steps=4), first=0, last=4) == [2, 4]
    assert walk(model, WeightAverage(model, every=100, start=0.9, steps=4), first=0, last=4) == [4]


def test_a_restored_mean_goes_on_bit_for_bit() -> None:
    model = nn.Linear(2, 1)
    whole = WeightAverage(model, every=1, start=0.0, steps=9)
    walk(model, whole, first=0, last=9)
    early = WeightAverage(model, every=1, start=0.0, steps=9)
    walk(model, early, first=0, last=4)
    late = WeightAverage(model, every=1, start=0.0, steps=9)
    late.load({name: tensor.clone() for name, tensor in early.mean.items()})
    walk(model, late, first=4, last=9)
    assert all(torch.equal(late.mean[name], tensor) for name, tensor in whole.mean.items())


def test_an_average_of_another_shape_is_refused() -> None:
    average = WeightAverage(nn.Linear(2, 1), every=1, start=0.0, steps=9)
    with pytest.raises(ValueError, match="shape"):
        average.load({"weight": torch.zeros(3, 1), "bias": torch.zeros(1)})
