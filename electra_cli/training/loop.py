"""The one training loop: pretraining and every finetuning task give it batches and a loss, and it yields steps.

The caller decides what to log, when to evaluate, save or stop; the loop takes optimizer steps. On an accelerator
nothing is read back while steps are taken: losses and norms stay there, clipping happens inside the optimizer's kernel,
and a loss or gradient that is not finite switches the updates off on the device from that very step on, so that the
weights are those of the step before whenever somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from electra_cli.errors import DivergedError
from electra_cli.training.optimizer import set_learning_rate

Batch = TypeVar("Batch")

LOOK_EVERY = 32  # steps between looks at an accelerator's flag; on a CPU a look costs nothing


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
        ensure_finite: raises DivergedError if this step or one before it was not finite; to be called before
            anything is made of the weights (a log line, an evaluation, a checkpoint).
    """

    number: int
    learning_rate: float
    loss: Tensor
    gradient_norm: Tensor
    parts: Mapping[str, Tensor]
    ensure_finite: Callable[[], None] = field(default=lambda: None, repr=False)


class _Guard:
    """Remembers on the device which step was the first that was not finite."""

    def __init__(self, device: torch.device, describe: Callable[[int], str]) -> None:
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=device)
        self.loss = self.norm = torch.zeros((), device=device)
        self.describe = describe

    def update(self, step: int, loss: Tensor, norm: Tensor) -> Tensor:
        """Take note of a step; 1.0 where updates must not happen (any more), else 0.0."""
        healthy = self.first_bad < 0
        bad = healthy & ~(torch.isfinite(loss) & torch.isfinite(norm))
        self.first_bad = torch.where(bad, step, self.first_bad)
        self.loss, self.norm = torch.where(healthy, loss, self.loss), torch.where(healthy, norm, self.norm)
        return (self.first_bad >= 0).to(torch.float32)

    def ensure_finite(self) -> None:
        """Look at the flag (waits for the device) and raise if it is set."""
        step = int(self.first_bad)
        if step >= 0:
            raise DivergedError(
                f"step {step + 1}: loss {float(self.loss)} and gradient norm {float(self.norm)} are not both finite; "
                "the weights were left as they were",
                code="NOT_FINITE",
                where=self.describe(step) or None,
                hint="lower the peak learning rate or lengthen the warm-up; the last checkpoint is intact",
            )


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Sequence[Batch]],
    loss_fn: Callable[[Batch, int, int], Losses],
    *,
    schedule: Callable[[int], float],
    clip: float,
    start_step: int = 0,
    describe: Callable[[int], str] = lambda _: "",
    look_every: int | None = None,
) -> Iterator[Step]:
    """Take one optimizer step per element of `batches` and yield it.

    Args:
        model: its parameters are updated in place.
        optimizer: from `build_optimizer`.
        batches: for each step, its micro-batches.
        loss_fn: (micro-batch, steps already taken, number of the micro-batch within the step) → Losses.
        schedule: steps already taken → learning rate.
        clip: largest global gradient norm; larger ones are scaled down to it.
        start_step: steps that were taken before (resume).
        describe: steps already taken → what to say of the next step's data when its loss is not finite.
        look_every: steps between looks at whether all was finite; by default 1 on a CPU and 32 elsewhere.

    Raises:
        DivergedError: loss or gradient is not finite; the weights are those of the step before.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device
    guard = _Guard(device, describe)
    look_every = look_every or (1 if device.type == "cpu" else LOOK_EVERY)
    for step, micro_batches in enumerate(batches, start=start_step):
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches):
            losses = loss_fn(batch, step, number)
            losses.total.backward()  # type: ignore[no-untyped-call]
            total = losses.total.detach() if total is None else total + losses.total.detach()
            for name, value in losses.parts.items():
                parts[name] = parts[name] + value if name in parts else value
        assert total is not None, "a step has at least one micro-batch"
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=True)
        rate = schedule(step)
        set_learning_rate(optimizer, rate)
        # The fused kernel divides gradients by one and obeys the other, as it does for a gradient scaler.
        optimizer.grad_scale = (norm / clip).clamp(min=1.0)  # type: ignore[attr-defined]
        optimizer.found_inf = guard.update(step, total, norm)  # type: ignore[attr-defined]
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % look_every == 0:
            guard.ensure_finite()
        yield Step(step + 1, rate, total, norm, parts, guard.ensure_finite)
