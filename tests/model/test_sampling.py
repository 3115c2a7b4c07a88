from __future__ import annotations

import pytest
import torch

from electra_cli.model.sampling import BLOCK, sample_ids


@pytest.mark.parametrize("vocabulary", [1, 7, BLOCK, BLOCK + 1, 3 * BLOCK - 5])
def test_inverse_of_the_cumulative_distribution(vocabulary: int) -> None:
    """Against numpy-style search in one cumulative sum over the whole row."""
    generator = torch.Generator().manual_seed(vocabulary)
    weights = torch.rand(64, vocabulary, generator=generator)
    weights[weights < 0.5] = 0
    weights[:, vocabulary // 2] = 1
    uniform = torch.rand(64, dtype=torch.float64, generator=generator)
    ends = weights.double().cumsum(-1)
    expected = torch.searchsorted(ends, (uniform * ends[:, -1])[:, None], right=True)[:, 0]
    assert torch.equal(sample_ids(weights, uniform), expected)


def test_never_draws_a_token_without_weight() -> None:
    """The extremes of the uniform number, where rounding would leave the row or hit the padding."""
    weights = torch.zeros(4, BLOCK + 3)
    weights[:, 5], weights[:, BLOCK + 1] = 0.3, 1e-30
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53, 1.0], dtype=torch.float64)
    drawn = sample_ids(weights, uniform)
    assert (weights.gather(1, drawn[:, None]) > 0).all()


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("vocabulary", [7, 192, 500])
def test_weights_that_are_not_finite_still_give_an_id_of_the_vocabulary(poison: float, vocabulary: int) -> None:
    weights = torch.ones(3, vocabulary)
    weights[0], weights[1, -1], weights[2, 0] = poison, poison, poison
    for uniform in (0.0, 0.5, 0.999):
        ids = sample_ids(weights, torch.full((3,), uniform, dtype=torch.float64))
        assert ((ids >= 0) & (ids < vocabulary)).all()
