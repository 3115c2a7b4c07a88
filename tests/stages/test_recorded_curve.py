"""A thousand steps of the `tiny` preset give the curve that they gave when it was recorded.

The text is a toy language, in float32, so that the curve hardly depends on the machine: the same arithmetic in another
order moves single lines by parts of a per cent. A change of the method moves them by far more. To record it anew:

    python -m tests.stages.test_recorded_curve
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from electra_cli.config import resolve
from electra_cli.stages import pretrain
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.training.history import read_history
from tests.stages.pretraining import make_shards

RECORDED = Path(__file__).with_name("tiny_curve.json")
TRAIN = ("loss", "generator_loss", "discriminator_loss", "generator_accuracy", "replaced_fraction")
HELD_OUT = ("generator_loss", "discriminator_loss", "discriminator_auc", "generator_accuracy")


def curve(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Train, and return the figures of each line."""
    flags = {
        "optimizer.steps": 1000,
        "evaluation.every": 250,
        "evaluation.rows": 128,
        "checkpoints.every": 1000,
        "precision": "fp32",
        "device": "cpu",
    }
    settings = resolve(PretrainSettings, preset="tiny", flags=flags).settings
    artifact = pretrain.run(make_shards(folder, documents=600), folder / "out", settings=settings).artifact
    records = read_history(artifact.file("metrics.jsonl"))
    return {
        kind: [{name: record[name] for name in ("step", *names)} for record in records if record["kind"] == kind]
        for kind, names in (("train", TRAIN), ("held-out", HELD_OUT))
    }


@pytest.mark.slow
def test_a_thousand_steps_give_the_recorded_curve(tmp_path: Path) -> None:
    recorded, found = json.loads(RECORDED.read_bytes()), curve(tmp_path)
    assert [line["step"] for line in found["train"]] == list(range(100, 1001, 100))
    for kind, lines in recorded.items():
        for expected, line in zip(lines, found[kind], strict=True):
            assert line == {name: pytest.approx(value, rel=0.03, abs=0.005) for name, value in expected.items()}
    # and it is a curve of something learnt
    first, last = found["held-out"][0], found["held-out"][-1]
    assert last["generator_loss"] < first["generator_loss"] - 1 and last["discriminator_auc"] > 0.7


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        lines = curve(Path(name))
    RECORDED.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
