from __future__ import annotations

import math
from pathlib import Path

from electra_cli.training.history import History, read_history


def test_resume_drops_the_torn_line_and_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = History(path, last_step=0)
    for step in (10, 20, 30):
        first.append({"step": step, "loss": step / 7})
    first.close()
    undisturbed = path.read_bytes()
    path.write_bytes(undisturbed + b'{"step": 40, "lo')
    again = History(path, last_step=20)
    again.append({"step": 30, "loss": 30 / 7})
    again.close()
    assert path.read_bytes() == undisturbed


def test_values_that_are_not_finite_become_null(tmp_path: Path) -> None:
    history = History(tmp_path / "m.jsonl", last_step=0)
    history.append({"step": 1, "loss": math.nan, "auc": math.inf})
    history.close()
    assert read_history(tmp_path / "m.jsonl") == [{"step": 1, "loss": None, "auc": None}]
