from __future__ import annotations

import pytest
import torch
from torch import nn

from electra_cli.errors import DivergedError
from electra_cli.training.loop import Losses, train
from electra_cli.training.optimizer import build_optimizer


def regression(rows: torch.Tensor, micro: int) -> tuple[nn.Linear, list[list[tuple[torch.Tensor, int]]]]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    return model, [[(piece, len(rows)) for piece in rows.split(micro)]] * 4


def run(micro: int) -> list[float]:
    rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(2))
    model, batches = regression(rows, micro)

    def loss(batch: tuple[torch.Tensor, int], step: int, number: int) -> Losses:
        piece, count = batch
        total = ((model(piece) - piece.sum(1, keepdim=True)) ** 2).sum() / count
        return Losses(total, {"rows": torch.tensor(float(len(piece)))})

    optimizer = build_optimizer(model.named_parameters(), weight_decay=0.0)
    steps = list(train(model, optimizer, batches, loss, schedule=lambda step: 0.05, clip=1.0))
    assert [step.number for step in steps] == [1, 2, 3, 4]
    assert all(float(step.parts["rows"]) == 8 for step in steps)
    return [float(step.loss) for step in steps] + model.weight.flatten().tolist()


def test_accumulated_micro_batches_equal_one_batch() -> None:
    assert run(8) == pytest.approx(run(2), rel=1e-5)


def test_a_loss_that_is_not_finite_leaves_the_weights_alone() -> None:
    model = nn.Linear(2, 1)
    before = [p.detach().clone() for p in model.parameters()]

    def loss(batch: torch.Tensor, step: int, number: int) -> Losses:
        return Losses(model(batch).sum(), {})

    optimizer = build_optimizer(model.named_parameters(), weight_decay=0.1)
    steps = train(
        model,
        optimizer,
        [[torch.full((1, 2), float("nan"))]],
        loss,
        schedule=lambda step: 1.0,
        clip=1.0,
        describe=lambda step: "row 17",
    )
    with pytest.raises(DivergedError, match="row 17"):
        next(steps)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_updates_stop_on_the_device_from_the_step_that_is_not_finite_on() -> None:
    """Looking every fourth step only, as on an accelerator: the weights are those after step 1, the message says 2."""
    model = nn.Linear(2, 1)
    rows = [[torch.ones(1, 2)], [torch.full((1, 2), torch.inf)], [torch.ones(1, 2)], [torch.ones(1, 2)]]
    weights = []

    def loss(batch: torch.Tensor, step: int, number: int) -> Losses:
        weights.append([p.detach().clone() for p in model.parameters()])
        return Losses(model(batch).sum(), {})

    optimizer = build_optimizer(model.named_parameters(), weight_decay=0.1)
    told = []
    steps = train(
        model,
        optimizer,
        rows,
        loss,
        schedule=lambda step: 0.5,
        clip=1.0,
        describe=lambda step: told.append(step) or "here",  # type: ignore[func-returns-value]
        look_every=4,
    )
    _, second, _ = (next(steps) for _ in range(3))
    before, after = weights[0], weights[1]
    assert not torch.equal(before[0], after[0])
    with pytest.raises(DivergedError, match=r"step 2: loss -?inf"):
        next(steps)
    assert told == [1]
    with pytest.raises(DivergedError, match="step 2"):
        second.ensure_finite()
    assert all(torch.equal(kept, now) for kept, now in zip(after, model.parameters(), strict=True))


def test_gradients_are_clipped_as_tensorflow_clips_them() -> None:
    """One step of uncorrected Adam from zero moments by hand: m = .1 g, v = .001 g², g = 5 / |g| * (3, 4) * 2."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = build_optimizer(model.named_parameters(), weight_decay=0.0)
    steps = train(
        model,
        optimizer,
        [[torch.tensor([[6.0, 8.0]])]],
        lambda batch, step, number: Losses(model(batch).sum(), {}),
        schedule=lambda step: 0.1,
        clip=5.0,
    )
    assert float(next(steps).gradient_norm) == pytest.approx(10.0)
    expected = [-0.1 * 0.1 * g / ((0.001 * g * g) ** 0.5 + 1e-6) for g in (3.0, 4.0)]
    assert model.weight[0].tolist() == pytest.approx(expected, rel=1e-5)
    moments = optimizer.state[model.weight]["exp_avg"][0].tolist()
    assert moments == pytest.approx([0.3, 0.4], rel=1e-5)
