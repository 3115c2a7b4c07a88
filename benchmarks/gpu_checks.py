"""Whether the GPU's paths compute what the CPU's do: devices, the Triton head, compiled code, the captured step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.gpu_arithmetic import Size
from benchmarks.gpu_steps import WEIGHTS, Variant, forget, make_batch, make_model, ours
from electra_cli.model.generator_head import generator_output
from electra_cli.model.pretraining import Electra
from electra_cli.stages.pair import pair_losses
from electra_cli.stages.rows import CountedBatch


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        name: what is compared.
        value: how far apart.
        limit: how far is allowed.
    """

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it is within the limit; a number that is none is not."""
        return self.value <= self.limit


def off(found: Tensor, expected: Tensor) -> float:
    """Relative distance in float64, on the CPU."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


def loss_and_gradient(model: Electra, counted: CountedBatch, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The joint loss without dropout, and all gradients in one vector."""
    model.zero_grad()
    loss = pair_losses(model, counted, weights=WEIGHTS, noise=None, dtype=dtype).total
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def devices(size: Size, device: torch.device, *, rows: int) -> Iterator[Check]:
    """The same weights and rows on the CPU and on `device` in float32, some rows with padding."""
    found = []
    for where in (torch.device("cpu"), device):
        batch = make_batch(size, where, rows=rows, length=size.length, padded=True)
        loss, gradient = loss_and_gradient(make_model(size, where, dropout=False), batch, torch.float32)
        found.append((batch.batch.masked_BL.cpu(), loss, gradient))
    (masks_a, loss_a, gradient_a), (masks_b, loss_b, gradient_b) = found
    yield Check("GPU and CPU draw the same masks (positions that differ)", float((masks_a != masks_b).sum()), 0.0)
    yield Check("GPU and CPU, float32: loss", off(loss_b, loss_a), 1e-4)
    yield Check("GPU and CPU, float32: gradients", off(gradient_b, gradient_a), 1e-3)


def head(device: torch.device, *, rows: int, width: int, vocabulary: int, draws: int = 200_000) -> Iterator[Check]:
    """The Triton head against the plain one: everything but the draws, and those by chi-squared."""
    from electra_cli.model.triton_head import triton_output

    for dtype, limit in ((torch.float32, 1e-4), (torch.bfloat16, 2e-2)):
        generator = torch.Generator().manual_seed(5)
        shapes = ((rows, width), (vocabulary, width), (vocabulary,))
        h, word, bias = (0.3 * torch.randn(shape, generator=generator).to(device) for shape in shapes)
        leaves = [h.to(dtype).requires_grad_(), word.requires_grad_(), bias.requires_grad_()]
        fields = {
            "target_P": torch.randint(vocabulary, (rows,), generator=generator).to(device),
            "weight_P": torch.randint(3, (rows,), generator=generator).float().to(device),
            "uniform_P": torch.rand(rows, dtype=torch.float64, generator=generator).to(device),
        }
        plain, fused = generator_output(*leaves, **fields), triton_output(*leaves, **fields)
        name = f"Triton head, {str(dtype).removeprefix('torch.')}"
        yield Check(f"{name}: loss", off(fused.loss, plain.loss), limit / 10)
        yield Check(f"{name}: cross-entropies", off(fused.nll_P, plain.nll_P), limit / 10)
        differs = (fused.correct_P != plain.correct_P).double().mean()
        yield Check(f"{name}: correct where the plain one is (share that differs)", float(differs), 1e-3)
        pairs = [torch.autograd.grad(output.loss, leaves) for output in (fused, plain)]
        for which, found, expected in zip(("h", "words", "bias"), *pairs, strict=True):
            yield Check(f"{name}: gradient of {which}", off(found, expected), limit)
        for forbid in (False, True):
            again = triton_output(*leaves, **fields, disallow_correct=forbid)
            same = triton_output(*leaves, **fields, disallow_correct=forbid)
            yield Check(f"{name}: the same again, bit for bit", float((again.sample_P != same.sample_P).sum()), 0.0)
            if forbid:
                yield Check(
                    f"{name}: correct samples, forbidden", float((again.sample_P == fields["target_P"]).sum()), 0
                )
        yield Check(f"{name}: samples, chi-squared in deviations", _chi_squared(device, dtype, draws), 4.5)


def _chi_squared(device: torch.device, dtype: torch.dtype, draws: int) -> float:
    """Draws from 1,000 tokens: how many standard deviations chi-squared is off its mean."""
    from electra_cli.model.triton_head import triton_output

    generator = torch.Generator().manual_seed(6)
    h, word = torch.randn(1, 64, generator=generator).to(device, dtype), torch.randn(1000, 64, generator=generator)
    word = (0.1 * word).to(device)
    bias = torch.zeros(1000, device=device)
    zeros = torch.zeros(draws, device=device)
    uniform = torch.rand(draws, dtype=torch.float64, generator=generator).to(device)
    with torch.no_grad():
        sample_P = triton_output(
            h.expand(draws, -1), word, bias, target_P=zeros.long(), weight_P=zeros, uniform_P=uniform
        ).sample_P
    expected = (h.float() @ word.to(dtype).float().T)[0].double().softmax(-1) * draws
    seen = torch.bincount(sample_P, minlength=1000).double()
    statistic = ((seen - expected) ** 2 / expected).sum()
    return abs(float((statistic - 999) / (2 * 999) ** 0.5))


def compiled(size: Size, device: torch.device, variants: tuple[Variant, ...], *, rows: int) -> Iterator[Check]:
    """Compiled code against eager, without dropout: float32 closely, bfloat16 as closely as rounding lets it."""
    for dtype, limits in ((torch.float32, (1e-5, 1e-3)), (torch.bfloat16, (1e-2, 1e-1))):
        batch = make_batch(size, device, rows=rows, length=size.length)
        for variant in variants:
            # the same head on both sides: with other samples the discriminator would see other rows
            eager = make_model(size, device, replace(variant, compile="off"), dropout=False)
            loss_a, gradient_a = loss_and_gradient(eager, batch, dtype)
            forget(device)
            loss_b, gradient_b = loss_and_gradient(make_model(size, device, variant, dropout=False), batch, dtype)
            name = f"{variant.name} and eager, {str(dtype).removeprefix('torch.')}"
            yield Check(f"{name}: loss", off(loss_b, loss_a), limits[0])
            yield Check(f"{name}: gradients", off(gradient_b, gradient_a), limits[1])


def captured(size: Size, device: torch.device, *, rows: int) -> Iterator[Check]:
    """Four steps with dropout as a CUDA graph and eagerly: the same dropout by step, so the same losses."""
    losses = []
    for graph in (False, True, True):
        take = ours(size, Variant(graph=graph), device, rows=rows, length=size.length)
        losses.append(torch.stack([take(number).float() for number in range(4)]).cpu())
    eager, first, second = losses
    yield Check("captured step and eager, with dropout: losses of four steps", off(first, eager), 1e-3)
    yield Check("captured step, again: losses of four steps", off(second, first), 1e-3)
