"""The generator's output at the masked positions: loss, gradient and sample in one pass over the logits.

A (P, V) matrix of logits is the largest thing in a small model's step. Here it lives one chunk of rows at a time: the
chunk's log-sum-exp, loss, sample and the gradient of its logits are taken while it is in cache, and only the
gradients of the head's inputs are kept (4.4 times the plain form on a CPU, performance.md 2). The price is that the
weight of each row in the loss must be known in the forward pass, and that there is no second derivative.

Shapes: P masked positions (flattened over the batch), E embedding width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from electra_cli.model.sampling import sample_ids

HeadBackend = Literal["plain", "triton"]
CHUNK = 512  # rows of logits alive at once: 62 MB in float32 at V = 30,522


@dataclass(frozen=True)
class GeneratorOutput:
    """What the generator's head says of the masked positions.

    Attributes:
        loss: sum over rows of weight * cross-entropy, a scalar with a gradient.
        nll_P: cross-entropy of each row, float32, without a gradient.
        sample_P: an id drawn from each row's distribution.
        sample_nll_P: -log of the sample's probability (temperature and `disallow_correct` left out), float32.
        best_P: each row's most probable id.
    """

    loss: Tensor
    nll_P: Tensor
    sample_P: Tensor
    sample_nll_P: Tensor
    best_P: Tensor


def generator_output(
    h_PE: Tensor,
    word_VE: Tensor,
    bias_V: Tensor,
    *,
    target_P: Tensor,
    weight_P: Tensor,
    uniform_P: Tensor,
    temperature: float = 1.0,
    disallow_correct: bool = False,
    backend: HeadBackend = "plain",
) -> GeneratorOutput:
    """Score, differentiate and sample the softmax over the vocabulary.

    Args:
        h_PE: transformed hidden states, in the compute type.
        word_VE: the word embeddings, tied as output weights (float32).
        bias_V: the output bias (float32).
        target_P: the original ids.
        weight_P: each row's weight in the loss (float32); 0 for slots that are not used.
        uniform_P: one uniform number a row (float64) for the sample.
        temperature: divides the logits before sampling, not in the loss.
        disallow_correct: never sample the original id (released code's setting of that name, electra.md 2.7).
        backend: `triton` takes the kernels of `model.triton_head`, which draw other samples, while there are gradients
            to compute; held-out figures are the plain form's always, so that all runs measure the same thing.
    """
    if backend == "triton" and torch.is_grad_enabled():
        from electra_cli.model.triton_head import triton_output  # needs Triton, which is no dependency

        return triton_output(
            h_PE,
            word_VE,
            bias_V,
            target_P=target_P,
            weight_P=weight_P,
            uniform_P=uniform_P,
            temperature=temperature,
            disallow_correct=disallow_correct,
        )
    outputs = _Fused.apply(h_PE, word_VE, bias_V, target_P, weight_P, uniform_P, temperature, disallow_correct)  # type: ignore[no-untyped-call]
    return GeneratorOutput(*outputs)


class _Fused(torch.autograd.Function):
    """The head over chunks of rows; gradients are computed on the way forward."""

    @staticmethod
    def forward(
        ctx: Any,
        h_PE: Tensor,
        word_VE: Tensor,
        bias_V: Tensor,
        target_P: Tensor,
        weight_P: Tensor,
        uniform_P: Tensor,
        temperature: float,
        disallow_correct: bool,
    ) -> tuple[Tensor, ...]:
        """See `generator_output`."""
        wanted = any(ctx.needs_input_grad[:3])
        word = word_VE.to(h_PE.dtype)
        grad_h = torch.empty_like(h_PE) if wanted else None
        grad_word = torch.zeros_like(word_VE) if wanted else None
        grad_bias = torch.zeros_like(bias_V) if wanted else None
        nll_P = torch.empty(len(target_P), dtype=torch.float32, device=h_PE.device)
        sample_nll_P = torch.empty_like(nll_P)
        sample_P, best_P = torch.empty_like(target_P), torch.empty_like(target_P)
        for start in range(0, len(target_P), CHUNK):
            rows = slice(start, start + CHUNK)
            logits = F.linear(h_PE[rows], word).float() + bias_V
            top, best_P[rows] = logits.max(-1)
            target = target_P[rows, None]
            target_logit = logits.gather(-1, target)[:, 0]
            weights = (logits - top[:, None]).exp_()
            total = weights.sum(-1)
            nll_P[rows] = total.log() + top - target_logit
            hot = weights if temperature == 1.0 else ((logits - top[:, None]) / temperature).exp_()
            if disallow_correct:
                hot = hot.scatter(-1, target, 0.0)
            sample_P[rows] = sample_ids(hot, uniform_P[rows])
            sample_nll_P[rows] = total.log() + top - logits.gather(-1, sample_P[rows, None])[:, 0]
            if grad_h is None or grad_word is None or grad_bias is None:
                continue
            weight = weight_P[rows, None]
            grad = weights.mul_(weight / total[:, None])
            grad.scatter_add_(-1, target, -weight)
            grad_bias += grad.sum(0)
            grad = grad.to(h_PE.dtype)
            grad_h[rows] = grad @ word
            grad_word += grad.T @ h_PE[rows]
        ctx.save_for_backward(grad_h, grad_word, grad_bias)
        ctx.mark_non_differentiable(nll_P, sample_P, sample_nll_P, best_P)
        return (nll_P * weight_P).sum(), nll_P, sample_P, sample_nll_P, best_P

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Scale what the forward pass computed."""
        grad_h, grad_word, grad_bias = ctx.saved_tensors
        return grad_h * grad_loss.to(grad_h.dtype), grad_word * grad_loss, grad_bias * grad_loss, *[None] * 5
