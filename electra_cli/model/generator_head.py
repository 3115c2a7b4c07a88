"""The generator's output at the masked positions: loss, gradient and sample in one pass over the logits.

A (P, V) matrix of logits is the largest thing in a small model's step. Here it lives a few rows at a time, in cache: a
chunk's softmax, loss, sample and the gradient of its logits are taken there. Only the gradients of the logits of one
span of rows are kept, in the compute type, so that the two products behind them are large ones. The price is that the
weight of each row in the loss must be known in the forward pass, and that there is no second derivative.

Shapes: P masked positions (flattened over the batch), E embedding width, V vocabulary, C rows of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from electra_cli.model.sampling import BLOCK, sample_in_blocks

HeadBackend = Literal["plain", "triton"]

# Rows of float32 logits alive at once: 16 MB at V = 30,522, which a large cache holds; fewer cost calls, more cost
# memory traffic. On a GPU a launch costs more than a pass, so the whole span goes at once.
CHUNK = 128
SPAN = 512  # rows whose gradients of logits are kept until they are multiplied: 31 MB in bfloat16


@dataclass(frozen=True)
class GeneratorOutput:
    """What the generator's head says of the masked positions.

    Attributes:
        loss: sum over rows of weight * cross-entropy, a scalar with a gradient.
        nll_P: cross-entropy of each row, float32, without a gradient.
        sample_P: an id drawn from each row's distribution.
        sample_nll_P: -log of the sample's probability (temperature and `disallow_correct` left out), float32.
        correct_P: whether the original is a row's most probable id.
    """

    loss: Tensor
    nll_P: Tensor
    sample_P: Tensor
    sample_nll_P: Tensor
    correct_P: Tensor


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
    fields = (target_P, weight_P, uniform_P, temperature, disallow_correct)
    if not torch.is_grad_enabled():  # the function below cannot tell: inside it gradients are always switched off
        h_PE, word_VE, bias_V = h_PE.detach(), word_VE.detach(), bias_V.detach()
    outputs = _Fused.apply(h_PE, word_VE, bias_V, *fields)  # type: ignore[no-untyped-call]
    return GeneratorOutput(*outputs)


@dataclass
class _Rows:
    """The figures of all rows, filled chunk by chunk."""

    nll_P: Tensor
    sample_P: Tensor
    sample_nll_P: Tensor
    correct_P: Tensor

    @classmethod
    def empty(cls, like_P: Tensor) -> _Rows:
        """Room for the rows of `like_P`."""
        nll_P = torch.empty(like_P.shape, dtype=torch.float32, device=like_P.device)
        sample_P, correct_P = torch.empty_like(like_P), torch.empty_like(like_P, dtype=torch.bool)
        return cls(nll_P, sample_P, torch.empty_like(nll_P), correct_P)

    def judge(
        self,
        here: slice,
        logits_CV: Tensor,
        target_C: Tensor,
        uniform_C: Tensor,
        vocabulary: int,
        temperature: float,
        disallow_correct: bool,
    ) -> Tensor:
        """Fill in the rows `here` from their logits (padded with -inf to whole blocks); return the probabilities."""
        probabilities_CV = logits_CV.softmax(-1)
        hot_CV = probabilities_CV if temperature == 1.0 else (logits_CV / temperature).softmax(-1)
        if disallow_correct:
            hot_CV = hot_CV.scatter(-1, target_C[:, None], 0.0)
        sample_C = sample_in_blocks(hot_CV, uniform_C, vocabulary=vocabulary)
        top_C = logits_CV.amax(-1)
        log_sum_C = top_C - probabilities_CV.amax(-1).log()  # of the largest one, which cannot have underflowed
        target_logit_C = logits_CV.gather(-1, target_C[:, None])[:, 0]
        self.nll_P[here] = log_sum_C - target_logit_C
        self.sample_P[here] = sample_C
        self.sample_nll_P[here] = log_sum_C - logits_CV.gather(-1, sample_C[:, None])[:, 0]
        self.correct_P[here] = target_logit_C == top_C
        return probabilities_CV


def _in_blocks(word_VE: Tensor, bias_V: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The output weights in `dtype` and the bias, filled up to whole blocks of the sampler.

    The filling has logits of -inf and so probabilities of 0, and rows of logits are contiguous, which the passes over
    them need to be fast.
    """
    vocabulary, width = word_VE.shape
    rows = vocabulary + -vocabulary % BLOCK
    word, bias = word_VE.new_empty(rows, width, dtype=dtype), bias_V.new_full((rows,), -torch.inf)
    word[:vocabulary], bias[:vocabulary] = word_VE, bias_V
    word[vocabulary:] = 0.0
    return word, bias


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
        word, bias = _in_blocks(word_VE, bias_V, dtype=h_PE.dtype)
        rows = _Rows.empty(target_P)
        grad_h = torch.empty_like(h_PE) if wanted else None
        grad_word: Tensor | None = None
        grad_bias = torch.zeros_like(bias) if wanted else None
        vocabulary = len(bias_V)
        chunk = CHUNK if h_PE.device.type == "cpu" else SPAN
        for first in range(0, len(h_PE), SPAN):
            span = slice(first, min(first + SPAN, len(h_PE)))
            grads = h_PE.new_empty(span.stop - first, len(word)) if wanted else None
            for start in range(first, span.stop, chunk):
                here = slice(start, min(start + chunk, span.stop))
                logits = F.linear(h_PE[here], word).float().add_(bias)
                probabilities = rows.judge(
                    here, logits, target_P[here], uniform_P[here], vocabulary, temperature, disallow_correct
                )
                if grads is not None and grad_bias is not None:
                    grad = probabilities.mul_(weight_P[here, None])
                    grad.scatter_add_(-1, target_P[here, None], -weight_P[here, None])
                    grad_bias += grad.sum(0)
                    grads[start - first : here.stop - first] = grad
            if grads is not None and grad_h is not None:
                torch.mm(grads, word, out=grad_h[span])
                piece = (grads.T @ h_PE[span])[:vocabulary].to(word_VE.dtype)
                grad_word = piece if grad_word is None else grad_word.add_(piece)
        ctx.save_for_backward(grad_h, grad_word, None if grad_bias is None else grad_bias[:vocabulary])
        ctx.mark_non_differentiable(rows.nll_P, rows.sample_P, rows.sample_nll_P, rows.correct_P)
        return (rows.nll_P * weight_P).sum(), rows.nll_P, rows.sample_P, rows.sample_nll_P, rows.correct_P

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Scale what the forward pass computed; in place, as it is asked for once."""
        grad_h, grad_word, grad_bias = ctx.saved_tensors
        return grad_h * grad_loss.to(grad_h.dtype), grad_word.mul_(grad_loss), grad_bias * grad_loss, *[None] * 5
