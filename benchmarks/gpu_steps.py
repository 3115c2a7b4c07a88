"""Our pretraining step on one device, in variants, and the clock.

A step is the product's: `pair_losses`, `training.loop.train`, `build_optimizer`, dropout by step. Only the batches are
ready on the device, for the peers too. The variants with a graph are a candidate that the product does not have: the
whole step (forward, backward, clipping, optimizer) is captured once as a CUDA graph over fixed buffers and replayed,
with the seed of its dropout set before each replay.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_arithmetic import Size
from electra_cli.data.masking import draw_masks
from electra_cli.model.encoder import Encoder, Layer
from electra_cli.model.initialize import initialize
from electra_cli.model.noise import Noise
from electra_cli.model.pretraining import Electra, MaskedBatch
from electra_cli.stages.pair import Weights, pair_losses
from electra_cli.stages.rows import CountedBatch
from electra_cli.training.loop import Losses, train
from electra_cli.training.optimizer import build_optimizer

WEIGHTS = Weights(1.0, 50.0)
CLIP, RATE = 1.0, 1e-4


@dataclass(frozen=True)
class Variant:
    """How a step is carried out.

    Attributes:
        head: `plain` or `triton`.
        compile: `off`, each `layer`, each `encoder`, or the `step` (the whole forward pass; needs the Triton head).
        graph: whether the step is one CUDA graph.
    """

    head: str = "plain"
    compile: str = "off"
    graph: bool = False

    @property
    def name(self) -> str:
        """As it is printed."""
        parts = [f"{self.head} head", "eager" if self.compile == "off" else f"{self.compile} compiled"]
        return ", ".join([*parts, *(["CUDA graph"] if self.graph else [])])

    def runs_on(self, device: torch.device) -> bool:
        """Whether the device can do it."""
        return device.type == "cuda" or (self.head == "plain" and not self.graph)


EAGER = Variant()
VARIANTS = (
    EAGER,
    Variant(graph=True),
    Variant("plain", "layer", graph=True),
    Variant("triton"),
    Variant("triton", graph=True),
    Variant("triton", "layer"),
    Variant("triton", "layer", graph=True),
    Variant("triton", "encoder"),
    Variant("triton", "encoder", graph=True),
    Variant("triton", "step"),
    Variant("triton", "step", graph=True),
    Variant("plain", "encoder"),
)


def make_batch(
    size: Size, device: torch.device, *, rows: int, length: int, number: int = 0, padded: bool = False
) -> CountedBatch:
    """Random rows with masks drawn on the device; full ones, or every third of them short."""
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(1000, size.shape.vocab_size, (rows, length), generator=generator)
    ids[:, 0], ids[:, length // 2], ids[:, -1] = 101, 102, 102
    lengths = torch.full((rows,), length)
    if padded:
        lengths[::3] = length - length // 8
    index, tokens = torch.arange(rows) + number * rows, int(lengths.sum())
    ids, lengths, index = ids.to(device), lengths.to(device), index.to(device)
    masks = draw_masks(ids, lengths, rule=size.rule, seed=3, epoch_B=torch.zeros_like(index), sample_B=index)
    batch = MaskedBatch(
        ids_BL=ids,
        lengths_B=lengths if padded else None,
        first_B=torch.full_like(lengths, length // 2 + 1),
        masked_BL=masks.masked_BL,
        positions_BP=masks.positions_BP,
        used_BP=masks.used_BP,
        uniform_BP=masks.uniform_BP,
    )
    return CountedBatch(batch, batch.used_BP.sum(), tokens, np.arange(rows), number)


def make_model(size: Size, device: torch.device, variant: Variant = EAGER, *, dropout: bool = True) -> Electra:
    """The pair with its first weights, carried out as `variant` says (but for the graph)."""
    narrow, shape = size.narrow, size.shape
    if not dropout:
        narrow, shape = (replace(one, dropout=0.0, attention_dropout=0.0) for one in (narrow, shape))
    model = Electra(shape, narrow)
    initialize(model, seed=1)
    model.to(device)
    model.head_backend = "triton" if variant.head == "triton" else "plain"
    kinds = {"off": (), "layer": (Layer,), "encoder": (Encoder,), "step": (Electra,)}[variant.compile]
    for part in model.modules():
        if isinstance(part, kinds):
            part.compile(fullgraph=device.type == "cuda", dynamic=False)
    return model


def dtype_on(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU; float32 on a CPU, where only a smoke test runs."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def ours(
    size: Size, variant: Variant, device: torch.device, *, rows: int, length: int, dropout: bool = True
) -> Callable[[int], torch.Tensor]:
    """A function that takes one step of our loop and returns its loss, on the device."""
    model = make_model(size, device, variant, dropout=dropout)
    optimizer = build_optimizer(model.named_parameters(), weight_decay=0.01)
    batches = [make_batch(size, device, rows=rows, length=length, number=number) for number in range(4)]

    def compute(batch: CountedBatch, noise: Noise | None) -> Losses:
        return pair_losses(model, batch, weights=WEIGHTS, noise=noise, dtype=dtype_on(device))

    if variant.graph:
        # Made once: a generator takes no new seed while a graph is captured. A replay reads the one set before it.
        noise = Noise(0, device) if dropout else None
        return Captured(model, optimizer, lambda batch: compute(batch, noise).total, batches, device).step

    def losses(batch: CountedBatch, step: int, _: int) -> Losses:
        return compute(batch, Noise(step, device) if dropout else None)

    endless = ([batches[number % len(batches)]] for number in itertools.count())
    steps = train(model, optimizer, endless, losses, schedule=lambda _: RATE, clip=CLIP)
    return lambda _: next(steps).loss


class Captured:
    """One step as a CUDA graph: batches are copied into fixed buffers, the learning rate is a tensor."""

    def __init__(
        self,
        model: Electra,
        optimizer: torch.optim.Optimizer,
        loss_of: Callable[[CountedBatch], torch.Tensor],
        batches: list[CountedBatch],
        device: torch.device,
    ) -> None:
        self.batches = batches
        first = batches[0]
        tensors = {field.name: getattr(first.batch, field.name) for field in fields(first.batch)}
        clones = {name: None if value is None else value.clone() for name, value in tensors.items()}
        self.fixed = replace(first, batch=MaskedBatch(**clones))
        parameters = list(model.parameters())
        before = [parameter.detach().clone() for parameter in parameters]
        for group in optimizer.param_groups:
            group["lr"], group["capturable"] = torch.tensor(RATE, device=device), True

        def step() -> torch.Tensor:
            loss = loss_of(self.fixed)
            loss.backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=True)
            fused: Any = optimizer
            fused.grad_scale = (norm / CLIP).clamp(min=1.0)
            fused.found_inf = (~(torch.isfinite(norm) & torch.isfinite(loss))).to(torch.float32)
            optimizer.step()
            return loss.detach()

        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(3):  # compiles, chooses algorithms, allocates
                step()
                optimizer.zero_grad()
        torch.cuda.current_stream(device).wait_stream(aside)
        self._begin_again(optimizer, parameters, before)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = step()
        self._begin_again(optimizer, parameters, before)

    @staticmethod
    def _begin_again(
        optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], before: list[torch.Tensor]
    ) -> None:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
                for moment in ("exp_avg", "exp_avg_sq"):
                    optimizer.state[parameter][moment].zero_()

    def step(self, number: int) -> torch.Tensor:
        """Take step `number` on the next batch."""
        source, target = self.batches[number % len(self.batches)].batch, self.fixed.batch
        for field in fields(source):
            value = getattr(source, field.name)
            if value is not None:
                getattr(target, field.name).copy_(value)
        torch.cuda.manual_seed(number)
        self.graph.replay()
        return self.loss.clone()


@dataclass(frozen=True)
class Rate:
    """How fast something is.

    Attributes:
        tokens_per_second: median of the blocks.
        spread: (fastest - slowest) / median of the blocks.
        first_seconds: what the first step took, compilation and all.
        peak_bytes: memory at most; 0 on a CPU.
    """

    tokens_per_second: float
    spread: float
    first_seconds: float
    peak_bytes: int


def measure(
    make: Callable[[], Callable[[int], object]], device: torch.device, *, tokens: int, steps: int, blocks: int = 5
) -> Rate:
    """Make a step, warm it up, time `blocks` blocks of `steps` steps of `tokens` tokens."""
    forget(device)
    started = time.perf_counter()
    take = make()
    take(0)
    wait(device)
    first = time.perf_counter() - started
    for number in range(1, 5):
        take(number)
    seconds = []
    for block in range(blocks):
        wait(device)
        started = time.perf_counter()
        for number in range(steps):
            take(block * steps + number + 5)
        wait(device)
        seconds.append((time.perf_counter() - started) / steps)
    middle = statistics.median(seconds)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return Rate(tokens / middle, (max(seconds) - min(seconds)) / middle, first, peak)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget(device: torch.device) -> None:
    """Free what was allocated and compiled before."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
