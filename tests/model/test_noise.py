from __future__ import annotations

import pytest
import torch

from electra_cli.model.noise import Noise

CPU = torch.device("cpu")


def test_every_lane_is_dropped_at_the_asked_rate() -> None:
    """64 bits are four lanes; a draw that leaves the top bit clear would bias one of them (performance.md 2)."""
    kept = Noise(7, CPU).dropout(torch.ones(400_000), 0.1)
    for lane in range(4):
        rate = (kept[lane::4] == 0).double().mean().item()
        assert rate == pytest.approx(0.1, abs=0.005), lane
    assert kept.max().item() == pytest.approx(1 / 0.9)
    assert kept.mean().item() == pytest.approx(1.0, abs=0.005)


def test_same_seed_same_pattern_and_draws_differ() -> None:
    first, second, other = Noise(1, CPU), Noise(1, CPU), Noise(2, CPU)
    x = torch.ones(5, 13)
    a, b = first.dropout(x, 0.5), first.dropout(x, 0.5)
    assert torch.equal(a, second.dropout(x, 0.5)) and torch.equal(b, second.dropout(x, 0.5))
    assert not torch.equal(a, b) and not torch.equal(a, other.dropout(x, 0.5))
