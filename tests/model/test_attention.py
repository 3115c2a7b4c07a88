"""The explicit products against autograd over the textbook form, and against torch's kernel."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from electra_cli.model.attention import attend, attention_bias
from electra_cli.model.noise import Noise

B, L, H, K = 3, 9, 4, 5
CPU = torch.device("cpu")


def textbook(qkv: torch.Tensor, bias: torch.Tensor | None, factors: torch.Tensor | None) -> torch.Tensor:
    q, k, v = qkv.view(B, L, 3, H, K).permute(2, 0, 3, 1, 4).unbind(0)
    scores = q @ k.transpose(-1, -2) / K**0.5
    probabilities = (scores if bias is None else scores + bias).softmax(-1)
    dropped = probabilities if factors is None else probabilities * factors
    return (dropped @ v).transpose(1, 2).reshape(B, L, H * K)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("dropping", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_attention_and_its_gradient(dtype: torch.dtype, tolerance: float, dropping: bool, short: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    qkv = torch.randn(B, L, 3 * H * K, generator=generator).to(dtype).requires_grad_()
    wanted = torch.randn(B, L, H * K, generator=generator).to(dtype)
    bias = attention_bias(torch.tensor([4, 9, 7]), L, dtype) if short else None
    found = attend(qkv, heads=H, bias=bias, p=0.3, noise=Noise(5, CPU) if dropping else None)
    found.backward(wanted)
    assert qkv.grad is not None
    gradient, qkv.grad = qkv.grad, None
    factors = Noise(5, CPU).factors(torch.empty(B, H, L, L, dtype=dtype), 0.3) if dropping else None
    reference = qkv.detach().float().requires_grad_()
    bias = None if bias is None else bias.float()
    expected = textbook(reference, bias, None if factors is None else factors.float())
    expected.backward(wanted.float())
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(gradient.float(), reference.grad, atol=tolerance, rtol=tolerance)


def test_padding_is_not_attended_to() -> None:
    qkv = torch.randn(B, L, 3 * H * K, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    bias = attention_bias(torch.tensor([4, 9, 7]), L, torch.bfloat16)
    changed = qkv.clone()
    changed[0, 4:] = 3.0
    before, after = (attend(x, heads=H, bias=bias, p=0.0, noise=None) for x in (qkv, changed))
    assert torch.equal(before[0, :4], after[0, :4])


def test_both_forms_agree() -> None:
    qkv = torch.randn(B, L, 3 * H * K, generator=torch.Generator().manual_seed(3))
    kernel = attend(qkv, heads=H, bias=None, p=0.0, noise=None)
    torch.testing.assert_close(kernel, textbook(qkv, None, None))
    q, k, v = qkv.view(B, L, 3, H, K).permute(2, 0, 3, 1, 4).unbind(0)
    torch.testing.assert_close(kernel, F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, L, H * K))
