"""The generator's head in Triton: loss and sample in one pass over the vocabulary, no logits kept.

What `generator_head.generator_output` computes, for a GPU. Two things differ:

- **Samples are other draws of the same distribution.** Each logit gets Gumbel noise and the largest wins; the noise is
  a hash of (the bits of the row's uniform number, the column), 32 bits each. So a sample is a pure function of (seed,
  epoch, row) here too, but not the token that the plain form draws from the same number.
- **The backward pass computes the logits again**, a slice of the vocabulary at a time, instead of keeping gradients
  from the forward pass. No sum depends on the order in which programs finish: two runs give the same bits.

Written for a GPU and so far run in Triton's interpreter only: not run on a GPU.

Shapes: P masked positions, E embedding width, V vocabulary.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from electra_cli.model.generator_head import GeneratorOutput
from electra_cli.model.triton_kernels import gradient_kernel, interpreted, join_kernel, score_kernel


@dataclass(frozen=True)
class Tiles:
    """How the work is cut.

    With these ptxas spills no register for an H100 (sm_90) in bfloat16, at widths from 128 to 1,024; whether they are
    the fastest, `benchmarks/gpu.py` measures.

    Attributes:
        rows: masked positions in a tile, a power of two of at least 16.
        columns: vocabulary entries in a tile, likewise.
        depth: of the embedding's width in one product, likewise.
        warps: of 32 threads that share a tile.
        programs: the vocabulary is cut into so many pieces that about so many programs run at once (an H100 has 132
            multiprocessors); no device is asked, so that the same rows give the same sums everywhere.
        buffer: bytes of the backward pass's slice of gradients.
    """

    rows: int = 64
    columns: int = 128
    depth: int = 64
    warps: int = 8
    programs: int = 264
    buffer: int = 64 << 20

    def pieces(self, rows: int, vocabulary: int) -> tuple[int, int]:
        """Into how many pieces the vocabulary is cut, at most 64, and how many tiles each of them has."""
        tiles = triton.cdiv(vocabulary, self.columns)
        each = triton.cdiv(tiles, min(64, triton.cdiv(self.programs, triton.cdiv(rows, self.rows))))
        return triton.cdiv(tiles, each), each

    def slice_width(self, rows: int, vocabulary: int, itemsize: int) -> int:
        """Columns of the vocabulary in one slice of the backward pass, a multiple of `columns`."""
        fits = max(1, self.buffer // (rows * itemsize * self.columns))
        return int(min(fits, triton.cdiv(vocabulary, self.columns)) * self.columns)


TILES = Tiles()


def triton_output(
    h_PE: Tensor,
    word_VE: Tensor,
    bias_V: Tensor,
    *,
    target_P: Tensor,
    weight_P: Tensor,
    uniform_P: Tensor,
    temperature: float = 1.0,
    disallow_correct: bool = False,
) -> GeneratorOutput:
    """See `generator_head.generator_output`, whose arguments and result these are."""
    outputs = score(
        h_PE.contiguous(), word_VE, bias_V, target_P, uniform_P.view(torch.int64), temperature, disallow_correct
    )
    nll_P, sample_P, sample_nll_P, correct_P, _ = outputs
    return GeneratorOutput(
        (nll_P * weight_P).sum(), nll_P.detach(), sample_P, sample_nll_P.detach(), correct_P.view(torch.bool)
    )


@torch.library.custom_op("electra::score", mutates_args=())
def score(
    h_PE: Tensor,
    word_VE: Tensor,
    bias_V: Tensor,
    target_P: Tensor,
    key_P: Tensor,
    temperature: float,
    disallow_correct: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(nll_P, sample_P, sample_nll_P, correct_P, lse_P) of every row; an operator, which torch.compile leaves whole.

    `key_P` is int64, what the noise is a function of. Only `nll_P` has a gradient.
    """
    (rows, width), vocabulary = h_PE.shape, len(bias_V)
    pieces, each = TILES.pieces(rows, vocabulary)
    numbers_5SP = h_PE.new_empty((5, pieces, rows), dtype=torch.float32)
    sample_SP = h_PE.new_empty((pieces, rows), dtype=torch.int32)
    nll_P, sample_nll_P, lse_P = (h_PE.new_empty(rows, dtype=torch.float32) for _ in range(3))
    sample_P, correct_P = (h_PE.new_empty(rows, dtype=kind) for kind in (torch.int64, torch.int8))
    with _on(h_PE):
        score_kernel[(triton.cdiv(rows, TILES.rows), pieces)](
            h_PE,
            word_VE.to(h_PE.dtype).contiguous(),
            bias_V,
            target_P.contiguous(),
            key_P.contiguous(),
            numbers_5SP,
            sample_SP,
            rows,
            vocabulary,
            1.0 / temperature,
            E=width,
            EACH=each,
            FORBID=disallow_correct,
            **_constants(h_PE),
        )
        join_kernel[(triton.cdiv(rows, 64),)](
            numbers_5SP,
            sample_SP,
            lse_P,
            nll_P,
            sample_P,
            sample_nll_P,
            correct_P,
            rows,
            pieces,
            PIECES=triton.next_power_of_2(pieces),
            ROWS=64,
        )
    return nll_P, sample_P, sample_nll_P, correct_P, lse_P


