"""A checkpoint measured again says what the run said, and fresh text is measured as its shards would be."""

from __future__ import annotations

from pathlib import Path

import pytest

from electra_cli.artifacts import Artifact
from electra_cli.errors import DataError, UsageError
from electra_cli.reporting import Silent
from electra_cli.stages import evaluate_pretraining, pretrain, shard
from electra_cli.stages.evaluate_pretraining import EvaluatePretrainingSettings
from tests.stages.pretraining import make_shards, small_settings, write_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    make_shards(folder)
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["own encoder", "shared encoder"])
def checkpoint(request: pytest.FixtureRequest, folder: Path) -> Artifact:
    size = {"generator.size": 1.0, "generator.shared_encoder": True} if request.param else {}
    out = folder / f"pretrained-{request.param}"
    return pretrain.run(folder / "shards", out, settings=small_settings(**size)).artifact


def test_held_out_shards_give_what_the_run_measured(checkpoint: Artifact, folder: Path) -> None:
    settings = EvaluatePretrainingSettings(rows=16, batch_size=4)
    assert (
        evaluate_pretraining.run(checkpoint.path, [folder / "shards"], settings=settings) == checkpoint.spec["held_out"]
    )


def test_fresh_text_gives_what_its_shards_give(checkpoint: Artifact, folder: Path, tmp_path: Path) -> None:
    text = write_text(tmp_path / "fresh.txt", documents=12, seed=5)
    rows = shard.ShardSettings(length=32, val_fraction=0.0, workers=1)
    shards = shard.run([text], folder / "tokenizer", tmp_path / "s", settings=rows, report=Silent()).artifact
    settings = EvaluatePretrainingSettings(rows=100, batch_size=8)
    of_text = evaluate_pretraining.run(checkpoint.path, [text], settings=settings)
    assert of_text == evaluate_pretraining.run(checkpoint.path, [shards.path], settings=settings)
    assert of_text["tokens"] == shards.spec["splits"]["train"]["tokens"]


def test_nothing_to_measure_on_is_said(checkpoint: Artifact, tmp_path: Path) -> None:
    settings = EvaluatePretrainingSettings()
    with pytest.raises(UsageError, match="needs held-out shards or text"):
        evaluate_pretraining.run(checkpoint.path, [], settings=settings)
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(DataError):
        evaluate_pretraining.run(checkpoint.path, [tmp_path / "empty.txt"], settings=settings)
