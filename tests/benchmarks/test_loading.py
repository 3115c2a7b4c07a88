"""A terabyte of shards opens at once; the loading benchmark's own parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import loading
from electra_cli.artifacts import open_artifact
from electra_cli.data.shards import ShardSet


@pytest.mark.slow
def test_a_terabyte_of_shards_opens_in_under_a_second_with_few_descriptors(tmp_path: Path) -> None:
    """20,000 sparse files, 64 descriptors allowed. CPU seconds: other work on the machine is not to decide."""
    folder = loading.terabyte(tmp_path / "shards", files=20_000)
    found = [loading.opened(folder) for _ in range(2)]
    assert min(run["cpu"] for run in found) < 1
    assert found[0]["descriptors"] < 10
    assert found[0]["rows"] * 260 == pytest.approx(1e12, rel=0.001)


def test_contestants_read_the_rows_that_were_written(tmp_path: Path) -> None:
    """Every contestant of ours, in a race of one round."""
    few = loading.random_shards(tmp_path / "few", rows=300, files=3, length=16)
    many = loading.random_shards(tmp_path / "many", rows=300, files=30, length=16)
    rows = ShardSet(few, "train")
    ids = rows.gather(np.arange(300)).ids_BL
    assert loading.check(rows, [], ids, size=8) == []
    assert loading.check(rows, [], ids[::-1], size=8) != []
    contestants = list(loading.our_contestants(few, many, size=8, batches=16))
    assert all(contestant.batch(3).shape == (8, 16) for contestant in contestants)
    rates = loading.race(contestants, rounds=1, tokens=8 * 16)
    lines = list(loading.rates_table(rates))
    assert len(lines) == 2 + len(contestants) and "electra: order, rows, tensors" in lines[2]


def test_the_made_artifact_is_one_of_ours(tmp_path: Path) -> None:
    folder = loading.terabyte(tmp_path / "shards", files=3, size=30_000)
    assert ShardSet(open_artifact(folder), "train").rows == 3 * (10_000 // 260)
