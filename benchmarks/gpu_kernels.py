"""Parts of a step by themselves: forms of attention, the generator's head by tiles, the kernels that take the time."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._C._autograd import DeviceType
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_arithmetic import Size
from benchmarks.gpu_steps import wait
from electra_cli.model.generator_head import GeneratorOutput, generator_output

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def milliseconds(work: Callable[[], object], device: torch.device, *, repeats: int = 20, blocks: int = 5) -> float:
    """Median over blocks of the time of one call."""
    for _ in range(3):
        work()
    found = []
    for _ in range(blocks):
        wait(device)
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        wait(device)
        found.append((time.perf_counter() - started) / repeats)
    return 1000 * statistics.median(found)


def products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float) -> Tensor:
    """Attention written out."""
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    scores = scores if mask is None else scores + mask
    return F.dropout(scores.softmax(-1), p, training=p > 0) @ v


def attention(
    sizes: dict[str, Size], device: torch.device, dtype: torch.dtype, *, tokens: int, repeats: int
) -> Iterator[dict[str, object]]:
    """Milliseconds of one layer's attention, forward and backward, for each size, length, mask and form.

    Queries, keys and values are cut out of one tensor as the model does it. A form that refuses a case has an error.
    """
    for name, size in sizes.items():
        for network, shape in (("discriminator", size.shape), ("generator", size.narrow)):
            for length in sorted({128, 512, size.length} if device.type == "cuda" else {size.length}):
                rows, heads, each = max(1, tokens // length), shape.heads, shape.head_width
                qkv = torch.randn(rows, length, 3, heads, each, device=device, dtype=dtype, requires_grad=True)
                hidden = torch.zeros(rows, 1, 1, length, device=device, dtype=dtype)
                hidden[..., -length // 8 :] = torch.finfo(dtype).min
                for masked, p in ((False, 0.1), (False, 0.0), (True, 0.1)):
                    row: dict[str, object] = {"size": name, "network": network, "length": length, "rows": rows}
                    row |= {"heads": heads, "padding": masked, "dropout": p}
                    for form in (*BACKENDS, "products"):
                        row[form] = _attention_time(form, qkv, hidden if masked else None, p, device, repeats)
                    yield row


def _attention_time(
    form: str, qkv: Tensor, mask: Tensor | None, p: float, device: torch.device, repeats: int
) -> float | str:
    def work() -> None:
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if form == "products":
            out = products(q, k, v, mask, p)
        else:
            with sdpa_kernel(BACKENDS[form]):
                out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        out.sum().backward()
        qkv.grad = None

    try:
        with warnings.catch_warnings():  # torch explains at length why a form is refused
            warnings.simplefilter("ignore")
            return milliseconds(work, device, repeats=repeats)
    except RuntimeError as error:
        return f"no: {str(error).splitlines()[0][:60]}"


def head_times(size: Size, device: torch.device, dtype: torch.dtype, *, repeats: int) -> Iterator[dict[str, object]]:
    """Milliseconds of the generator's head, forward and backward, in a step of the size: plain, and Triton by tiles."""
    slots = size.rule.slots(size.length) * min(size.batch, 128)
    width, vocabulary = size.shape.embedding_size, size.shape.vocab_size
    leaves = [
        torch.randn(slots, width, device=device).to(dtype).requires_grad_(),
        (0.02 * torch.randn(vocabulary, width, device=device)).requires_grad_(),
        torch.zeros(vocabulary, device=device, requires_grad=True),
    ]
    fields = {
        "target_P": torch.randint(vocabulary, (slots,), device=device),
        "weight_P": torch.ones(slots, device=device),
        "uniform_P": torch.rand(slots, device=device, dtype=torch.float64),
    }

    def both_ways(output: Callable[..., GeneratorOutput]) -> float:
        return milliseconds(
            lambda: torch.autograd.grad(output(*leaves, **fields).loss, leaves), device, repeats=repeats
        )

    yield {"head": "plain", "rows": slots, "width": width, "ms": both_ways(generator_output)}
    if device.type != "cuda":
        return
    from electra_cli.model import triton_head

    usual = triton_head.TILES
    for rows, columns, depth, warps in ((64, 128, 64, 8), (64, 128, 64, 4), (64, 64, 64, 4), (128, 64, 64, 8)):
        for programs in (132, 264, 528):
            tiles = replace(usual, rows=rows, columns=columns, depth=depth, warps=warps, programs=programs)
            triton_head.TILES = tiles
            try:
                time_or_error: float | str = both_ways(triton_head.triton_output)
            except Exception as error:  # a tile that does not fit the chip; the others are still of interest
                time_or_error = f"no: {str(error).splitlines()[0][:60]}"
            finally:
                triton_head.TILES = usual
            yield {"head": "triton", "rows": slots, "width": width, "tiles": str(tiles), "ms": time_or_error}


def top_kernels(take: Callable[[int], object], device: torch.device, *, steps: int = 5) -> dict[str, Any]:
    """Where a step's time goes: the ten kernels that take most, the time the device worked, the time it took in all."""
    for number in range(3):
        take(number)
    wait(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as found:
        started = time.perf_counter()
        for number in range(steps):
            take(number + 3)
        wait(device)
        wall = (time.perf_counter() - started) / steps
    on_gpu = device.type == "cuda"
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU  # the operators that launched the kernels are counted apart
    times = [
        (event.key, (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / steps / 1000, event.count)
        for event in found.key_averages()
        if event.device_type == kind and not event.is_user_annotation
    ]
    times = sorted((one for one in times if one[1] > 0), key=lambda one: -one[1])
    return {
        "ms in all": 1000 * wall,
        "ms of kernels": sum(one[1] for one in times),
        "kernels a step": sum(count for _, _, count in times) / steps,
        "top": [{"kernel": name[:90], "ms": ms, "calls": count / steps} for name, ms, count in times[:10]],
    }
