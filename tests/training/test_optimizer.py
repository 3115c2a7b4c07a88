from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from electra_cli.training.optimizer import build_optimizer, load_moments, moments, set_learning_rate


def test_update_is_the_papers_formula() -> None:
    """m, v without bias correction; w - lr (m / (sqrt v + eps) + decay w), in float64 by hand (electra.md 5.1)."""
    generator = torch.Generator().manual_seed(1)
    weight = nn.Parameter(torch.randn(3, 2, generator=generator))
    bias = nn.Parameter(torch.randn(4, generator=generator))
    optimizer = build_optimizer([("weight", weight), ("bias", bias)], weight_decay=0.1, eps=1e-3)
    expected = {
        p: (p.detach().double().clone(), torch.zeros(p.shape).double(), torch.zeros(p.shape).double())
        for p in (weight, bias)
    }
    for step in range(20):
        rate = 0.01 * (step + 1)
        set_learning_rate(optimizer, rate)
        for parameter, (w, m, v) in expected.items():
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = gradient
            g = gradient.double()
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            decay = 0.1 if parameter is weight else 0.0
            w.sub_(rate * (m / (v.sqrt() + 1e-3) + decay * w))
        optimizer.step()
        for parameter, (w, _, _) in expected.items():
            torch.testing.assert_close(parameter.detach().double(), w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("step", "ratio"), [(1, 3.16), (12, 6.57), (100, 3.24), (1000, 1.26)])
def test_first_steps_are_larger_than_corrected_adams(step: int, ratio: float) -> None:
    """With a constant gradient: (1 - b1^t) / sqrt(1 - b2^t), the table of electra.md 5.1."""
    ours, theirs = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))
    optimizer = build_optimizer([("w", ours)], weight_decay=0.0, eps=1e-12)
    corrected = torch.optim.AdamW([theirs], lr=1.0, eps=1e-12, weight_decay=0.0)
    set_learning_rate(optimizer, 1.0)
    before = [0.0, 0.0]
    for _ in range(step):
        before = [ours.item(), theirs.item()]
        ours.grad, theirs.grad = torch.ones(1, 1), torch.ones(1, 1)
        optimizer.step()
        corrected.step()
    moved = [ours.item() - before[0], theirs.item() - before[1]]
    assert moved[0] / moved[1] == pytest.approx(ratio, rel=0.01)
    assert ratio == pytest.approx((1 - 0.9**step) / math.sqrt(1 - 0.999**step), rel=0.02)


def test_groups_scale_the_rate() -> None:
    slow, fast = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))
    optimizer = build_optimizer(
        [("slow", slow), ("fast", fast)], weight_decay=0.0, lr_scale=lambda name: 0.25 if name == "slow" else 1.0
    )
    set_learning_rate(optimizer, 0.1)
    slow.grad, fast.grad = torch.ones(1, 1), torch.ones(1, 1)
    optimizer.step()
    assert slow.item() == pytest.approx(0.25 * fast.item())


def test_moments_come_back() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = build_optimizer([("w", parameter)], weight_decay=0.0)
    parameter.grad = torch.full((2, 2), 3.0)
    optimizer.step()
    saved = {name: tensor.clone() for name, tensor in moments(optimizer, [("w", parameter)]).items()}
    other = build_optimizer([("w", parameter)], weight_decay=0.0)
    load_moments(other, [("w", parameter)], saved)
    assert torch.equal(other.state[parameter]["exp_avg"], torch.full((2, 2), 0.3))
    with pytest.raises(KeyError, match=r"w\.exp_avg"):
        load_moments(other, [("w", parameter)], {})
