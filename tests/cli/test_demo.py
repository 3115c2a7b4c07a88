"""The demo from end to end, with a few steps of pretraining; its figures are then not worth looking at."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from electra_cli.cli.demo import table
from electra_cli.data.docstrings import required_distributions


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not required_distributions("electra-cli"), reason="electra-cli is not installed")
def test_demo_runs_the_whole_line_and_is_up_to_date_afterwards(electra, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    short = ("demo", "--out", out, "--steps", 120, "--seeds", 1)
    first = electra(*short, timeout=850)
    assert first.returncode == 0, first.stderr
    commands = [line.split()[2] for line in first.stderr.splitlines() if line.startswith("$ electra ")]
    assert commands == ["tokenize", "shard", "pretrain", "finetune", "finetune", "export"]
    assert "discriminator AUC" in first.stdout and "from random weights" in first.stdout
    for artifact in ("tokenizer", "shards", "pretrained", "classifier", "from-scratch", "hf"):
        assert electra("verify", out / artifact).returncode == 0

    again = electra(*short, timeout=100)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("up to date") == 6
    assert _without_time(again.stdout) == _without_time(first.stdout)

    summary = json.loads(electra(*short, "--json", timeout=100).stdout)["summary"]
    assert len(summary["accuracy"]["pretrained"]) == len(summary["accuracy"]["random weights"]) == 1
    assert Path(summary["artifacts"]["export"]).is_dir() and os.listdir(summary["artifacts"]["export"])


def _without_time(page: str) -> str:
    return "\n".join(line for line in page.splitlines() if not line.startswith("took"))


def test_table_shows_what_was_measured() -> None:
    figures = {
        "steps": 1200,
        "pretraining": {
            "before": {"generator_accuracy": 0.001, "discriminator_auc": None},
            "after": {"generator_accuracy": 0.25, "discriminator_auc": 0.7},
        },
        "accuracy": {"pretrained": [0.7, 0.8, 0.9], "random weights": [0.5, 0.5, 0.5]},
        "majority": 0.2,
    }
    page = table(figures, {"tokenizer": Path("out/v1")}, labels=5, dev_rows=1000, seconds=12.3)
    rows = [line.split() for line in page.splitlines()]
    assert ["generator", "accuracy", "(masked", "tokens)", "0.001", "0.250"] in rows
    assert ["discriminator", "AUC", "(replaced", "tokens)", "-", "0.700"] in rows
    assert ["from", "pretrained", "0.800", "±", "0.100", "0.700", "0.800", "0.900"] in rows
    assert ["from", "random", "weights", "0.500", "±", "0.000", "0.500", "0.500", "0.500"] in rows
    assert ["always", "the", "most", "frequent", "package", "0.200"] in rows
