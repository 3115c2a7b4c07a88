"""Devices, number formats and the memory allocator: what a training or inference run asks of the machine."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Literal

import torch

from electra_cli.errors import ResourceError

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Machine:
    """Where and in which number format to compute.

    Attributes:
        device: the torch device.
        dtype: the type of activations; parameters, losses and optimizer state are always float32.
    """

    device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """The device as a person would call it."""
        return (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"CPU, {_threads(torch.get_num_threads())}"
        )

    @property
    def precision(self) -> str:
        """`bf16` or `fp32`."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"


def choose_machine(device: str = "auto", precision: Precision = "auto") -> Machine:
    """The device and number format for a run.

    Args:
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:1`.
        precision: `auto` is bf16 where the hardware computes it and fp32 elsewhere.

    Raises:
        ResourceError: the device is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ResourceError(
            f"device {device} asked for, but {torch.cuda.device_count()} CUDA devices are visible",
            code="NO_DEVICE",
            where="--device",
            hint="check CUDA_VISIBLE_DEVICES and the driver, or use --device cpu",
        )
    if precision == "auto":
        precision = "bf16" if _computes_bf16(chosen) else "fp32"
    if chosen.type == "cpu":
        # oneDNN instead of MKL for float32 products: 2.2 times as fast on AMD, still float32 arithmetic without AMX
        # (performance.md 2); with AMX it would round to bf16, so it is left alone there.
        torch.set_float32_matmul_precision("highest" if torch.cpu._is_amx_tile_supported() else "medium")
    return Machine(chosen, torch.bfloat16 if precision == "bf16" else torch.float32)


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed, and say whether it listened.

    A training step allocates the same few hundred megabytes every time; by default glibc gives large blocks back to the
    kernel and pays for the page faults again: 12 % of a step's time (performance.md 2). `ELECTRA_MALLOC=default` leaves
    the allocator alone.
    """
    if sys.platform != "linux" or os.environ.get("ELECTRA_MALLOC") == "default":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    mmap_max, trim_threshold, top_pad = -4, -1, -2  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD of malloc.h
    return all(bool(mallopt(*pair)) for pair in ((mmap_max, 0), (trim_threshold, -1), (top_pad, 256 << 20)))


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
