from __future__ import annotations

import pytest
import torch

from electra_cli.training.metrics import PairMeter, area_under_curve


@pytest.mark.parametrize("levels", [2, 7, 10_000])
def test_area_under_curve_equals_scikit_learn(levels: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(levels)
    labels = torch.rand(3000, generator=generator) < 0.1
    scores = torch.randint(0, levels, (3000,), generator=generator).float() + labels * levels / 3
    assert area_under_curve(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_one_class_has_no_area() -> None:
    assert area_under_curve(torch.randn(5), torch.zeros(5, dtype=torch.bool)) is None


def test_meter_by_hand() -> None:
    """Two batches of two slots and three tokens; the second slot of the first batch is not used."""
    meter = PairMeter()
    meter.add(
        nll_P=torch.tensor([2.0, 9.0]),
        correct_P=torch.tensor([True, True]),
        sample_P=torch.tensor([7, 6]),
        target_P=torch.tensor([5, 6]),
        used_P=torch.tensor([True, False]),
        logits_N=torch.tensor([1.0, -1.0, 2.0]),
        labels_N=torch.tensor([True, False, False]),
        bce=torch.tensor(1.5),
    )
    meter.add(
        nll_P=torch.tensor([1.0, 3.0]),
        correct_P=torch.tensor([True, False]),
        sample_P=torch.tensor([1, 9]),
        target_P=torch.tensor([1, 3]),
        used_P=torch.tensor([True, True]),
        logits_N=torch.tensor([-1.0, -3.0, -2.0]),
        labels_N=torch.tensor([True, False, False]),
        bce=torch.tensor(4.5),
    )
    result = meter.result(generator_weight=1.0, discriminator_weight=50.0)
    assert result["generator_loss"] == pytest.approx(2.0)
    assert result["generator_accuracy"] == pytest.approx(2 / 3)
    assert result["generator_sampled_accuracy"] == pytest.approx(1 / 3)
    assert result["discriminator_loss"] == pytest.approx(1.0)
    assert result["discriminator_accuracy"] == pytest.approx(4 / 6)
    assert result["discriminator_precision"] == pytest.approx(1 / 2)
    assert result["discriminator_recall"] == pytest.approx(1 / 2)
    assert result["discriminator_auc"] == pytest.approx(
        (3 + 2.5) / 8
    )  # pairs won: logit 1 beats 3 of 4; -1 ties one, beats 2
    assert result["replaced_fraction"] == pytest.approx(2 / 6)
    assert result["loss"] == pytest.approx(52.0)
    assert (result["tokens"], result["masked_tokens"]) == (6, 3)
