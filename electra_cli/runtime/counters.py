"""Random numbers that are pure functions of what they are for.

A draw depends on (seed, epoch, sample, position, purpose) and on nothing else: not on the batch a sample is in, the
rank that holds it, or what was drawn before. That is what makes resume exact and the masks the same on any number of
devices. The mixer is splitmix64's finalizer (Steele, Lea, Flood, OOPSLA 2014) in wrapping int64 arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64: splitmix64's increment
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
_MASK_64 = (1 << 64) - 1


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own is arithmetic on int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """Scramble int64 counters so that neighbours share nothing, elementwise."""
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def key(*parts: int) -> int:
    """One int64 key from several integers (seed, epoch, purpose …), the order mattering."""
    state = 0
    for part in parts:
        state = (state + 0x9E3779B97F4A7C15 + (part & _MASK_64)) & _MASK_64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK_64
        state ^= state >> 31
    return state - (1 << 64) if state >= 1 << 63 else state


def draw_bits(base: int, sample_B: Tensor, columns: int) -> Tensor:
    """Random int64 bits of shape (B, columns) for each sample under the key `base`."""
    key_B = mix(sample_B * _GOLDEN + base)
    column_L = torch.arange(1, columns + 1, device=sample_B.device, dtype=torch.int64)
    return mix(key_B[:, None] + column_L[None, :] * _GOLDEN)


def uniform(bits: Tensor) -> Tensor:
    """Uniform float64 in [0, 1) from random bits: the top 53 of them."""
    return _shift_right(bits, 11).to(torch.float64) * 2.0**-53
