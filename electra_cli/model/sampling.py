"""Drawing token ids from the generator's distribution, in float32 and float64.

One uniform number a row and an inverse cumulative distribution in two levels (blocks, then tokens within the block):
the exact categorical distribution of Gumbel-max at a hundredth of its cost on a CPU (performance.md 2).

Shapes: P masked positions, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 192  # tokens a block: near the square root of 30,522, and 30,522 pads to a multiple of it almost for free


def sample_ids(weights_PV: Tensor, uniform_P: Tensor) -> Tensor:
    """Draw one id per row with probability proportional to `weights_PV` (non-negative, float32).

    Args:
        weights_PV: unnormalized probabilities, for example exp(logits - max).
        uniform_P: uniform numbers in [0, 1), float64.

    Returns:
        sample_P: int64 ids; some id of the vocabulary where a row's weights are not finite.
    """
    vocabulary = weights_PV.shape[1]
    return sample_in_blocks(F.pad(weights_PV, (0, -vocabulary % BLOCK)), uniform_P, vocabulary=vocabulary)


def sample_in_blocks(padded_PV: Tensor, uniform_P: Tensor, *, vocabulary: int) -> Tensor:
    """`sample_ids` for weights whose last axis was already filled up with zeros to a multiple of `BLOCK`."""
    blocks_PNK = padded_PV.view(len(padded_PV), -1, BLOCK)
    # 192 numbers add up to a part in a million in float32; the running sum over blocks needs more
    ends_PN = blocks_PNK.sum(-1).to(torch.float64).cumsum(-1)
    target_P = uniform_P * ends_PN[:, -1]
    block_P = torch.searchsorted(ends_PN, target_P[:, None], right=True)[:, 0].clamp_(max=ends_PN.shape[1] - 1)
    row = torch.arange(len(padded_PV), device=padded_PV.device)
    before_P = torch.where(block_P > 0, ends_PN[row, (block_P - 1).clamp_(min=0)], torch.zeros_like(target_P))
    inside_PK = blocks_PNK[row, block_P].to(torch.float64)
    ends_PK = inside_PK.cumsum(-1)
    within_P = torch.searchsorted(ends_PK, (target_P - before_P)[:, None], right=True)[:, 0]
    # Rounding may push the target past the block's end: take the block's last token that has any weight.
    last_P = BLOCK - 1 - (inside_PK.flip(-1) > 0).to(torch.int8).argmax(-1)
    # Weights that are not finite give any id, but one of the vocabulary: the loss then says what is wrong, where an id
    # beyond the tables would be an error of the device.
    return (block_P * BLOCK + torch.minimum(within_P, last_P)).clamp_(max=vocabulary - 1)
