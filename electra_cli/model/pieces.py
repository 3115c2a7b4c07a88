"""Rows that hold several texts which do not see each other.

`starts_BL` says of each token whether a text begins there. Attention stays within a text, and positions start anew in
it, so that a text is computed as if it had a row to itself.

Shapes: B batch, L tokens in a row, H heads, K head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention


def positions_within(starts_BL: Tensor) -> Tensor:
    """The position of each token within its text, from 0: position_BL."""
    return torch.arange(starts_BL.shape[1], device=starts_BL.device) - _begins(starts_BL)


def begins_and_sizes(starts_BL: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where each token's text begins, and how many tokens it has: begin_BL, size_BL; of padding, the last text's."""
    text_BL = starts_BL.cumsum(1) - 1
    counted_BL = torch.ones_like(text_BL)
    if lengths_B is not None:
        counted_BL = (torch.arange(starts_BL.shape[1], device=starts_BL.device) < lengths_B[:, None]).to(torch.int64)
    size_BL = torch.zeros_like(text_BL).scatter_add(1, text_BL, counted_BL).gather(1, text_BL)
    return _begins(starts_BL), size_BL


def _begins(starts_BL: Tensor) -> Tensor:
    column_L = torch.arange(starts_BL.shape[1], device=starts_BL.device)
    return torch.where(starts_BL, column_L, 0).cummax(1).values


def apart(starts_BL: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Which keys a query does not see (B, L, L): those of other texts, and padding.

    Padding behind the last text sees that text, so that no softmax is over nothing.
    """
    text_BL = starts_BL.cumsum(1)
    hidden_BLL = text_BL[:, :, None] != text_BL[:, None, :]
    if lengths_B is not None:
        padding_BL = torch.arange(starts_BL.shape[1], device=starts_BL.device) >= lengths_B[:, None]
        hidden_BLL |= padding_BL[:, None, :]
    return hidden_BLL


def pieces_bias(starts_BL: Tensor, lengths_B: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Additive bias_B1LL that keeps attention within each text."""
    hidden_BLL = apart(starts_BL, lengths_B)
    bias_BLL = torch.zeros(hidden_BLL.shape, dtype=dtype, device=hidden_BLL.device)
    return bias_BLL.masked_fill_(hidden_BLL, torch.finfo(dtype).min)[:, None]


def pieces_mask(starts_BL: Tensor, lengths_B: Tensor | None) -> BlockMask:
    """The same for `attend_blocks`, which leaves out blocks of queries and keys that see nothing of each other."""
    batch, length = starts_BL.shape
    text_BL = starts_BL.cumsum(1)
    if lengths_B is not None:  # padding is a text of its own
        padding_BL = torch.arange(length, device=starts_BL.device) >= lengths_B[:, None]
        text_BL = text_BL.masked_fill(padding_BL, -1)

    def seen(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return text_BL[row, query] == text_BL[row, key]

    return create_block_mask(seen, batch, None, length, length, device=str(starts_BL.device))


def attend_blocks(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, mask: BlockMask) -> Tensor:
    """Attention by torch's flex_attention, which is one kernel only where it is compiled; without dropout."""
    return _flex(q_BHLK.device.type)(q_BHLK, k_BHLK, v_BHLK, block_mask=mask)  # type: ignore[no-any-return]


_COMPILED: dict[str, Any] = {}


def _flex(device: str) -> Any:
    if device == "cpu" or torch.compiler.is_compiling():
        return flex_attention
    if device not in _COMPILED:
        _COMPILED[device] = torch.compile(flex_attention, dynamic=False)
    return _COMPILED[device]
