"""One transformer layer forward and backward as a single step of autograd, for training on a CPU.

The arithmetic is that of `model.encoder.Layer`, product for product. What is saved is what stands between the products:
autograd's bookkeeping of some ninety small operations a layer, and the sums of gradients where a residual joins, which
are added inside a product (benchmarks/log.md has what it gives). A GPU has torch.compile for this.

Shapes: B batch, L tokens in a row, M = B * L, D width, F feed-forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from electra_cli.model.attention import products, products_backward
from electra_cli.model.noise import Noise


@dataclass(frozen=True)
class LayerPlan:
    """What a layer does besides its weights.

    Attributes:
        heads: of attention.
        eps: of LayerNorm.
        dropout: of the two branches before they join the residual.
        attention_dropout: of attention's probabilities.
        bias: hides padding and other texts, from `attention_bias` or `pieces_bias`; None when every row is full.
        noise: the step's dropout; None switches it off.
    """

    heads: int
    eps: float
    dropout: float
    attention_dropout: float
    bias: Tensor | None
    noise: Noise | None

    def factors(self, like: Tensor) -> Tensor | None:
        """What a branch is multiplied by; None without dropout."""
        return None if self.noise is None or self.dropout == 0.0 else self.noise.factors(like, self.dropout)


def cpu_layer(h_BLD: Tensor, weights: tuple[Tensor, ...], plan: LayerPlan) -> Tensor:
    """(B, L, D) → (B, L, D).

    Args:
        h_BLD: the layer's input, in the compute type.
        weights: weight and bias (float32) of qkv, attention_out, attention_norm, up, down, norm, in this order.
        plan: the rest.
    """
    return _CpuLayer.apply(h_BLD, plan, *weights)  # type: ignore[no-any-return, no-untyped-call]


class _CpuLayer(torch.autograd.Function):
    """See the module."""

    @staticmethod
    def forward(ctx: Any, h_BLD: Tensor, plan: LayerPlan, *weights: Tensor) -> Tensor:
        """Each product, and what the way back needs of it."""
        batch, length, width = h_BLD.shape
        dtype = h_BLD.dtype
        qkv_w, qkv_b, out_w, out_b, up_w, up_b, down_w, down_b = (
            weights[index].to(dtype) for index in (0, 1, 2, 3, 6, 7, 8, 9)
        )
        h_MD = h_BLD.view(-1, width)
        qkv_MT = torch.addmm(qkv_b, h_MD, qkv_w.t())
        attention = {"bias": plan.bias, "p": plan.attention_dropout, "noise": plan.noise}
        a_BLD, *inside = products(qkv_MT.view(batch, length, -1), heads=plan.heads, **attention)  # type: ignore[arg-type]
        a_MD = a_BLD.view(-1, width)
        first, first_factors = _join(h_MD, torch.addmm(out_b, a_MD, out_w.t()), plan)
        y_MD, *first_norm = torch.native_layer_norm(first, [width], weights[4], weights[5], plan.eps)
        u_MF = torch.addmm(up_b, y_MD, up_w.t())
        v_MF = F.gelu(u_MF)
        second, second_factors = _join(y_MD, torch.addmm(down_b, v_MF, down_w.t()), plan)
        z_MD, *second_norm = torch.native_layer_norm(second, [width], weights[10], weights[11], plan.eps)
        ctx.eps = plan.eps
        ctx.save_for_backward(
            h_MD, *inside, a_MD, first, first_factors, *first_norm, u_MF, v_MF, second, second_factors,
            *second_norm, qkv_w, out_w, up_w, down_w, weights[4], weights[5], weights[10], weights[11],
        )  # fmt: skip
        return z_MD.view(batch, length, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BLD: Tensor) -> tuple[Tensor | None, ...]:
        """From the output back to the input; a residual's gradient is added inside the product that it meets."""
        (
            h_MD, qkv, probabilities, factors, a_MD, first, first_factors, first_mean, first_rstd, u_MF, v_MF,
            second, second_factors, second_mean, second_rstd, qkv_w, out_w, up_w, down_w,
            first_w, first_b, second_w, second_b,
        ) = ctx.saved_tensors  # fmt: skip
        batch, length, width = grad_BLD.shape
        grad, second_gw, second_gb = torch.ops.aten.native_layer_norm_backward(
            grad_BLD.reshape(-1, width), second, [width], second_mean, second_rstd, second_w, second_b, [True] * 3
        )
        branch = grad if second_factors is None else grad * second_factors
        down_gw, down_gb = _of_weights(branch, v_MF)
        inner = torch.ops.aten.gelu_backward(branch @ down_w, u_MF)
        # LayerNorm once more is cheaper than to keep what it gave: 3 % of a step's memory for 0.3 % of its time
        y_MD = torch.native_layer_norm(first, [width], first_w, first_b, ctx.eps)[0]
        up_gw, up_gb = _of_weights(inner, y_MD)
        grad, first_gw, first_gb = torch.ops.aten.native_layer_norm_backward(
            torch.addmm(grad, inner, up_w), first, [width], first_mean, first_rstd, first_w, first_b, [True] * 3
        )
        branch = grad if first_factors is None else grad * first_factors
        out_gw, out_gb = _of_weights(branch, a_MD)
        grad_a = (branch @ out_w).view(batch, length, width)
        grad_qkv = products_backward(grad_a, qkv, probabilities, factors).view(-1, 3 * width)
        qkv_gw, qkv_gb = _of_weights(grad_qkv, h_MD)
        grad_h = torch.addmm(grad, grad_qkv, qkv_w).view(batch, length, width)
        gradients = (
            qkv_gw, qkv_gb, out_gw, out_gb, first_gw, first_gb, up_gw, up_gb, down_gw, down_gb, second_gw, second_gb
        )  # fmt: skip
        return grad_h, None, *gradients


def _join(residual: Tensor, branch: Tensor, plan: LayerPlan) -> tuple[Tensor, Tensor | None]:
    """`residual` + dropout(`branch`), in the memory of `branch`, and the factors of dropout."""
    factors = plan.factors(branch)
    if factors is not None:
        branch.mul_(factors)
    return branch.add_(residual), factors


def _of_weights(grad_MO: Tensor, x_MI: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients (float32) of a linear map's weight (out, in) and bias, from its output's gradient and its input."""
    return (grad_MO.t() @ x_MI).float(), grad_MO.sum(0).float()
