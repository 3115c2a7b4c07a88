"""The fused head against the plain form that keeps all logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from electra_cli.model import generator_head
from electra_cli.model.generator_head import generator_output


def draw(rows: int, width: int, vocabulary: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(rows, width, generator=generator, requires_grad=True)
    word = torch.randn(vocabulary, width, generator=generator, requires_grad=True)
    bias = torch.randn(vocabulary, generator=generator, requires_grad=True)
    return h, word, bias


@pytest.mark.parametrize("chunk", [3, 512])
def test_loss_and_gradients_equal_the_plain_form(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_head, "CHUNK", chunk)
    h, word, bias = draw(10, 8, 57)
    target, weight = torch.arange(10) * 5, torch.tensor([1.0, 0.0, 2.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.0, 1.0])
    uniform = torch.rand(10, dtype=torch.float64)
    output = generator_output(h, word, bias, target_P=target, weight_P=weight, uniform_P=uniform)
    (3 * output.loss).backward()
    ours = [tensor.grad.clone() for tensor in (h, word, bias)]
    for tensor in (h, word, bias):
        tensor.grad = None
    nll = F.cross_entropy(F.linear(h, word, bias), target, reduction="none")
    (3 * (nll * weight).sum()).backward()
    torch.testing.assert_close(output.nll_P, nll.detach())
    torch.testing.assert_close(output.loss.detach(), (nll * weight).sum().detach())
    for mine, theirs in zip(ours, (h.grad, word.grad, bias.grad), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert torch.equal(output.correct_P, F.linear(h, word, bias).argmax(-1) == target)


def test_samples_follow_the_softmax() -> None:
    """Chi-squared over 60,000 draws from 41 tokens: 40 degrees of freedom, 99.9 % below 73.4."""
    h, word, bias = (tensor.detach() for tensor in draw(1, 4, 41, seed=2))
    draws = 60_000
    uniform = torch.rand(draws, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    output = generator_output(
        h.expand(draws, -1),
        word,
        bias,
        target_P=torch.zeros(draws, dtype=torch.int64),
        weight_P=torch.zeros(draws),
        uniform_P=uniform,
    )
    expected = F.linear(h, word, bias).double().softmax(-1)[0] * draws
    seen = torch.bincount(output.sample_P, minlength=41).double()
    common = expected > 5
    rest_expected, rest_seen = expected[~common].sum(), seen[~common].sum()
    statistic = ((seen - expected)[common] ** 2 / expected[common]).sum() + (rest_seen - rest_expected) ** 2 / max(
        rest_expected, 1.0
    )
    assert statistic < 73.4


def test_temperature_sharpens_samples_and_leaves_the_loss_alone() -> None:
    h, word, bias = (tensor.detach() for tensor in draw(1, 4, 41, seed=2))
    uniform = torch.rand(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    fixed = {"target_P": torch.zeros(4000, dtype=torch.int64), "weight_P": torch.ones(4000), "uniform_P": uniform}
    warm = generator_output(h.expand(4000, -1), word, bias, **fixed)
    cold = generator_output(h.expand(4000, -1), word, bias, **fixed, temperature=0.05)
    assert torch.equal(warm.loss, cold.loss)
    best = int(F.linear(h, word, bias).argmax())
    assert (cold.sample_P == best).double().mean() > 0.99 > (warm.sample_P == best).double().mean()


def test_a_correct_sample_can_be_forbidden_and_samples_know_their_probability() -> None:
    h, word, bias = (tensor.detach() for tensor in draw(64, 4, 5, seed=3))
    target = torch.arange(64) % 5
    uniform = torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    fields = {"target_P": target, "weight_P": torch.ones(64), "uniform_P": uniform}
    free = generator_output(h, word, bias, **fields)
    forbidden = generator_output(h, word, bias, disallow_correct=True, **fields)
    assert (free.sample_P == target).any() and not (forbidden.sample_P == target).any()
    assert torch.equal(free.nll_P, forbidden.nll_P)
    for output in (free, forbidden):
        expected = F.cross_entropy(F.linear(h, word, bias), output.sample_P, reduction="none")
        torch.testing.assert_close(output.sample_nll_P, expected)


def test_without_gradients_none_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    h, word, bias = draw(10, 8, 57)
    fields = {"target_P": torch.arange(10), "weight_P": torch.ones(10), "uniform_P": torch.rand(10).double()}
    with torch.no_grad():
        quiet = generator_output(h, word, bias, **fields)
    loud = generator_output(h, word, bias, **fields)
    assert torch.equal(quiet.nll_P, loud.nll_P) and torch.equal(quiet.sample_P, loud.sample_P)
    assert not quiet.loss.requires_grad and loud.loss.requires_grad
    multiplied = []
    plain = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *args, **more: multiplied.append(1) or plain(*args, **more))
    with torch.no_grad():
        generator_output(h, word, bias, **fields)
    assert not multiplied
    generator_output(h, word, bias, **fields)
    assert multiplied
