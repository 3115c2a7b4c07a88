"""Pretraining as a whole: exact resume, retention, what is refused before any work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from electra_cli.artifacts import Artifact, children, open_artifact, verify
from electra_cli.errors import ArtifactError, Interrupted, UsageError
from electra_cli.reporting import Silent, SilentMeter
from electra_cli.stages import pretrain
from electra_cli.training.history import read_history
from tests.stages.pretraining import make_shards, small_settings


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("pretraining"))


@pytest.fixture(scope="session")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return pretrain.run(shards, tmp_path_factory.mktemp("undisturbed") / "out", settings=small_settings()).artifact


class At(Silent):
    """Does something when a given step of the training has been taken."""

    def __init__(self, step: int, action) -> None:
        self.step, self.action, self.warnings = step, action, []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    @contextmanager
    def progress(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[SilentMeter]:
        outer = self

        class Meter(SilentMeter):
            taken = done

            def advance(self, amount: int = 1) -> None:
                self.taken += amount
                if name == "pretraining" and self.taken == outer.step:
                    outer.action()

        yield Meter()


class PowerCut(BaseException):
    """Nobody catches this."""


def cut() -> None:
    raise PowerCut


def same(first: Artifact, second: Artifact) -> None:
    assert first.content_id == second.content_id
    for name in ("model.safetensors", "metrics.jsonl"):
        assert first.file(name).read_bytes() == second.file(name).read_bytes()


@pytest.mark.parametrize("step", [1, 3, 4, 6, 8, 12])
def test_cut_short_and_continued_is_bit_for_bit_the_undisturbed_run(
    step: int, shards: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(PowerCut):
        pretrain.run(shards, tmp_path / "out", settings=small_settings(), report=At(step, cut))
    outcome = pretrain.run(shards, tmp_path / "out", settings=small_settings())
    assert outcome.artifact.path == tmp_path / "out" / "v1"
    assert outcome.status == ("built" if step < 5 else "resumed")
    same(outcome.artifact, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_exits_resumable(
    number: signal.Signals, shards: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted) as stopped:
        pretrain.run(
            shards, tmp_path / "out", settings=small_settings(), report=At(7, lambda: os.kill(os.getpid(), number))
        )
    assert stopped.value.exit_code == 75
    assert "step 7" in str(stopped.value) and number.name in str(stopped.value)
    assert children(tmp_path / "out" / "v1" / "checkpoints")[-1].name == "step-00000007"
    same(pretrain.run(shards, tmp_path / "out", settings=small_settings()).artifact, undisturbed)


@pytest.mark.slow
def test_kill_9_of_the_real_command(electra, shards: Path, undisturbed: Artifact, tmp_path: Path) -> None:
    lines = [f"--set={key}" for key in _as_sets()]
    command = [sys.executable, "-m", "electra_cli", "pretrain", str(shards), "-o", str(tmp_path / "out"), *lines]
    environment = {**os.environ, "PYTHONPATH": str(Path(pretrain.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    for wanted in (1, 3):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        metrics = tmp_path / "out" / "v1" / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") > wanted):
            time.sleep(0.002)
        process.kill()
        process.wait()
    finished = electra("pretrain", shards, "-o", tmp_path / "out", "--json", *lines)
    assert finished.returncode == 0, finished.stderr
    found = open_artifact(json.loads(finished.stdout)["path"])
    same(found, undisturbed)


def _as_sets() -> list[str]:
    from electra_cli.config import flatten

    return [f"{k}={json.dumps(v)}" for k, v in flatten(small_settings().model_dump(mode="json")) if v is not None]


def test_up_to_date_without_torch(electra, shards: Path, undisturbed: Artifact) -> None:
    lines = [f"--set={key}" for key in _as_sets()]
    again = electra("pretrain", shards, "-o", undisturbed.path.parent, "--json", *lines)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["status"] == "up to date"
    code = (
        "import sys; from electra_cli.cli.main import main; main(sys.argv[1:]); "
        "assert not {'torch', 'pyarrow', 'tokenizers', 'numpy'} & set(sys.modules)"
    )
    arguments = ["pretrain", str(shards), "-o", str(undisturbed.path.parent), *lines]
    environment = {**os.environ, "PYTHONPATH": str(Path(pretrain.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment, capture_output=True)


def test_metrics_have_no_gap_and_no_duplicate(undisturbed: Artifact) -> None:
    records = read_history(undisturbed.file("metrics.jsonl"))
    assert [r["step"] for r in records if r["kind"] == "train"] == [3, 6, 9, 12]
    assert [r["step"] for r in records if r["kind"] == "held-out"] == [0, 5, 10, 12]
    assert all(r["masked_fraction"] == pytest.approx(0.15, abs=0.03) for r in records if r["kind"] == "train")
    assert undisturbed.spec["held_out_before"]["generator_loss"] == records[0]["generator_loss"]


def test_retention_keeps_the_newest_and_the_best(undisturbed: Artifact) -> None:
    kept = [path.name for path in children(undisturbed.path / "checkpoints")]
    assert kept[-1] == "step-00000012" and undisturbed.spec["best"]["checkpoint"] in kept
    assert len(kept) <= 3
    assert all(result.status == "ok" for result in verify(undisturbed.path))
    records = [r for r in read_history(undisturbed.file("metrics.jsonl")) if r["kind"] == "held-out" and r["step"]]
    assert undisturbed.spec["best"]["step"] == min(records, key=lambda r: r["loss"])["step"]


def test_cadence_of_checkpoints_does_not_shape_the_result(shards: Path, undisturbed: Artifact, tmp_path: Path) -> None:
    settings = small_settings(**{"checkpoints.every": 100, "checkpoints.keep": 1})
    same(pretrain.run(shards, tmp_path / "out", settings=settings).artifact, undisturbed)


def test_other_settings_make_another_version_and_leave_an_interrupted_run_alone(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(PowerCut):
        pretrain.run(shards, tmp_path / "out", settings=small_settings(), report=At(9, cut))
    other = pretrain.run(shards, tmp_path / "out", settings=small_settings(seed=2))
    assert other.artifact.path.name == "v2"
    assert children(tmp_path / "out" / "v1" / "checkpoints")


def test_a_damaged_checkpoint_is_passed_over_and_all_damaged_is_an_error(
    shards: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(PowerCut):
        pretrain.run(shards, tmp_path / "out", settings=small_settings(), report=At(11, cut))
    found = children(tmp_path / "out" / "v1" / "checkpoints")
    flip(found[-1] / "optimizer.safetensors")
    report = At(-1, cut)
    same(pretrain.run(shards, tmp_path / "out", settings=small_settings(), report=report).artifact, undisturbed)
    assert any(found[-1].name in warning for warning in report.warnings)

    with pytest.raises(PowerCut):
        pretrain.run(shards, tmp_path / "other", settings=small_settings(), report=At(11, cut))
    for checkpoint in children(tmp_path / "other" / "v1" / "checkpoints"):
        flip(checkpoint / "model.safetensors")
    with pytest.raises(ArtifactError) as error:
        pretrain.run(shards, tmp_path / "other", settings=small_settings())
    assert error.value.code == "NO_GOOD_CHECKPOINT"


def test_a_flipped_bit_in_a_shard_is_found(shards: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(shards, tmp_path / "shards")
    flip(copy / "train-000000-0000.arrow")
    with pytest.raises(ArtifactError) as error:
        pretrain.run(copy, tmp_path / "out", settings=small_settings())
    assert error.value.code == "HASH_MISMATCH"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"optimizer.warmup_steps": 13}, "warmup_steps 13 is more than steps 12"),
        ({"optimizer.micro_batch": 3}, "does not divide"),
        ({"model.heads": 5}, "not a multiple"),
        ({"model.positions": 16}, "rows have 32 tokens"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    flags: dict[str, object], words: str, shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        pretrain.run(shards, tmp_path / "out", settings=small_settings(**flags))


@pytest.mark.slow
def test_it_learns_the_toy_language(shards: Path, tmp_path: Path) -> None:
    """Both networks leave what guessing gives: ln 60 = 4.1 for the generator, an AUC of 0.5 for the discriminator."""
    fast = {"optimizer.steps": 200, "optimizer.batch_size": 32, "optimizer.micro_batch": 32, "optimizer.beta2": 0.98}
    still = {"model.dropout": 0.0, "model.attention_dropout": 0.0, "model.start": "mimetic"}
    often = {"evaluation.every": 200, "evaluation.rows": 64, "checkpoints.every": 200, "log_every": 50}
    settings = small_settings(**fast, **still, **often, **{"optimizer.learning_rate": 3e-3})
    held_out = pretrain.run(shards, tmp_path / "out", settings=settings).artifact.spec["held_out"]
    assert held_out["generator_loss"] < 3.2
    assert held_out["discriminator_auc"] > 0.55


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_refused_run_leaves_no_version_behind(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        pretrain.run(shards, tmp_path / "out", settings=small_settings(**{"model.heads": 5}))
    with pytest.raises(PowerCut):
        pretrain.run(shards, tmp_path / "out", settings=small_settings(seed=3), report=At(1, cut))
    assert pretrain.run(shards, tmp_path / "out", settings=small_settings(seed=4)).artifact.path.name == "v1"
