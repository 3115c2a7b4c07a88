from __future__ import annotations

import math

import pytest
import torch

from electra_cli.model.fixed_generator import FixedGenerator

SLOTS = 10_000
EVENLY = (torch.arange(SLOTS, dtype=torch.float64) + 0.5) / SLOTS  # one uniform number in each of 10,000 equal parts


def ask(generator: FixedGenerator, *, temperature: float = 1.0):  # type: ignore[no-untyped-def]
    targets = torch.arange(SLOTS) % 8
    return targets, generator(targets, torch.ones(SLOTS), EVENLY, temperature=temperature)


def test_uniform_draws_every_id_alike() -> None:
    _, output = ask(FixedGenerator(8, frequencies=False))
    assert torch.bincount(output.sample_P).tolist() == [SLOTS // 8] * 8
    assert output.loss.item() == pytest.approx(SLOTS * math.log(8), rel=1e-5)
    assert not list(FixedGenerator(8, frequencies=False).state_dict()), "nothing to keep"


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_unigram_draws_by_frequency_and_special_ids_never(temperature: float) -> None:
    counts = torch.tensor([900, 0, 1, 7, 2, 0, 10, 80])
    generator = FixedGenerator(8, frequencies=True)
    generator.count(counts, never=(0, 4))
    share = torch.tensor([0, 1, 1, 7, 0, 1, 10, 80]) / 100  # an id that never occurs counts once
    targets, output = ask(generator, temperature=temperature)
    expected = share.double() ** (1 / temperature)
    expected = SLOTS * expected / expected.sum()
    assert (torch.bincount(output.sample_P, minlength=8) - expected).abs().max() <= 1
    assert not torch.isin(output.sample_P, torch.tensor([0, 4])).any()
    usual = (targets != 0) & (targets != 4)
    torch.testing.assert_close(output.nll_P[usual], -share[targets[usual]].log())
    torch.testing.assert_close(output.sample_nll_P, -share[output.sample_P].log())
    assert torch.equal(output.correct_P, targets == 7)
    assert all(torch.isfinite(tensor).all() for tensor in generator.state_dict().values())


def test_the_largest_number_below_one_draws_an_id_that_can_be_drawn() -> None:
    generator = FixedGenerator(8, frequencies=True)
    generator.count(torch.ones(8), never=(6, 7))
    last = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert generator(torch.tensor([1]), torch.ones(1), last, temperature=1.0).sample_P.tolist() == [5]
