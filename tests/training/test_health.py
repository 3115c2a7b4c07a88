"""Each rule on either side of its threshold, with figures worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from electra_cli.training.health import RULES, Past, Plan, base_rate_auc, base_rate_loss, start_loss
from electra_cli.training.metrics import area_under_curve

START = start_loss(vocab_size=30_522, generator_weight=1.0, discriminator_weight=50.0)
PLAN = Plan(vocab_size=30_522, steps=1_000_000, warmup_steps=10_000, special_fraction=0.02, start_loss=START)
HEALTHY: dict[str, dict[str, Any]] = {
    "train": {
        "loss": 12.0,
        "gradient_norm": 2.0,
        "generator_loss": 5.0,
        "discriminator_loss": 0.30,
        "masked_fraction": 0.15,
        "replaced_fraction": 0.12,
        "generator_accuracy": 0.25,
        "generator_sampled_accuracy": 0.2,
        "discriminator_precision": 0.7,
        "discriminator_recall": 0.2,
    },
    "held-out": {
        "loss": 12.0,
        "generator_loss": 5.0,
        "generator_top_share": 0.1,
        "replaced_fraction": 0.12,
        "discriminator_auc": 0.8,
        "discriminator_precision": 0.7,
        "discriminator_recall": 0.2,
    },
    "embeddings": {"word_norm": 0.8, "word_common": 0.3},
}


def wrong(kind: str, *, step: int = 20_000, past: Past | None = None, plan: Plan = PLAN, **figures: Any) -> set[str]:
    """Codes of the rules that object to a healthy record with some figures changed."""
    record = {"step": step, "kind": kind, **HEALTHY[kind], **figures}
    past = past or started()
    return {rule.code for rule in RULES if rule.kind == kind and rule.check(plan, past, record)}


def started(*, windows: int = 0) -> Past:
    """What a run has shown: its embeddings at the start, and log lines with a loss of 11.9, 12.0, 12.1 in turn."""
    past = Past()
    past.add({"step": 0, "kind": "embeddings", "word_norm": 0.2, "word_common": 0.0})
    for number in range(windows):
        past.add({"step": number, "kind": "train", "loss": 11.9 + 0.1 * (number % 3), "gradient_norm": 2.0})
    return past


def test_nothing_is_wrong_with_a_run_that_learns() -> None:
    for kind in HEALTHY:
        for step in (1, 500, 10_000, 500_000):
            assert wrong(kind, step=step, past=started(windows=20)) == set()


@pytest.mark.parametrize(
    ("code", "kind", "figures", "fine"),
    [
        ("HELD_OUT_NOT_FINITE", "held-out", {"loss": None}, {}),
        # 44.98 * 1.11 = 49.93
        ("LOSS_ABOVE_START", "held-out", {"loss": 49.95}, {"loss": 49.9}),
        ("LOSS_ABOVE_START", "train", {"loss": 49.95}, {"loss": 49.9}),
        # ln 30,522 = 10.3262
        ("GENERATOR_NOT_LEARNING", "train", {"generator_loss": 10.33}, {"generator_loss": 10.32}),
        ("GENERATOR_NOT_LEARNING", "train", {"generator_accuracy": 0.0099}, {"generator_accuracy": 0.0101}),
        (
            "GENERATOR_TOO_GOOD",
            "train",
            {"generator_sampled_accuracy": 0.91},
            {"generator_sampled_accuracy": 0.89},
        ),
        ("GENERATOR_ONE_WORD", "held-out", {"generator_top_share": 0.51}, {"generator_top_share": 0.49}),
        # 0.5 + 0.5 * 0.02 / 0.88 + 0.03 = 0.5414
        ("DISCRIMINATOR_AT_CHANCE", "held-out", {"discriminator_auc": 0.541}, {"discriminator_auc": 0.542}),
        # base rate: 0.98 * H(0.12 / 0.98) = 0.36434; of it 0.99 are 0.36070, 1.05 are 0.38256
        (
            "DISCRIMINATOR_AT_BASE_RATE",
            "train",
            {"discriminator_loss": 0.3608, "discriminator_recall": 0.0},
            {"discriminator_loss": 0.3606, "discriminator_recall": 0.0},
        ),
        (
            "DISCRIMINATOR_AT_BASE_RATE",
            "train",
            {"discriminator_loss": 0.384},
            {"discriminator_loss": 0.382},
        ),
        ("EMBEDDINGS_GROW", "embeddings", {"word_norm": 2.01}, {"word_norm": 1.99}),
        ("EMBEDDINGS_ALIKE", "embeddings", {"word_common": 0.91}, {"word_common": 0.89}),
    ],
)
def test_on_either_side_of_a_threshold(code: str, kind: str, figures: dict[str, Any], fine: dict[str, Any]) -> None:
    assert wrong(kind, **figures) == {code}
    assert wrong(kind, **fine) == set()


@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        ("train", {"generator_accuracy": 0.0}),
        ("train", {"discriminator_loss": 0.5, "discriminator_recall": 0.0}),
        ("held-out", {"discriminator_auc": 0.5, "generator_top_share": 1.0}),
        ("embeddings", {"word_common": 1.0}),
    ],
)
def test_the_plateau_is_normal_until_the_warm_up_is_over(kind: str, figures: dict[str, Any]) -> None:
    assert wrong(kind, step=9_999, **figures) == set()
    assert wrong(kind, step=10_000, **figures)


@pytest.mark.parametrize(
    ("steps", "warmup", "settled"),
    [(1_000_000, 10_000, 10_000), (2_500, 100, 500), (200, 20, 500), (20_000, 0, 4_000), (100_000, 30_000, 30_000)],
)
def test_how_long_a_run_is_given(steps: int, warmup: int, settled: int) -> None:
    plan = Plan(vocab_size=100, steps=steps, warmup_steps=warmup, special_fraction=0.0, start_loss=1.0)
    assert plan.settled == settled


def test_finding_everything_at_once_is_suspicious_early_and_only_early() -> None:
    found = {"discriminator_recall": 0.96, "discriminator_precision": 0.96}
    assert wrong("train", step=300, **found) == {"DISCRIMINATOR_AT_ONCE"}
    assert wrong("train", step=300, discriminator_recall=0.96) == set()
    assert wrong("held-out", step=1_000, discriminator_auc=0.991) == {"DISCRIMINATOR_AT_ONCE"}
    assert wrong("held-out", step=1_001, discriminator_auc=0.991, **found) == set()


def test_a_spike_is_held_against_the_lines_before() -> None:
    """Median 12, a tenth of it 1.2; the median distance is 0.1, six robust deviations 0.89, so that 13.2 is the end."""
    past = started(windows=9)
    assert wrong("train", past=past, loss=13.25) == {"LOSS_SPIKE"}
    assert wrong("train", past=past, loss=13.15) == set()
    assert wrong("train", past=past, gradient_norm=8.1) == {"GRADIENT_SPIKE"}
    assert wrong("train", past=past, gradient_norm=7.9) == set()
    assert wrong("train", past=started(windows=7), loss=30.0, gradient_norm=100.0) == set()
    for number in range(9):  # a run that scatters by 3: six robust deviations are 26.7
        past.add({"step": number, "kind": "train", "loss": 12.0 + 3.0 * (number % 3 - 1), "gradient_norm": None})
    past.windows = type(past.windows)(list(past.windows)[-9:], maxlen=20)
    assert wrong("train", past=past, loss=38.0, gradient_norm=100.0) == set()
    assert wrong("train", past=past, loss=39.0) == {"LOSS_SPIKE"}


def test_one_bad_line_does_not_hide_the_next() -> None:
    past = started(windows=12)
    past.add({"step": 13, "kind": "train", "loss": 1e6, "gradient_norm": 1e6})
    assert wrong("train", past=past, loss=30.0, gradient_norm=9.0) == {"LOSS_SPIKE", "GRADIENT_SPIKE"}


def test_narrow_embeddings_may_grow_as_long_as_wide_ones() -> None:
    past = Past()
    past.add({"step": 0, "kind": "embeddings", "word_norm": 0.07, "word_common": 0.0})
    assert wrong("embeddings", past=past, word_norm=1.9) == set()
    assert wrong("embeddings", past=past, word_norm=2.1) == {"EMBEDDINGS_GROW"}


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_figure_is_nobodys_fault(missing: float | None) -> None:
    for kind, figures in HEALTHY.items():
        codes = wrong(kind, past=started(windows=20), **dict.fromkeys(figures, missing))
        assert codes == ({"HELD_OUT_NOT_FINITE"} if kind == "held-out" else set())


def test_the_base_rate_by_hand_and_by_measurement() -> None:
    """One token in four replaced costs ln 4 - 3/4 ln 3; ranking special tokens lowest is what the curve says it is."""
    assert base_rate_loss(0.25, 0.0) == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert base_rate_loss(0.2, 0.2) == pytest.approx(0.8 * base_rate_loss(0.25, 0.0))
    assert base_rate_loss(0.0, 0.1) == base_rate_loss(0.9, 0.1) == 0.0
    special, replaced = torch.arange(100) < 9, torch.arange(100) >= 87
    assert area_under_curve(-special.float(), replaced) == pytest.approx(base_rate_auc(0.13, 0.09))


def test_the_first_loss_is_the_papers() -> None:
    assert pytest.approx(44.98, abs=0.005) == START  # electra.md 4


def test_every_rule_can_be_told_from_the_others() -> None:
    assert len({(rule.code, rule.kind) for rule in RULES}) == len(RULES)
    assert all(rule.advice and rule.lines >= 1 for rule in RULES)


def test_other_objectives_are_not_held_to_electras_figures() -> None:
    lost = {"generator_loss": math.log(30_522)}
    assert wrong("train", **lost) == {"GENERATOR_NOT_LEARNING"}
    assert wrong("train", plan=replace(PLAN, generator_learns=False), **lost) == set()
    chance = {"discriminator_auc": 0.5}
    assert wrong("held-out", **chance) == {"DISCRIMINATOR_AT_CHANCE"}
    assert wrong("held-out", plan=replace(PLAN, judges=False), **chance) == set()
    assert wrong("held-out", plan=replace(PLAN, discriminator_from=15_000), **chance) == set()
    assert wrong("held-out", step=25_000, plan=replace(PLAN, discriminator_from=15_000), **chance) != set()


def test_a_loss_of_another_kind_is_no_spike() -> None:
    """Lines 0 to 19 before a change of phase, line 20 after it; eight lines later it counts again."""
    changed = replace(PLAN, changes=(19, 40))
    assert wrong("train", step=20, past=started(windows=20), loss=20.0) == {"LOSS_SPIKE"}
    assert wrong("train", step=20, plan=changed, past=started(windows=20), loss=20.0) == set()
    assert wrong("train", step=28, plan=changed, past=started(windows=28), loss=20.0) == {"LOSS_SPIKE"}