@score.register_fake
def _(h_PE: Tensor, word_VE: Tensor, bias_V: Tensor, target_P: Tensor, *_: Any) -> tuple[Tensor, ...]:
    rows = h_PE.shape[0]
    number, index = h_PE.new_empty(rows, dtype=torch.float32), h_PE.new_empty(rows, dtype=torch.int64)
    empty = torch.empty_like
    return number, index, empty(number), empty(index, dtype=torch.int8), empty(number)


@torch.library.custom_op("electra::score_gradient", mutates_args=())
def score_gradient(
    scale_P: Tensor, h_PE: Tensor, word_VE: Tensor, bias_V: Tensor, target_P: Tensor, lse_P: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of sum(scale_P * nll_P) in h_PE (its type), word_VE and bias_V (float32)."""
    (rows, width), vocabulary = h_PE.shape, len(bias_V)
    blocks, wide = triton.cdiv(rows, TILES.rows), TILES.slice_width(rows, vocabulary, h_PE.element_size())
    word = word_VE.to(h_PE.dtype).contiguous()
    grad_h = torch.zeros_like(h_PE, dtype=torch.float32)
    grad_word = torch.empty_like(word_VE, memory_format=torch.contiguous_format)
    grad_bias = torch.empty_like(bias_V)
    buffer_PW = h_PE.new_empty((rows, wide))
    sums_RW = h_PE.new_empty((blocks, wide), dtype=torch.float32)
    for offset in range(0, vocabulary, wide):
        used = min(wide, vocabulary - offset)
        columns = slice(offset, offset + used)
        with _on(h_PE):
            gradient_kernel[(blocks, triton.cdiv(used, TILES.columns))](
                h_PE,
                word,
                bias_V,
                target_P.contiguous(),
                lse_P,
                scale_P.contiguous(),
                buffer_PW,
                sums_RW,
                rows,
                vocabulary,
                offset,
                wide,
                E=width,
                **_constants(h_PE),
            )
        gradient = buffer_PW[:, :used]
        grad_h += _product(gradient, word[columns])
        grad_word[columns] = _product(gradient.T, h_PE)
        grad_bias[columns] = sums_RW[:, :used].sum(0)
    return grad_h.to(h_PE.dtype), grad_word, grad_bias


@score_gradient.register_fake
def _(scale_P: Tensor, h_PE: Tensor, word_VE: Tensor, bias_V: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return torch.empty_like(h_PE), torch.empty_like(word_VE), torch.empty_like(bias_V)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:4], output[4])


def _backward(ctx: Any, grad_nll_P: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    h_PE, word_VE, bias_V, target_P, lse_P = ctx.saved_tensors
    return *score_gradient(grad_nll_P, h_PE, word_VE, bias_V, target_P, lse_P), None, None, None, None


score.register_autograd(_backward, setup_context=_keep)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product with a float32 result, whatever the type of its operands."""
    if left.dtype == torch.float32:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def _constants(h_PE: Tensor) -> dict[str, Any]:
    exact = h_PE.dtype == torch.float32  # float32 stays float32: Triton's default would round it to TF32
    return {
        "ROWS": TILES.rows,
        "COLUMNS": TILES.columns,
        "DEPTH": TILES.depth,
        "PRECISION": "ieee" if exact else "tf32",
        "WIDEN": interpreted() and not exact,
        "num_warps": TILES.warps,
    }


def _on(tensor: Tensor) -> AbstractContextManager[None]:
    """Triton launches on the current device: make it the tensor's; nothing happens for a CPU (interpreter)."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
