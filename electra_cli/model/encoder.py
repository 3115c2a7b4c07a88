"""The transformer encoder of ELECTRA: BERT's, post-norm, with an optional projection from narrow embeddings.

Read top to bottom: Linear, LayerNorm, Embeddings, Layer, Encoder. Where it departs from BERT: embeddings of width E
are projected to the hidden width D after their LayerNorm and dropout when E != D; there is no pooler (electra.md
3.1).

Shapes: B batch, L tokens in a row, D hidden width, E embedding width, H heads, K head width, F feed-forward, V
vocabulary. Parameters are float32; activations have the type of `dtype` given to `Encoder.forward` (bfloat16 on
hardware that has it).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask

from electra_cli.model.attention import attend, attention_bias
from electra_cli.model.cpu_layer import LayerPlan, cpu_layer
from electra_cli.model.noise import Noise, add_dropped, drop
from electra_cli.model.pieces import pieces_bias, pieces_mask, positions_within
from electra_cli.model.shape import EncoderShape


class Linear(nn.Module):
    """A linear map with float32 parameters, computed in the type of its input; weight is (out, in)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class LayerNorm(nn.Module):
    """Layer normalization with float32 parameters, computed in the type of its input."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) → (…, width)."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if x.device.type != "cpu":  # a CPU's kernel takes float32 parameters beside bfloat16 activations as they are
            weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        return F.layer_norm(x, weight.shape, weight, bias, self.eps)


class Embeddings(nn.Module):
    """Word + token type + position, then LayerNorm; the generator and the discriminator share one of these.

    Attributes:
        scored: whether the word table is an output layer as well. Its gradient is dense then, and on a CPU lookups add
            theirs to it as sparse ones, which spares a table of zeros each.
    """

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.word = nn.Parameter(torch.empty(shape.vocab_size, shape.embedding_size))
        self.position = nn.Parameter(torch.empty(shape.positions, shape.embedding_size))
        self.segment = nn.Parameter(torch.empty(shape.types, shape.embedding_size))
        self.norm = LayerNorm(shape.embedding_size, shape.eps)
        self.scored = False

    def forward(self, ids_BL: Tensor, types_BL: Tensor, starts_BL: Tensor | None = None) -> Tensor:
        """Token ids, segment ids and where texts begin → e_BLE in float32, dropout not yet applied."""
        sparse = self.scored and self.word.device.type == "cpu"
        e_BLE = F.embedding(ids_BL, self.word, sparse=sparse)
        if starts_BL is None:
            e_BLE = e_BLE + self.position[: ids_BL.shape[1]]
        else:
            e_BLE = e_BLE + F.embedding(positions_within(starts_BL), self.position)
        return self.norm(e_BLE + F.embedding(types_BL, self.segment))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Self-attention and feed-forward, each followed by dropout, residual and LayerNorm (post-norm)."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.qkv = Linear(shape.hidden_size, 3 * shape.hidden_size)
        self.attention_out = Linear(shape.hidden_size, shape.hidden_size)
        self.attention_norm = LayerNorm(shape.hidden_size, shape.eps)
        self.up = Linear(shape.hidden_size, shape.feed_forward)
        self.down = Linear(shape.feed_forward, shape.hidden_size)
        self.norm = LayerNorm(shape.hidden_size, shape.eps)

    def forward(self, h_BLD: Tensor, bias: Tensor | BlockMask | None, noise: Noise | None) -> Tensor:
        """(B, L, D) → (B, L, D)."""
        p, shape = self.shape.dropout, self.shape
        if not isinstance(bias, BlockMask) and self._in_one(h_BLD, noise):
            plan = LayerPlan(shape.heads, shape.eps, p, shape.attention_dropout, bias, noise)
            parts = (self.qkv, self.attention_out, self.attention_norm, self.up, self.down, self.norm)
            return cpu_layer(h_BLD, tuple(tensor for part in parts for tensor in (part.weight, part.bias)), plan)
        a_BLD = attend(self.qkv(h_BLD), heads=shape.heads, bias=bias, p=shape.attention_dropout, noise=noise)
        h_BLD = self.attention_norm(add_dropped(h_BLD, self.attention_out(a_BLD), p, noise))
        f_BLD = self.down(F.gelu(self.up(h_BLD)))  # exact erf GELU, as the released weights need
        return self.norm(add_dropped(h_BLD, f_BLD, p, noise))  # type: ignore[no-any-return]

    def _in_one(self, h_BLD: Tensor, noise: Noise | None) -> bool:
        """Whether `cpu_layer` is the faster form: training on a CPU, except where torch's attention would be better."""
        if h_BLD.device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        return h_BLD.dtype == torch.bfloat16 or (noise is not None and self.shape.attention_dropout > 0)


class Encoder(nn.Module):
    """Token ids → hidden states of the last layer.

    Args:
        shape: the encoder's size.
        embeddings: another encoder's embeddings to share; None makes its own.

    Attributes:
        flex: whether to train on rows of several texts with flex_attention.
    """

    def __init__(self, shape: EncoderShape, embeddings: Embeddings | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.flex = False
        self.embeddings = Embeddings(shape) if embeddings is None else embeddings
        narrow = shape.embedding_size != shape.hidden_size
        self.project = Linear(shape.embedding_size, shape.hidden_size) if narrow else None
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))

    def forward(
        self,
        ids_BL: Tensor,
        types_BL: Tensor,
        *,
        lengths_B: Tensor | None = None,
        starts_BL: Tensor | None = None,
        noise: Noise | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Hidden states h_BLD in `dtype`.

        Args:
            ids_BL: token ids.
            types_BL: segment ids, 0 or 1.
            lengths_B: tokens before the padding of each row; None when every row is full, which is faster.
            starts_BL: where texts that do not see each other begin; None when every row is one.
            noise: the step's dropout; None switches dropout off.
            dtype: the type that activations are computed in.
        """
        h_BLD = drop(self.embeddings(ids_BL, types_BL, starts_BL), self.shape.dropout, noise).to(dtype)
        if self.project is not None:
            h_BLD = self.project(h_BLD)
        bias = self._bias(lengths_B, starts_BL, length=ids_BL.shape[1], dtype=dtype)
        for layer in self.layers:
            h_BLD = layer(h_BLD, bias, noise)
        return h_BLD

    def _bias(
        self, lengths_B: Tensor | None, starts_BL: Tensor | None, *, length: int, dtype: torch.dtype
    ) -> Tensor | BlockMask | None:
        """What hides padding and other texts."""
        if starts_BL is None:
            return None if lengths_B is None else attention_bias(lengths_B, length, dtype)
        if self.flex and torch.is_grad_enabled():  # measuring keeps to the arithmetic that all runs share
            return pieces_mask(starts_BL, lengths_B)
        return pieces_bias(starts_BL, lengths_B, dtype)


def segment_types(first_B: Tensor, length: int) -> Tensor:
    """types_BL from the number of tokens in each row's first segment: 0 there, 1 behind it.

    Padding gets 1 here and 0 in the released data; no position that counts can see it.
    """
    return (torch.arange(length, device=first_B.device)[None, :] >= first_B[:, None]).to(torch.int64)
