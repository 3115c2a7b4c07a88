"""Real runs that go wrong: they are told while they run, and a resumed one is told the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from electra_cli.reporting import Silent
from electra_cli.stages import pretrain
from electra_cli.training.history import read_history
from tests.stages.pretraining import make_shards, small_settings
from tests.stages.test_pretrain import At, PowerCut, cut, same

# A rate that is a thousand times too high: the loss is finite, and far above that of knowing nothing.
WILD = {"optimizer.learning_rate": 3.0, "optimizer.steps": 14, "optimizer.warmup_steps": 12, "log_every": 1}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("health"))


@pytest.fixture(scope="module")
def wild(shards: Path, tmp_path_factory: pytest.TempPathFactory):
    report = At(-1, cut)
    out = tmp_path_factory.mktemp("wild") / "out"
    return pretrain.run(shards, out, settings=small_settings(**WILD), report=report).artifact, report.warnings


def told(path: Path) -> list[tuple[int, str]]:
    return [(record["step"], record["code"]) for record in read_history(path) if record["kind"] == "warning"]


def test_a_run_that_diverges_is_told_in_time(wild) -> None:
    artifact, warnings = wild
    found = told(artifact.file("metrics.jsonl"))
    assert len(found) == len(warnings) == len({*found})
    first = {code: step for step, code in reversed(found)}
    assert first["LOSS_ABOVE_START"] <= 4 and first["EMBEDDINGS_GROW"] == 5
    assert all(f"step {step}: " in line and code in line for (step, code), line in zip(found, warnings, strict=True))


@pytest.mark.parametrize("step", [2, 5, 7, 9, 13])
def test_a_resumed_run_is_told_the_same(step: int, wild, shards: Path, tmp_path: Path) -> None:
    """Checkpoints are at 4, 8 and 12; warnings lie before, between and after them."""
    artifact, warnings = wild
    with pytest.raises(PowerCut):
        pretrain.run(shards, tmp_path / "out", settings=small_settings(**WILD), report=At(step, cut))
    again = At(-1, cut)
    resumed = pretrain.run(shards, tmp_path / "out", settings=small_settings(**WILD), report=again).artifact
    same(resumed, artifact)
    assert warnings[len(warnings) - len(again.warnings) :] == again.warnings


def test_a_line_has_the_figures_of_both_networks(wild) -> None:
    artifact, _ = wild
    lines = [record for record in read_history(artifact.file("metrics.jsonl")) if record["kind"] == "train"]
    names = ("masked_fraction", "replaced_fraction", "generator_accuracy", "generator_sampled_accuracy")
    for line in lines:
        assert all(0 <= line[name] <= 1 for name in names) and "discriminator_recall" in line
        assert "found" not in line and "masked" not in line
        wrong = 1 - line["generator_sampled_accuracy"]
        assert line["replaced_fraction"] == pytest.approx(line["masked_fraction"] * wrong)


@pytest.mark.slow
def test_a_discriminator_that_is_not_trained_is_found_out(shards: Path, tmp_path: Path) -> None:
    """With a weight of 0 it stays at chance; both the training figures and the held-out ones say so, once each."""
    flags = {"objective.discriminator_weight": 0.0, "optimizer.batch_size": 4, "optimizer.steps": 560}
    rare = {"evaluation.every": 250, "checkpoints.every": 600, "log_every": 20, "optimizer.micro_batch": 4}
    small = {"model.layers": 1, "model.dropout": 0.0, "model.attention_dropout": 0.0}
    settings = small_settings(**flags, **rare, **small)
    artifact = pretrain.run(shards, tmp_path / "out", settings=settings, report=Silent()).artifact
    found = [(step, code) for step, code in told(artifact.file("metrics.jsonl")) if code.startswith("DISCRIMINATOR")]
    assert found == [(500, "DISCRIMINATOR_AT_CHANCE"), (540, "DISCRIMINATOR_AT_BASE_RATE")]
