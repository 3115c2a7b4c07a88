from __future__ import annotations

import pytest
import torch

from electra_cli.training.metrics import (
    PairMeter,
    area_under_curve,
    embedding_figures,
    generator_counts,
    judgement_counts,
    window_figures,
)


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
    assert result["generator_top_share"] == pytest.approx(1 / 3)  # samples 7, 1, 9
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


def test_training_figures_are_those_of_the_meter() -> None:
    """The sums of two micro-batches, one padded, give what the held-out meter says of the same tokens."""
    dice, meter, sums = torch.Generator().manual_seed(3), PairMeter(), {}
    for lengths_B in (None, torch.tensor([5, 8, 2])):
        correct = torch.rand(12, generator=dice) < 0.4
        sample, target = torch.randint(0, 3, (2, 12), generator=dice)
        used = torch.rand(12, generator=dice) < 0.7
        logits = torch.randn(3, 8, generator=dice)
        counted = torch.arange(8)[None, :] < (torch.full((3,), 8) if lengths_B is None else lengths_B)[:, None]
        replaced = (torch.rand(3, 8, generator=dice) < 0.3) & counted
        slots = {"correct_P": correct, "sample_P": sample, "target_P": target, "used_P": used}
        counts = {"tokens": counted.sum(), "masked": used.sum(), "replaced": replaced.sum()}
        counts |= generator_counts(correct, sample, target_P=target, used_P=used)
        counts |= judgement_counts(logits, replaced, counted)
        sums = {name: sums.get(name, 0) + int(value) for name, value in counts.items()}
        labelled = {"logits_N": logits[counted], "labels_N": replaced[counted]}
        meter.add(nll_P=torch.zeros(12), **slots, **labelled, bce=torch.tensor(0.0))
    figures = window_figures({name: (float(value), 2) for name, value in sums.items()})
    expected = meter.result(generator_weight=1.0, discriminator_weight=50.0)
    assert figures.pop("masked_fraction") == expected["masked_tokens"] / expected["tokens"]
    assert len(figures) == 5
    assert figures == {name: pytest.approx(expected[name]) for name in figures}


def test_counting_needs_no_values_from_the_device() -> None:
    sample, target = torch.empty(2, 6, dtype=torch.int64, device="meta")
    flags = torch.empty(2, 6, dtype=torch.bool, device="meta")
    counts = generator_counts(flags[0], sample, target_P=target, used_P=flags[1])
    counts |= judgement_counts(torch.empty(2, 6, device="meta"), flags, flags)
    assert all(count.device.type == "meta" and count.shape == () for count in counts.values())


def test_what_is_not_finite_is_undefined() -> None:
    meter = PairMeter()
    one = torch.tensor([1])
    logits, labels = torch.tensor([float("nan"), 1.0]), torch.tensor([True, False])
    meter.add(
        nll_P=torch.tensor([float("inf")]),
        correct_P=torch.tensor([True]),
        sample_P=one,
        target_P=one,
        used_P=torch.tensor([True]),
        logits_N=logits,
        labels_N=labels,
        bce=torch.tensor(float("nan")),
    )
    result = meter.result(generator_weight=1.0, discriminator_weight=50.0)
    assert [result[name] for name in ("loss", "generator_loss", "discriminator_loss", "discriminator_auc")] == [
        None
    ] * 4


def test_embedding_figures_by_hand() -> None:
    """Rows (3, 4) and (3, -4): both of length 5, mean (3, 0), of whose 25 it holds 9."""
    assert embedding_figures(torch.tensor([[3.0, 4.0], [3.0, -4.0]])) == {
        "word_norm": pytest.approx(5.0),
        "word_common": pytest.approx(9 / 25),
    }
    same = embedding_figures(torch.ones(7, 3))
    assert same["word_common"] == pytest.approx(1.0)
    independent = embedding_figures(torch.randn(5000, 8, generator=torch.Generator().manual_seed(1)))
    assert independent["word_common"] == pytest.approx(1 / 5000, abs=3e-4)
