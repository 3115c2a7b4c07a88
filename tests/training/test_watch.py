"""When and how often a run is told: once per onset, the same after a resume, and notes for what leaves its band."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from electra_cli.reporting import Silent
from electra_cli.training.bands import BANDS, bands_at, size_of
from electra_cli.training.health import RULES, Plan
from electra_cli.training.history import read_history
from electra_cli.training.metrics import RATIOS
from electra_cli.training.watch import Watch, WatchedHistory


def watch() -> Watch:
    plan = Plan(vocab_size=4_096, steps=100, warmup_steps=0, special_fraction=0.0, start_loss=20.0)
    return Watch(plan, size="tiny", tokens_per_step=2_000.0)


def line(step: int, **figures: Any) -> dict[str, Any]:
    return {"step": step, "kind": "train", "loss": 10.0, "gradient_norm": 1.0, **figures}


class Told(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_warning_comes_once_and_again_only_after_it_was_over() -> None:
    seen, told = watch(), []
    losses = [10.0, 30.0, 30.0, 10.0, 30.0, *[10.0] * 5, 30.0]
    for step, loss in enumerate(losses):
        told += [(step, finding.code) for finding in seen.see(line(step, loss=loss)) if finding.code != "LOSS_SPIKE"]
    assert told == [(1, "LOSS_ABOVE_START"), (10, "LOSS_ABOVE_START")]


def test_a_rule_of_three_lines_waits_for_three_in_a_row() -> None:
    seen, told = watch(), []
    for step, accuracy in enumerate([0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0], start=600):
        told += [(step, finding.code) for finding in seen.see(line(step, generator_accuracy=accuracy))]
    assert told == [(605, "GENERATOR_NOT_LEARNING")]


def records() -> list[dict[str, Any]]:
    found = [{"step": 0, "kind": "embeddings", "word_norm": 0.2, "word_common": 0.0}]
    found += [line(step, loss=10.0 + 0.1 * step, gradient_norm=50.0 if step in (11, 12) else 1.0) for step in range(15)]
    found += [line(step, loss=40.0 if step > 20 else 11.0, generator_accuracy=0.0) for step in range(15, 620, 5)]
    found += [{"step": 620, "kind": "held-out", "loss": 11.0, "discriminator_auc": 0.5, "replaced_fraction": 0.1}]
    return [*found, {"step": 620, "kind": "embeddings", "word_norm": 5.0, "word_common": 0.1}]


@pytest.mark.parametrize("cut", [0, 5, 11, 12, 25, 595, 600, 605, 619])
def test_a_resumed_run_says_what_an_undisturbed_one_says(cut: int, tmp_path: Path) -> None:
    whole = Told()
    history = WatchedHistory(tmp_path / "whole.jsonl", last_step=-1, watch=watch(), report=whole)
    for record in records():
        history.append(record)
    history.close()

    first, second = Told(), Told()
    history = WatchedHistory(tmp_path / "cut.jsonl", last_step=-1, watch=watch(), report=first)
    for record in records():
        if record["step"] <= cut + 4:  # what a run wrote after its last checkpoint is written again
            history.append(record)
    history.close()
    said = sum(record["kind"] == "warning" and record["step"] <= cut for record in read_history(history.path))
    history = WatchedHistory(tmp_path / "cut.jsonl", last_step=cut, watch=watch(), report=second)
    for record in records():
        if record["step"] > cut:
            history.append(record)
    history.close()
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert second.warnings == whole.warnings[said:]
    codes = [record["code"] for record in read_history(history.path) if record["kind"] == "warning"]
    assert codes == [
        "GRADIENT_SPIKE",
        "LOSS_ABOVE_START",
        "LOSS_SPIKE",
        "GENERATOR_NOT_LEARNING",
        "DISCRIMINATOR_AT_CHANCE",
        "EMBEDDINGS_GROW",
    ]


def test_what_is_told_is_what_is_recorded(tmp_path: Path) -> None:
    told = Told()
    history = WatchedHistory(tmp_path / "m.jsonl", last_step=-1, watch=watch(), report=told)
    history.append(line(1_200, loss=30.0))
    history.close()
    record = json.loads((tmp_path / "m.jsonl").read_text().splitlines()[1])
    assert {name: record[name] for name in ("step", "kind", "code")} == {
        "step": 1_200,
        "kind": "warning",
        "code": "LOSS_ABOVE_START",
    }
    assert told.warnings == [f"step 1,200: {record['message']}; {record['advice']} [LOSS_ABOVE_START]"]


def test_a_figure_outside_its_band_is_noted_once() -> None:
    seen, told = watch(), []
    for step, auc in ((400, 0.3), (600, 0.9), (700, 0.95), (800, 0.7), (900, 0.7), (1_000, 0.53)):
        record = {"step": step, "kind": "held-out", "loss": 10.0, "discriminator_auc": auc, "replaced_fraction": 0.1}
        told += [(step, finding.level, finding.message) for finding in seen.see(record)]
    assert [(step, level) for step, level, _ in told] == [(600, "note"), (1_000, "note")]
    assert "0.900 after 1,200,000 tokens; 0.54 to 0.8 is expected of a tiny model (benchmarks/README.md" in told[0][2]


def test_bands_hold_from_their_tokens_on() -> None:
    assert bands_at("tiny", 0.9e6) == () and bands_at("large", 1e12) == ()
    assert [band.metric for band in bands_at("tiny", 1.0e6)] == ["discriminator_auc"]
    figures = {*RATIOS, "discriminator_auc", "generator_loss", "discriminator_loss", "loss"}
    assert all(band.low < band.high and band.source and band.metric in figures for band in BANDS)


def test_the_guide_explains_every_code() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "pretrain.md").read_text("utf-8")
    codes = {rule.code for rule in RULES} | {"OUT_OF_BAND"}
    assert [code for code in sorted(codes) if f"`{code}`" not in guide] == []


def test_sizes_are_those_that_were_published() -> None:
    """Discriminators of electra.md 3.2, and the demo's and enwiki's tiny."""
    counts = {"tiny": [1_187_328, 4_600_000], "small": [13_483_008], "base": [108_891_648], "large": [334_092_288]}
    assert all(size_of(count) == size for size, found in counts.items() for count in found)
