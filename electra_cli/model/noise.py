"""Dropout whose pattern is fixed by a seed, and cheap on a CPU.

torch's CPU dropout draws one Mersenne number an element, on one thread. Here SFC64 fills 64-bit words, each is cut into
16-bit (bfloat16) or 32-bit (float32) integers, and the integers are turned in place into the bits of 0.0 or of
1 / (1 - p): no booleans, no casts. On a GPU torch's own kernel is the fast one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_INTEGERS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


class Noise:
    """The random stream of one training step; None of its draws is kept between steps.

    Args:
        seed: what fixes the stream (int64); give every step and rank its own.
        device: where the activations lie.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        if device.type == "cpu":
            self._words = np.random.Generator(np.random.SFC64(seed & (2**64 - 1)))
        else:  # F.dropout takes no generator: it draws from the device's default one
            torch.manual_seed(seed)

    def dropout(self, x: Tensor, probability: float) -> Tensor:
        """`x` with elements zeroed with `probability`, the others scaled up, any shape and floating type."""
        if probability == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, probability, training=True)
        return x * self.factors(x, probability)

    def factors(self, like: Tensor, probability: float) -> Tensor:
        """What dropout multiplies a CPU tensor of the shape and type of `like` by: 0, or 1 / (1 - `probability`)."""
        integer = _INTEGERS[like.dtype]
        bits = integer.itemsize * 8
        words = self._words.integers(0, 2**64, size=-(-like.numel() * bits // 64), dtype=np.uint64)
        factors = torch.from_numpy(words.view(np.int64)).view(integer)[: like.numel()]
        kept = torch.tensor(1.0 / (1.0 - probability), dtype=like.dtype).view(integer).item()
        # 1 where the uniform integer reaches the share to drop, then the factor's bit pattern there; 0 is 0.0
        factors.ge_(round(probability * 2**bits) - 2 ** (bits - 1)).mul_(kept)
        return factors.view(like.dtype).view(like.shape)


def drop(x: Tensor, probability: float, noise: Noise | None) -> Tensor:
    """Dropout while training; the identity when there is no `noise` (inference)."""
    return x if noise is None else noise.dropout(x, probability)


def add_dropped(residual: Tensor, x: Tensor, probability: float, noise: Noise | None) -> Tensor:
    """`residual` + dropout(`x`)."""
    if noise is None or probability == 0.0 or x.device.type != "cpu":
        return residual + drop(x, probability, noise)
    return (x * noise.factors(x, probability)).add_(residual)
