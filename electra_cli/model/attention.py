"""Scaled dot-product attention, by the form that measured fastest for the device and the type.

On a GPU that is torch's fused kernel. On a CPU in bfloat16 plain products are 4.8 times as fast as torch's kernel, in
float32 torch's is the faster (performance.md 2); torch's takes no seeded dropout, so with dropout on a CPU it is plain
products too, with a backward pass of our own that keeps one matrix of probabilities and the dropout factors and nothing
else of that size. Texts that share a row without seeing each other are in `pieces`.

Shapes: B batch, L tokens in a row, D width, H heads, K head width, N = B * H.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask

from electra_cli.model.noise import Noise
from electra_cli.model.pieces import attend_blocks


def attention_bias(lengths_B: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Additive bias_B11L that hides the padding behind each row's first `lengths_B` tokens."""
    hidden_BL = torch.arange(length, device=lengths_B.device)[None, :] >= lengths_B[:, None]
    bias_BL = torch.zeros(hidden_BL.shape, dtype=dtype, device=lengths_B.device)
    return bias_BL.masked_fill_(hidden_BL, torch.finfo(dtype).min)[:, None, None, :]


def attend(qkv_BLT: Tensor, *, heads: int, bias: Tensor | BlockMask | None, p: float, noise: Noise | None) -> Tensor:
    """Self-attention.

    Args:
        qkv_BLT: queries, keys and values side by side, T = 3 * D.
        heads: H, divides D.
        bias: from `attention_bias` or `pieces`; None when every row is full. A mask of blocks goes without dropout.
        p: dropout of the probabilities.
        noise: the step's dropout; None switches it off.

    Returns:
        a_BLD.
    """
    batch, length, width = qkv_BLT.shape[0], qkv_BLT.shape[1], qkv_BLT.shape[2] // 3
    dropping = noise is not None and p > 0
    if isinstance(bias, BlockMask):
        assert not dropping, "flex_attention has no dropout; the settings refuse it"
        q_BHLK, k_BHLK, v_BHLK = _heads(qkv_BLT, heads)
        return attend_blocks(q_BHLK, k_BHLK, v_BHLK, bias).transpose(1, 2).reshape(batch, length, width)
    if qkv_BLT.device.type == "cpu" and (qkv_BLT.dtype == torch.bfloat16 or dropping):
        return _Products.apply(qkv_BLT, heads, bias, p, noise)  # type: ignore[no-any-return, no-untyped-call]
    q_BHLK, k_BHLK, v_BHLK = _heads(qkv_BLT, heads)
    a_BHLK = F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, attn_mask=bias, dropout_p=p if dropping else 0.0)
    return a_BHLK.transpose(1, 2).reshape(batch, length, width)


def _heads(qkv_BLT: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Queries, keys and values, each (B, H, L, K)."""
    batch, length, threefold = qkv_BLT.shape
    return qkv_BLT.view(batch, length, 3, heads, threefold // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)


class _Products(torch.autograd.Function):
    """`products` with its backward pass."""

    @staticmethod
    def forward(ctx: Any, qkv_BLT: Tensor, heads: int, bias: Tensor | None, p: float, noise: Noise | None) -> Tensor:
        """See `attend`."""
        a_BLD, *saved = products(qkv_BLT, heads=heads, bias=bias, p=p, noise=noise)
        ctx.save_for_backward(*saved)
        return a_BLD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BLD: Tensor) -> tuple[Tensor | None, ...]:
        """See `products_backward`."""
        return products_backward(grad_BLD, *ctx.saved_tensors), None, None, None, None


def products(
    qkv_BLT: Tensor, *, heads: int, bias: Tensor | None, p: float, noise: Noise | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Attention as batched products with an explicit matrix of probabilities; arguments as `attend`.

    Returns:
        a_BLD, and what `products_backward` needs: queries, keys and values (3, B, H, L, K), the probabilities (N, L, L)
        and the factors of dropout on them.
    """
    batch, length, threefold = qkv_BLT.shape
    width = threefold // 3
    qkv = qkv_BLT.view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).contiguous()
    q_NLK, k_NLK, v_NLK = qkv.view(3, batch * heads, length, -1).unbind(0)
    scale = 1.0 / math.sqrt(width // heads)
    scores = torch.baddbmm(q_NLK.new_empty(()), q_NLK, k_NLK.transpose(1, 2), beta=0, alpha=scale)
    if bias is not None:
        scores.view(batch, heads, length, length).add_(bias)
    probabilities_NLL = scores.softmax(-1)
    factors_NLL = None if noise is None or p == 0.0 else noise.factors(probabilities_NLL, p)
    dropped_NLL = probabilities_NLL if factors_NLL is None else probabilities_NLL * factors_NLL
    a_BHLK = torch.bmm(dropped_NLL, v_NLK).view(batch, heads, length, -1)
    return a_BHLK.transpose(1, 2).reshape(batch, length, width), qkv, probabilities_NLL, factors_NLL


def products_backward(grad_BLD: Tensor, qkv: Tensor, probabilities_NLL: Tensor, factors_NLL: Tensor | None) -> Tensor:
    """The gradient of `qkv_BLT`: dropout again, the product with the values, then back through the softmax."""
    _, batch, heads, length, each = qkv.shape
    q_NLK, k_NLK, v_NLK = qkv.view(3, batch * heads, length, each).unbind(0)
    grad_NLK = grad_BLD.view(batch, length, heads, each).transpose(1, 2).reshape(batch * heads, length, each)
    dropped_NLL = probabilities_NLL if factors_NLL is None else probabilities_NLL * factors_NLL
    grad_qkv = torch.empty_like(qkv)
    grad_q, grad_k, grad_v = grad_qkv.view(3, batch * heads, length, each).unbind(0)
    torch.bmm(dropped_NLL.transpose(1, 2), grad_NLK, out=grad_v)
    grad_NLL = torch.bmm(grad_NLK, v_NLK.transpose(1, 2))
    if factors_NLL is not None:
        grad_NLL.mul_(factors_NLL)
    grad_NLL = torch._softmax_backward_data(grad_NLL, probabilities_NLL, -1, probabilities_NLL.dtype)
    scale = 1.0 / math.sqrt(each)
    torch.baddbmm(grad_q, grad_NLL, k_NLK, beta=0, alpha=scale, out=grad_q)
    torch.baddbmm(grad_k, grad_NLL.transpose(1, 2), q_NLK, beta=0, alpha=scale, out=grad_k)
    return grad_qkv.permute(1, 3, 0, 2, 4).reshape(batch, length, -1)
