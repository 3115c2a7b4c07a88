"""The one training loop: pretraining and every finetuning task give it batches and a loss, and it yields steps.

The caller decides what to log, when to evaluate, save or stop; the loop takes optimizer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from electra_cli.errors import DivergedError
from electra_cli.training.optimizer import set_learning_rate

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Losses:
    """What a loss function returns for one micro-batch.

    Attributes:
        total: a scalar with a gradient, already divided by the counts of the whole step, so that micro-batches add up.
        parts: sums and counts worth logging, scalars without a gradient; the loop adds them over the micro-batches.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """One optimizer step that has been taken.

    Attributes:
        number: steps taken so far, this one counted.
        learning_rate: what this step used.
        loss: the step's loss, on the device.
        gradient_norm: global norm before clipping, on the device.
        parts: the sums that the loss function reported, on the device.
    """

    number: int
    learning_rate: float
    loss: Tensor
    gradient_norm: Tensor
    parts: Mapping[str, Tensor]


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Sequence[Batch]],
    loss_fn: Callable[[Batch, int], Losses],
    *,
    schedule: Callable[[int], float],
    clip: float,
    start_step: int = 0,
    describe: Callable[[Sequence[Batch]], str] = lambda _: "",
) -> Iterator[Step]:
    """Take one optimizer step per element of `batches` and yield it.

    Args:
        model: its parameters are updated in place.
        optimizer: from `build_optimizer`.
        batches: for each step, its micro-batches.
        loss_fn: (micro-batch, number of the micro-batch within the run) → Losses.
        schedule: steps already taken → learning rate.
        clip: largest global gradient norm; larger ones are scaled down to it.
        start_step: steps that were taken before (resume).
        describe: what to say of a step's data when its loss is not finite.

    Raises:
        DivergedError: loss or gradient is not finite; the weights are those of the step before.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    for step, micro_batches in enumerate(batches, start=start_step):
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches):
            losses = loss_fn(batch, step * len(micro_batches) + number)
            losses.total.backward()  # type: ignore[no-untyped-call]
            total = losses.total.detach() if total is None else total + losses.total.detach()
            for name, value in losses.parts.items():
                parts[name] = parts[name] + value if name in parts else value
        assert total is not None, "a step has at least one micro-batch"
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip, foreach=True)
        if not bool(torch.isfinite(norm) & torch.isfinite(total)):
            optimizer.zero_grad()
            raise DivergedError(
                f"step {step + 1}: loss {float(total)} and gradient norm {float(norm)} are not both finite; "
                "the weights were left as they were",
                code="NOT_FINITE",
                where=describe(micro_batches) or None,
                hint="lower the peak learning rate or lengthen the warm-up; the last checkpoint is intact",
            )
        rate = schedule(step)
        set_learning_rate(optimizer, rate)
        optimizer.step()
        optimizer.zero_grad()
        yield Step(step + 1, rate, total, norm, parts)
