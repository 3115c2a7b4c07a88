"""What the machine's bf16 matrix products allow, and how much arithmetic a pretraining step is.

The products are `F.linear` in bfloat16, forward only: on the model's own shapes at this batch, and on large shapes that
no small model has. The useful arithmetic is forward and backward (twice the forward) of both networks with the
generator's head on the masked positions only; embeddings look-ups, softmax, norms and the optimizer count as nothing.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch.nn import functional as F

from benchmarks.peers.contestants import Job, Size
from benchmarks.peers.gate import Gate, peak_megabytes
from electra_cli.artifacts import open_artifact

LARGE = ((2048, 2048, 2048), (4096, 4096, 4096), (8192, 1024, 1024), (8192, 1024, 4096))
SMALLEST = ((512, 512, 512),)  # for trying the script out
SECONDS = 0.03  # of one timing of one shape
TIMINGS = 5

Shape = tuple[int, int, int]  # rows x inputs x outputs


def masked_slots(length: int) -> int:
    """Masked positions of a full row (electra.md 2.1)."""
    return round(0.15 * length)


def own_shapes(size: Size, *, tokens: int, masked: int, vocab_size: int) -> list[tuple[Shape, int]]:
    """The linear maps of one step's forward pass and how often each comes."""
    shapes: list[tuple[Shape, int]] = []
    for hidden, feed_forward in (
        (size.hidden, size.feed_forward),
        (size.generator_hidden, size.generator_feed_forward),
    ):
        if hidden != size.embedding:
            shapes.append(((tokens, size.embedding, hidden), 1))
        shapes += [
            ((tokens, hidden, 3 * hidden), size.layers),
            ((tokens, hidden, hidden), size.layers),
            ((tokens, hidden, feed_forward), size.layers),
            ((tokens, feed_forward, hidden), size.layers),
        ]
    shapes.append(((tokens, size.hidden, size.hidden), 1))
    shapes.append(((tokens, size.hidden, 1), 1))
    shapes.append(((masked, size.generator_hidden, size.embedding), 1))
    shapes.append(((masked, size.embedding, vocab_size), 1))
    return shapes


def useful_flops(size: Size, *, length: int, masked: int, vocab_size: int) -> float:
    """Floating-point operations of forward and backward per token of a row of `length` tokens."""
    linears = sum(
        2.0 * rows * inputs * outputs * times
        for (rows, inputs, outputs), times in own_shapes(size, tokens=length, masked=masked, vocab_size=vocab_size)
    )
    attention = sum(4.0 * length * length * hidden * size.layers for hidden in (size.hidden, size.generator_hidden))
    return 3.0 * (linears + attention) / length


def gflops(shape: Shape) -> float:
    """Billions of operations a second of `F.linear` in bfloat16, the median of a few timings."""
    rows, inputs, outputs = shape
    x, weight = torch.randn(rows, inputs).bfloat16(), torch.randn(outputs, inputs).bfloat16()
    bias = torch.randn(outputs).bfloat16()
    work = 2.0 * rows * inputs * outputs / 1e9
    F.linear(x, weight, bias)
    started = time.perf_counter()
    F.linear(x, weight, bias)
    repeats = max(1, int(SECONDS / max(1e-6, time.perf_counter() - started)))
    speeds = []
    for _ in range(TIMINGS):
        started = time.perf_counter()
        for _ in range(repeats):
            F.linear(x, weight, bias)
        speeds.append(repeats * work / (time.perf_counter() - started))
    return statistics.median(speeds)


def run(job: Job, gate: Gate) -> None:
    """Measure all shapes once for each command of the parent, whatever number of steps it asks for."""
    channel = gate.channel
    spec = open_artifact(job.shards, kinds={"shards"}).spec
    length, vocab_size = int(spec["length"]), int(spec["vocab_size"])
    masked = masked_slots(length)
    shapes = own_shapes(job.size, tokens=job.batch * length, masked=job.batch * masked, vocab_size=vocab_size)
    channel.send({"ready": True, "peak_mb": peak_megabytes()})
    while True:
        command = channel.receive()
        cpu, started = time.process_time(), time.perf_counter()
        own = {shape: gflops(shape) for shape in {shape for shape, _ in shapes}}
        large = {shape: gflops(shape) for shape in (LARGE if job.size.hidden > 100 else SMALLEST)}
        work = [2.0 * rows * inputs * outputs * times for (rows, inputs, outputs), times in shapes]
        seconds = sum(part / own[shape] for part, (shape, _) in zip(work, shapes, strict=True))
        channel.send(
            {
                "seconds": time.perf_counter() - started,
                "cpu": time.process_time() - cpu,
                "steps": command["steps"],
                "peak_mb": peak_megabytes(),
                "loss": None,
                "gflops": {
                    "best own": max(own.values()),
                    "weighted own": sum(work) / seconds,
                    "best large": max(large.values()),
                    **{"x".join(map(str, shape)): speed for shape, speed in {**own, **large}.items()},
                },
                "flops_per_token": useful_flops(job.size, length=length, masked=masked, vocab_size=vocab_size),
            }
        )
