"""What a run remembers between steps, besides weights and moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from electra_cli.training.loop import Step
from electra_cli.training.metrics import window_figures


class Window:
    """Sums of the steps' figures since the last log line, kept on the device until somebody reads them.

    A step costs a few tiny additions and no wait for the device. Sums are float64 (float32 where the device has no
    float64), so that counts are exact, and reading does not change them: a resumed run goes on adding to the same bits.

    Args:
        saved: what `read` gave, name → (sum, steps).
    """

    def __init__(self, saved: Mapping[str, tuple[float, int]] | None = None) -> None:
        self._names = tuple(saved or ())
        self._steps = {name: int(steps) for name, (_, steps) in (saved or {}).items()}
        self._sums: Tensor | None = None
        if saved:
            self._sums = torch.tensor([value for value, _ in saved.values()], dtype=torch.float64)

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Count one step's figures, scalars on one device; steps need not all have the same ones."""
        names, values = _in_one(figures)
        if self._sums is None:
            self._names, self._sums = names, values
        elif names == self._names:
            self._sums = self._sums.to(values) + values
        else:
            sums = dict(zip(self._names, self._sums.to(values).unbind(), strict=True))
            for name, value in zip(names, values.unbind(), strict=True):
                sums[name] = sums[name] + value if name in sums else value
            self._names, self._sums = tuple(sums), torch.stack(list(sums.values()))
        for name in names:
            self._steps[name] = self._steps.get(name, 0) + 1

    def read(self) -> dict[str, tuple[float, int]]:
        """Each figure's sum and the number of steps in it; waits for the device once."""
        sums = [] if self._sums is None else self._sums.tolist()
        return {name: (value, self._steps[name]) for name, value in zip(self._names, sums, strict=True)}


def _in_one(figures: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Tensor]:
    """All figures as one vector: floats first, then counts, so that no count passes through float32."""
    kinds = (True, False)
    groups = [[name for name in figures if figures[name].is_floating_point() is kind] for kind in kinds]
    first = next(iter(figures.values()))
    wide = torch.float32 if first.device.type == "mps" else torch.float64
    pieces = [torch.stack([figures[name].detach() for name in group]).to(wide) for group in groups if group]
    return tuple(name for group in groups for name in group), torch.cat(pieces)


@dataclass
class Progress:
    """What changes while a run goes on, besides weights and moments; `state` is what `state.json` holds.

    Attributes:
        step: optimizer steps taken.
        window: sums of the logged figures since the last log line.
        best: the best checkpoint so far and its held-out loss.
        held_out: the last held-out metrics.
        before: the held-out metrics before the first step.
        averaged: the held-out metrics of the averaged weights, once the last step is taken.
        tokens: tokens read, padding not counted.
    """

    step: int = 0
    window: Window = field(default_factory=Window)
    best: dict[str, Any] | None = None
    held_out: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    averaged: dict[str, Any] | None = None
    tokens: int = 0

    def add(self, step: Step) -> None:
        """Count one step's figures into the window, without waiting for the device."""
        self.step = step.number
        self.window.add({"loss": step.loss, "gradient_norm": step.gradient_norm, **step.parts})

    def take_window(self) -> dict[str, float]:
        """The figures of the steps since the last call; see `window_figures`."""
        figures = window_figures(self.window.read())
        self.window = Window()
        return figures

    def state(self) -> dict[str, Any]:
        """Plain JSON values, exact to the bit."""
        return {**vars(self), "window": self.window.read()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What `state` described."""
        return cls(**{**state, "window": Window(state["window"])})
