"""Rows that do not fit are found even when every hash does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from electra_cli.artifacts import Recipe, claim, open_artifact
from electra_cli.data.shards import shard_bytes
from electra_cli.reporting import Silent
from electra_cli.stages import verify
from tests.stages.pretraining import make_shards


def test_an_id_beyond_the_vocabulary_is_damage_though_hashed(tmp_path: Path) -> None:
    good = open_artifact(make_shards(tmp_path))
    assert [result.status for result in verify.run(good.path, fast=False, report=Silent())] == ["ok"]
    with claim(tmp_path / "bad", Recipe("shards", "forge", 1, {}, ()), report=Silent()) as held:
        assert held.draft is not None
        for record in good.manifest.files:
            data = good.file(record.path).read_bytes()
            if record.path == "train-000000-0000.arrow":
                ids = np.full((record.rows, good.spec["length"]), good.spec["vocab_size"])
                full = np.full(record.rows, good.spec["length"])
                data = shard_bytes(ids, full, full, vocab_size=good.spec["vocab_size"])
            with held.draft.create(record.path) as file:
                file.rows, file.tokens = record.rows, record.tokens
                file.write(data)
        held.draft.publish(spec=good.spec)
    assert [result.status for result in verify.run(tmp_path / "bad", fast=True, report=Silent())] == ["ok"]
    (result,) = verify.run(tmp_path / "bad", fast=False, report=Silent())
    assert result.status == "damaged" and "train-000000-0000" in str(result.problems[0].where)
