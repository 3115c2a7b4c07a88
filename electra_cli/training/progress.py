"""What a run remembers between steps, besides weights and moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from electra_cli.training.loop import Step


@dataclass
class Progress:
    """What changes while a run goes on, besides weights and moments; it is what `state.json` holds.

    Attributes:
        step: optimizer steps taken.
        window: sums of the logged figures since the last log line.
        window_steps: steps in `window`.
        best: the best checkpoint so far and its held-out loss.
        held_out: the last held-out metrics.
        before: the held-out metrics before the first step.
        averaged: the held-out metrics of the averaged weights, once the last step is taken.
        tokens: tokens read, padding not counted.
    """

    step: int = 0
    window: dict[str, float] | None = None
    window_steps: int = 0
    best: dict[str, Any] | None = None
    held_out: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    averaged: dict[str, Any] | None = None
    tokens: int = 0

    def add(self, step: Step) -> None:
        """Count one step's figures into the window."""
        self.step = step.number
        figures = {"loss": step.loss, "gradient_norm": step.gradient_norm, **step.parts}
        window = self.window or {}
        self.window = {name: window.get(name, 0.0) + float(value) for name, value in figures.items()}
        self.window_steps += 1

    def take_window(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: value / self.window_steps for name, value in (self.window or {}).items()}
        self.window, self.window_steps = None, 0
        return means
