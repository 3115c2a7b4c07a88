"""Dropout whose pattern is fixed by a seed, and cheap on a CPU.

torch's CPU dropout draws one Mersenne number an element, on one thread: 2.6 times the cost of drawing 64 bits at a time
and comparing 16-bit words (benchmarks, performance.md 2). On a GPU torch's own kernel is the fast one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class Noise:
    """The random stream of one training step; None of its draws is kept between steps.

    Args:
        seed: what fixes the stream (int64); give every step and rank its own.
        device: where the activations lie.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(seed)
        if device.type != "cpu":  # F.dropout takes no generator: it draws from the device's default one
            torch.manual_seed(seed)

    def dropout(self, x: Tensor, probability: float) -> Tensor:
        """`x` with elements zeroed with `probability`, the others scaled up, any shape and type."""
        if probability == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, probability, training=True)
        kept = self._kept(x.numel(), probability).view(x.shape)
        return x * kept.to(x.dtype).mul_(1.0 / (1.0 - probability))

    def _kept(self, count: int, probability: float) -> Tensor:
        """`count` booleans, each False with `probability` (to 2**-16)."""
        words = torch.empty((count + 3) // 4, dtype=torch.int64)
        # random_() alone never sets the top bit, so every fourth word would be biased (traps: byte dropout)
        words.random_(-(2**63), None, generator=self.generator)
        threshold = round(probability * 65536) - 32768
        return words.view(torch.int16)[:count] >= threshold


def drop(x: Tensor, probability: float, noise: Noise | None) -> Tensor:
    """Dropout while training; the identity when there is no `noise` (inference)."""
    return x if noise is None else noise.dropout(x, probability)
