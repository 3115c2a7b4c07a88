"""How many floating-point operations a second this device can do at best: what rates are a share of."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional as F

from electra_cli.runtime.machine import Machine

# Dense bfloat16 with float32 accumulation, from NVIDIA's data sheets (theirs double it for sparsity). The first name
# that the device's name contains is taken.
_DENSE_BF16 = (
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("B200", 2250e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
)
# (rows, inner, columns) by whether it is a GPU. The small one is over before a busy system takes the processor away,
# the large one is enough work for many threads.
_SHAPES = (((1024, 512, 512), (4096, 1024, 1024)), ((4096, 4096, 4096), (8192, 8192, 8192)))
_SECONDS = 0.2


@dataclass(frozen=True)
class Peak:
    """The best rate of a device.

    Attributes:
        flops_per_second: its rate in dense products of matrices in the compute type.
        source: `data sheet` or `measured`.
    """

    flops_per_second: float
    source: str


def peak_of(machine: Machine) -> Peak:
    """The best rate of `machine`: the data sheet's for a known GPU in bf16, else measured, which takes 0.2 seconds."""
    if machine.device.type == "cuda" and machine.dtype == torch.bfloat16:
        for name, rate in _DENSE_BF16:
            if name in torch.cuda.get_device_name(machine.device):
                return Peak(rate, "data sheet")
    return Peak(_measured(machine.device, machine.dtype, torch.get_num_threads()), "measured")


@cache
def _measured(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """The fastest of repeated products of matrices, small and large, in operations a second; once in a process."""
    best = 0.0
    for rows, inner, columns in _SHAPES[device.type == "cuda"]:
        x = torch.ones(rows, inner, dtype=dtype, device=device)
        weight = torch.ones(columns, inner, dtype=dtype, device=device)
        _seconds(x, weight)  # warms up
        started = time.perf_counter()
        while time.perf_counter() - started < _SECONDS / 2:
            best = max(best, 2 * rows * inner * columns / _seconds(x, weight))
    return best


def _seconds(x: torch.Tensor, weight: torch.Tensor) -> float:
    started = time.perf_counter()
    F.linear(x, weight)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - started
