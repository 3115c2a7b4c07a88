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

    def loss(batch: tuple[torch.Tensor, int], number: int) -> Losses:
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

    def loss(batch: torch.Tensor, number: int) -> Losses:
        return Losses(model(batch).sum(), {})

    optimizer = build_optimizer(model.named_parameters(), weight_decay=0.1)
    steps = train(
        model,
        optimizer,
        [[torch.full((1, 2), float("nan"))]],
        loss,
        schedule=lambda step: 1.0,
        clip=1.0,
        describe=lambda batches: "row 17",
    )
    with pytest.raises(DivergedError, match="row 17"):
        next(steps)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
