"""A loss that is not finite stops the run before the update, and the message names the rows that did it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from electra_cli.artifacts import Artifact, Recipe, children, claim, open_artifact
from electra_cli.data.shards import ShardSet, shard_bytes, shard_name
from electra_cli.errors import DivergedError
from electra_cli.reporting import Silent
from electra_cli.runtime.signals import stop_flag
from electra_cli.stages.diverged import name_rows
from electra_cli.stages.pretrain_run import PretrainRun
from tests.stages.pretraining import make_shards, small_settings

LENGTH, ROWS = 32, 8


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two shards of eight rows; those of 9 and 13 have a second segment, and two steps read all sixteen."""
    made = open_artifact(make_shards(tmp_path_factory.mktemp("diverged")))
    dice = np.random.default_rng(1)
    special = made.spec["special_ids"]
    ids = dice.integers(max(special.values()) + 1, made.spec["vocab_size"], (2 * ROWS, LENGTH))
    ids[:, 0], ids[:, -1] = special["cls"], special["sep"]
    first, lengths = np.full(2 * ROWS, LENGTH), np.full(2 * ROWS, LENGTH)
    for row in (9, 13):
        ids[row, 10], first[row] = special["sep"], 11
    rows = {"rows": 2 * ROWS, "tokens": 2 * ROWS * LENGTH}
    with claim(made.path.parent.parent / "by-hand", Recipe("shards", "make", 1, {}, ()), report=Silent()) as found:
        assert found.draft is not None
        for record in made.manifest.files:
            if record.path.startswith("tokenizer/"):
                found.draft.write_bytes(record.path, made.file(record.path).read_bytes())
        for shard in range(2):
            part = slice(shard * ROWS, (shard + 1) * ROWS)
            data = shard_bytes(ids[part], lengths[part], first[part], vocab_size=made.spec["vocab_size"])
            with found.draft.create(shard_name("train", shard)) as file:
                file.write(data)
                file.rows, file.tokens = ROWS, ROWS * LENGTH
        return found.draft.publish(spec={**made.spec, "splits": {"train": rows, "val": {"rows": 0, "tokens": 0}}})


def run_of(source: Artifact, out: Path, poison: str, **flags: object) -> tuple[str, Path]:
    """What a run says whose parameter `poison` (its last row) has been made infinite, and its folder."""
    with claim(out, Recipe("checkpoint", "pretrain", 1, {}, ()), report=Silent(), growing=True) as found:
        assert found.draft is not None
        run = PretrainRun([source], found.draft, settings=small_settings(**flags), report=Silent())
        with torch.no_grad():
            run.model.get_parameter(poison)[-1] = torch.inf
        before = [parameter.detach().clone() for parameter in run.model.parameters()]
        with stop_flag() as stop, pytest.raises(DivergedError) as stopped:
            run.complete(stop)
        assert stopped.value.exit_code == 5
        after = run.model.parameters()
        assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
        return str(stopped.value), run.draft.path


@pytest.mark.parametrize("micro", [4, 16])
def test_rows_that_alone_are_not_finite_are_named_by_shard(micro: int, source: Artifact, tmp_path: Path) -> None:
    """Only rows with a second segment look at the last row of the segment table."""
    flags = {"optimizer.batch_size": 16, "optimizer.micro_batch": micro}
    said, folder = run_of(source, tmp_path / "out", "embeddings.segment", **flags)
    assert said.startswith("train-000001-0000.arrow rows 1, 5 (global 9, 13): step 1: ")
    assert children(folder / "checkpoints") == []


def test_a_weight_that_poisons_every_row_is_named(source: Artifact, tmp_path: Path) -> None:
    said, _ = run_of(source, tmp_path / "out", "embeddings.word", **{"optimizer.batch_size": 16})
    assert said.startswith(
        "embeddings.word not finite before the step; its rows: train-000000-0000.arrow rows 0, 1, 2, 3"
    )
    assert "train-000001-0000.arrow rows 0, 1, 2, 3, 4, 5, 6, 7 (global 8, 9, 10, 11, 12, 13, 14, 15)" in said


def test_a_finite_loss_names_all_rows_of_the_step(source: Artifact, tmp_path: Path) -> None:
    with claim(tmp_path / "out", Recipe("checkpoint", "pretrain", 1, {}, ()), report=Silent(), growing=True) as found:
        assert found.draft is not None
        run = PretrainRun([source], found.draft, settings=small_settings(), report=Silent())
        batches = next(run.phases.batches(3))
        rows = sorted(int(row) for batch in batches for row in batch.rows_B)
        expected = (
            f"each row's loss is finite without dropout; the step's rows: {name_rows(run.phases.rows[0].shards, rows)}"
        )
        assert run._describe(3) == expected


def test_many_rows_are_counted_not_listed(source: Artifact) -> None:
    shards = ShardSet(source, "train")
    assert name_rows(shards, [13]) == "train-000001-0000.arrow row 5 (global 13)"
    assert (
        name_rows(shards, [9, 2, 9])
        == "train-000000-0000.arrow row 2 (global 2); train-000001-0000.arrow row 1 (global 9)"
    )
    assert name_rows(shards, list(range(16))).endswith("14, 15)")
    more = ShardSet(open_artifact(source.path.parent.parent / "shards"), "train")
    assert name_rows(more, range(20)).endswith(" and 4 more")


@pytest.mark.parametrize("what", ["weight", "moment"])
def test_a_checkpoint_that_is_not_finite_is_never_written(what: str, source: Artifact, tmp_path: Path) -> None:
    with claim(tmp_path / "out", Recipe("checkpoint", "pretrain", 1, {}, ()), report=Silent(), growing=True) as found:
        assert found.draft is not None
        run = PretrainRun([source], found.draft, settings=small_settings(), report=Silent())
        run.progress.step = 1
        run.save()
        before = [path.name for path in children(run.checkpoints.folder)]
        parameter = run.model.generator_head.bias
        with torch.no_grad():
            (parameter if what == "weight" else run.optimizer.state[parameter]["exp_avg_sq"])[3] = torch.nan
        run.progress.step = 2
        with pytest.raises(DivergedError) as refused:
            run.save()
        assert refused.value.code == "NONFINITE_WEIGHTS"
        assert [path.name for path in children(run.checkpoints.folder)] == before == ["step-00000001"]
        newest = run.checkpoints.newest(report=Silent())
        assert newest is not None and newest.state["step"] == 1
