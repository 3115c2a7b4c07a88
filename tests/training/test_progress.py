"""The window between two log lines: exact, resumable to the bit, and never read while a step is counted."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from electra_cli.training.loop import Step
from electra_cli.training.progress import Progress, Window


def steps(count: int, *, seed: int = 0) -> list[Step]:
    dice = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        loss, norm, nll = torch.randn(3, generator=dice).unbind()
        masked, correct = torch.randint(0, 9, (2,), generator=dice).unbind()
        parts = {"generator_loss": nll, "masked": masked, "generator_correct": correct}
        found.append(Step(number + 1, 0.1, loss, norm, parts))
    return found


def test_means_and_ratios_of_sums() -> None:
    progress = Progress()
    for loss, correct, masked in ((1.0, 1, 2), (2.0, 1, 8)):
        parts = {"generator_correct": torch.tensor(correct), "masked": torch.tensor(masked)}
        progress.add(Step(7, 0.1, torch.tensor(loss), torch.tensor(3.0), parts))
    figures = progress.take_window()
    # 2 of 10, not the mean 5/16 of 1/2 and 1/8
    assert figures == {"loss": 1.5, "gradient_norm": 3.0, "generator_accuracy": 0.2}
    assert progress.step == 7 and progress.take_window() == {}


@pytest.mark.parametrize("cut", range(8))
def test_resumed_anywhere_it_has_the_same_bits(cut: int) -> None:
    whole, first = Progress(), Progress()
    for step in steps(7):
        whole.add(step)
    for step in steps(7)[:cut]:
        first.add(step)
        first.state()  # looking changes nothing
    second = Progress.from_state(json.loads(json.dumps(first.state())))
    for step in steps(7)[cut:]:
        second.add(step)
    assert second.state() == whole.state()
    assert second.take_window() == whole.take_window()


def test_counts_stay_exact_beyond_what_float32_holds() -> None:
    window = Window()
    for _ in range(3):
        window.add({"tokens": torch.tensor(2**24 + 1), "loss": torch.tensor(0.5)})
    assert window.read() == {"loss": (1.5, 3), "tokens": (3 * (2**24 + 1), 3)}


def test_a_figure_that_comes_or_goes_is_averaged_over_its_own_steps() -> None:
    progress = Progress()
    one, two = torch.tensor(1.0), torch.tensor(2.0)
    progress.add(Step(1, 0.1, one, one, {"generator_loss": two}))
    progress.add(Step(2, 0.1, one, one, {"generator_loss": two, "discriminator_loss": two}))
    progress.add(Step(3, 0.1, one, one, {"discriminator_loss": one}))
    expected = {"loss": 1.0, "gradient_norm": 1.0, "generator_loss": 2.0, "discriminator_loss": 1.5}
    assert progress.take_window() == expected


def test_counting_a_step_reads_nothing_back() -> None:
    """Tensors on the meta device have no values: whoever asks for one gets an error."""
    value: Tensor = torch.empty((), device="meta")
    with pytest.raises((RuntimeError, NotImplementedError)):
        float(value)
    progress = Progress()
    for number in range(3):
        progress.add(Step(number + 1, 0.1, value, value, {"masked": torch.empty((), dtype=torch.int64, device="meta")}))
    assert progress.step == 3


def test_nothing_below_the_line_is_undefined() -> None:
    progress = Progress()
    zero = torch.tensor(0)
    progress.add(Step(1, 0.1, torch.tensor(1.0), torch.tensor(1.0), {"found": zero, "said": zero, "labelled": zero}))
    figures = progress.take_window()
    assert math.isnan(figures["discriminator_precision"]) and math.isnan(figures["discriminator_recall"])
