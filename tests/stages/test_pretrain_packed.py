"""Pretraining on rows of several documents: every objective, exact resume, evaluation, a dry run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from electra_cli.artifacts import open_artifact
from electra_cli.config import resolve
from electra_cli.data.shards import ShardSet
from electra_cli.errors import ArtifactError, UsageError
from electra_cli.model.pretraining import Electra
from electra_cli.model.shape import EncoderShape
from electra_cli.reporting import Silent
from electra_cli.runtime.machine import choose_machine
from electra_cli.stages import evaluate_pretraining, pretrain, shard, tokenize
from electra_cli.stages.evaluate_pretraining import EvaluatePretrainingSettings
from electra_cli.stages.execution import prepare
from electra_cli.stages.masking_rule import masking_rule
from electra_cli.stages.pretrain_settings import ExecutionSettings
from electra_cli.stages.rows import MaskedRows
from electra_cli.stages.shard import ShardSettings
from electra_cli.training.history import read_history
from tests.stages.pretraining import small_settings, write_text
from tests.stages.test_objectives import KINDS, settings_of
from tests.stages.test_pretrain import At, PowerCut, cut, same


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="module")
def shards(folder: Path) -> Path:
    """Packed rows of 96, most with two or three documents in them."""
    text = write_text(folder / "text.txt", documents=150, seed=1)
    cut_up = text.read_text(encoding="utf-8").replace("\n", "\n\n").replace("\n\n\n\n", "\n\n")
    text.write_text(cut_up, encoding="utf-8")  # a document a line
    tokenizer = tokenize.run(
        [text], folder / "tokenizer", settings=tokenize.TokenizeSettings(vocab_size=60), report=Silent()
    )
    settings = resolve(
        ShardSettings, flags={"recipe": "packed", "length": 96, "val_fraction": 0.2, "workers": 1}
    ).settings
    made = shard.run([text], tokenizer.artifact.path, folder / "shards", settings=settings, report=Silent())
    return made.artifact.path


def packed_settings(kind: str = "electra"):  # type: ignore[no-untyped-def]
    settings = settings_of(kind) if kind in KINDS else small_settings(**{"optimizer.steps": 7, "evaluation.every": 7})
    model = settings.model.model_copy(update={"positions": 96})
    return settings.model_copy(update={"model": model})


@pytest.mark.parametrize("kind", ["electra", "mlm", "electra-15", "replace-mlm", "all-tokens-mlm", "electric"])
def test_every_objective_trains_and_is_measured(kind: str, shards: Path, tmp_path: Path) -> None:
    checkpoint = pretrain.run(shards, tmp_path / "out", settings=packed_settings(kind)).artifact
    assert checkpoint.spec["recipe"] == "packed"
    rows = checkpoint.manifest.config["evaluation"]["rows"]
    metrics = evaluate_pretraining.run(
        checkpoint.path, [shards], settings=EvaluatePretrainingSettings(rows=rows, batch_size=4)
    )
    assert metrics["loss"] == pytest.approx(checkpoint.spec["held_out"]["loss"], rel=1e-5)
    last = [line for line in read_history(checkpoint.file("metrics.jsonl")) if line["kind"] == "train"][-1]
    assert 0 < last["padding"] < 0.2
    assert last["tokens"] == pytest.approx(last["tokens_with_padding"] * (1 - last["padding"]))


def test_cut_short_and_continued_is_the_undisturbed_run(shards: Path, tmp_path: Path) -> None:
    settings = packed_settings()
    whole = pretrain.run(shards, tmp_path / "whole", settings=settings).artifact
    with pytest.raises(PowerCut):
        pretrain.run(shards, tmp_path / "out", settings=settings, report=At(5, cut))
    outcome = pretrain.run(shards, tmp_path / "out", settings=settings)
    assert outcome.status == "resumed"
    same(outcome.artifact, whole)


def test_fresh_text_is_packed_for_a_checkpoint_that_learnt_from_packed_rows(
    folder: Path, shards: Path, tmp_path: Path
) -> None:
    checkpoint = pretrain.run(shards, tmp_path / "out", settings=packed_settings()).artifact
    text = write_text(tmp_path / "fresh.txt", documents=20, seed=5)
    settings = resolve(
        ShardSettings, flags={"recipe": "packed", "length": 96, "val_fraction": 0.0, "workers": 1}
    ).settings
    made = shard.run([text], folder / "tokenizer", tmp_path / "shards", settings=settings, report=Silent())
    both = [
        evaluate_pretraining.run(checkpoint.path, [where], settings=EvaluatePretrainingSettings(batch_size=4))
        for where in (text, made.artifact.path)
    ]
    assert both[0] == both[1]


def test_packed_rows_are_mixed_with_packed_rows_only(folder: Path, shards: Path, tmp_path: Path) -> None:
    other = resolve(ShardSettings, flags={"recipe": "stream", "length": 96, "val_fraction": 0.2, "workers": 1}).settings
    made = shard.run([folder / "text.txt"], folder / "tokenizer", tmp_path / "s", settings=other, report=Silent())
    with pytest.raises(ArtifactError, match="piece starts") as refused:
        pretrain.run([shards, made.artifact.path], tmp_path / "out", settings=packed_settings())
    assert refused.value.code == "SHARDS_UNFIT"
    checkpoint = pretrain.run([shards, shards], tmp_path / "out", settings=packed_settings()).artifact
    assert checkpoint.spec["recipe"] == "packed" and len(checkpoint.spec["mixture"][0]) == 2


def test_batches_say_where_documents_begin(shards: Path) -> None:
    artifact = open_artifact(shards)
    rows = ShardSet(artifact, "train")
    machine = choose_machine("cpu", "fp32")
    rule = masking_rule(small_settings().objective, artifact, vocab_size=rows.vocab_size, machine=machine)
    batch, index_B = MaskedRows(rows, rule=rule, seed=1, machine=machine).batch(0, 16)
    assert batch.starts_BL is not None and int(batch.starts_BL.sum()) > 24
    assert torch.equal(batch.starts_BL, batch.ids_BL == artifact.spec["special_ids"]["cls"])
    assert torch.equal(batch.first_B, torch.from_numpy(rows.gather(index_B).lengths_B.astype(np.int64)))
    drawn = batch.ids_BL.gather(1, batch.positions_BP)[batch.used_BP]
    assert not set(drawn.tolist()) & {artifact.spec["special_ids"][name] for name in ("pad", "cls", "sep", "mask")}
    # the share is of the row's tokens, as in any other row (electra.md, "how many")
    assert batch.lengths_B is not None
    wanted = (batch.lengths_B * 0.15).round().clamp(1, rule.slots(96))
    assert torch.equal(batch.used_BP.sum(1), wanted.long())


def test_a_dry_run_counts_special_tokens_and_padding(shards: Path) -> None:
    found = pretrain.dry_run([shards], settings=packed_settings())
    spec = open_artifact(shards).spec["splits"]["train"]
    assert found["data"]["padding"] == pytest.approx(1 - spec["tokens"] / (spec["rows"] * 96))
    assert found["data"]["phases"][0]["rows"] == spec["rows"]


def test_flex_attention_is_for_gpus_and_without_dropout() -> None:
    with pytest.raises(UsageError, match="attention_dropout"):
        small_settings(**{"execution.attention": "flex"})
    assert small_settings(**{"execution.attention": "flex", "model.attention_dropout": 0.0})
    shape = EncoderShape(61, 16, 16, 1, 1, 32)
    with pytest.raises(UsageError) as refused:
        prepare(Electra(shape, shape), ExecutionSettings(attention="flex"), choose_machine("cpu", "fp32"))
    assert refused.value.where == "execution.attention"
