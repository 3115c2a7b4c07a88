"""The mean of a run's weights over its last part: flatter and better than the last weights alone.

Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (UAI 2018), with snapshots at a
fixed distance, as NeoBERT and others merge their last checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The running mean of a model's weights over snapshots; which steps are taken is a function of the step alone.

    Args:
        model: whose weights are averaged.
        every: steps between snapshots; the run's last step is one besides.
        start: the share of the run after which they begin.
        steps: steps in the run.
    """

    def __init__(self, model: nn.Module, *, every: int, start: float, steps: int) -> None:
        self.model, self.every, self.steps = model, every, steps
        self.first = max(1, math.ceil(start * steps))
        self.mean: dict[str, Tensor] = {}

    def snapshots(self, step: int) -> int:
        """How many snapshots have been taken once `step` steps are."""
        if step < self.first:
            return 0
        regular = step // self.every - (self.first - 1) // self.every
        return regular + (step == self.steps and step % self.every != 0)

    def after(self, step: int) -> None:
        """Take the weights into the mean if there is a snapshot after `step` steps."""
        count = self.snapshots(step)
        if count == self.snapshots(step - 1):
            return
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if count == 1:
                    self.mean[name] = parameter.detach().clone()
                else:
                    self.mean[name].lerp_(parameter.detach(), 1.0 / count)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back the `mean` of a checkpoint.

        Raises:
            KeyError: a tensor is missing; the key is its name.
            ValueError: a shape differs.
        """
        for name, parameter in self.model.named_parameters():
            if tensors[name].shape != parameter.shape:
                raise ValueError(f"{name}: shape {tuple(tensors[name].shape)}, wanted {tuple(parameter.shape)}")
            self.mean[name] = tensors[name].to(parameter.device)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the mean inside the block, its own weights afterwards."""
        parameters = dict(self.model.named_parameters())
        own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        try:
            _put(self.mean, parameters)
            yield
        finally:
            _put(own, parameters)


@torch.no_grad()
def _put(tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])
