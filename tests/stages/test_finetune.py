"""`electra finetune`: what it learns, what it refuses before it learns, and that the same command gives the same."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from electra_cli.artifacts import Recipe, claim, open_artifact, verify
from electra_cli.config import resolve
from electra_cli.errors import ArtifactError, DataError, Interrupted, UsageError
from electra_cli.reporting import Silent
from electra_cli.stages.classifier_training import median_run
from electra_cli.stages.finetune import FinetuneSettings, run_classify, run_glue, with_defaults
from electra_cli.tasks.glue import GLUE

FAST = {"epochs": 1, "batch_size": 64, "precision": "fp32", "device": "cpu"}


def settings(**changes):
    return FinetuneSettings(**{**FAST, **changes})


def classify(checkpoint, toy, out, *, report=None, dev="dev.tsv", columns=None, **changes):
    return run_classify(
        checkpoint,
        toy / "train.tsv",
        out,
        dev=toy / dev if dev else None,
        settings=settings(**changes),
        report=report,
        **(columns or {}),
    )


def metrics_of(outcome):
    return json.loads(outcome.artifact.file("metrics.json").read_text())


def table(folder, name, rows, header=("text", "label")):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("\n".join("\t".join(row) for row in (header, *rows)) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finetuned(tmp_path_factory, checkpoint, toy):
    """One run that has to learn something: 8 epochs of the toy task."""
    out = tmp_path_factory.mktemp("finetuned") / "out"
    return classify(checkpoint, toy, out, epochs=8, batch_size=16, learning_rate=2e-3)


def test_a_learnable_task_is_learnt(finetuned):
    metrics = metrics_of(finetuned)
    assert metrics["majority"]["accuracy"] < 0.65
    assert metrics["held_out"]["dev"]["accuracy"] > 0.95
    losses = [epoch["training_loss"] for epoch in metrics["runs"][0]["epochs"]]
    assert len(losses) == 8
    assert losses[-1] < 0.3 < losses[0]
    assert metrics["rows"] == {"train": 256, "dev": 64}
    assert finetuned.summary["accuracy"] == metrics["held_out"]["dev"]["accuracy"]
    assert finetuned.summary["majority.accuracy"] == metrics["majority"]["accuracy"]
    assert (finetuned.summary["train_rows"], finetuned.summary["dev_rows"]) == (256, 64)


def test_the_artifact_is_what_exporters_and_readers_expect(finetuned, checkpoint):
    artifact = open_artifact(finetuned.artifact.path, kinds=("model",))
    task = artifact.spec["task"]
    assert (task["name"], task["type"], task["labels"]) == ("classify", "single_label", ["bad", "good"])
    assert (task["text_columns"], task["label_column"], task["max_length"]) == (["text"], "label", 64)
    assert artifact.spec["architecture"]["hidden_size"] == 32
    tensors = load_file(artifact.file("model.safetensors"))
    assert tensors["classifier.out_proj.weight"].shape == (2, 32)
    assert "electra.embeddings.word_embeddings.weight" in tensors
    source = open_artifact(checkpoint)
    for record in source.manifest.files:
        if record.path.startswith("tokenizer/"):
            assert artifact.file(record.path).read_bytes() == source.file(record.path).read_bytes()
    assert {item.role: item.kind for item in artifact.manifest.inputs} == {
        "checkpoint": "checkpoint",
        "train": "text",
        "dev": "text",
    }
    assert all(result.status == "ok" for result in verify(finetuned.artifact.path))
    assert {path.name for path in artifact.path.iterdir()} == {
        "manifest.json",
        "metrics.json",
        "model.safetensors",
        "tokenizer",
    }


def test_the_same_run_gives_the_same_content_and_another_seed_another(tmp_path, checkpoint, toy):
    first, again, other = (
        classify(checkpoint, toy, tmp_path / name, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first.artifact.content_id == again.artifact.content_id
    assert first.artifact.content_id != other.artifact.content_id


def test_run_again_it_is_up_to_date_without_torch(tmp_path, checkpoint, toy):
    first = classify(checkpoint, toy, tmp_path / "out")
    code = (
        "import sys, pathlib\n"
        "from electra_cli.stages.finetune import FinetuneSettings, run_classify\n"
        "checkpoint, toy, out = map(pathlib.Path, sys.argv[1:])\n"
        f"settings = FinetuneSettings(**{FAST!r}, learning_rate=3e-4)\n"
        "outcome = run_classify(checkpoint, toy / 'train.tsv', out, dev=toy / 'dev.tsv', settings=settings)\n"
        "heavy = {'torch', 'tokenizers', 'pyarrow', 'transformers'} & set(sys.modules)\n"
        "print(outcome.status, outcome.artifact.content_id, sorted(heavy))\n"
    )
    arguments = [sys.executable, "-c", code, checkpoint, toy, tmp_path / "out"]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert said == f"up to date {first.artifact.content_id} []\n"


def test_random_weights_differ_from_pretrained_ones_only_in_the_weights(tmp_path, checkpoint, toy):
    outcome = classify(checkpoint, toy, tmp_path / "out", init="random", learning_rate=1e-12)
    weights = load_file(outcome.artifact.file("model.safetensors"))
    source = load_file(open_artifact(checkpoint).file("model.safetensors"))
    name = "electra.encoder.layer.0.attention.self.query.weight"
    assert not torch.allclose(weights[name], source[f"discriminator.{name}"], atol=1e-3)
    kept = classify(checkpoint, toy, tmp_path / "kept", learning_rate=1e-12)
    weights = load_file(kept.artifact.file("model.safetensors"))
    torch.testing.assert_close(weights[name], source[f"discriminator.{name}"])


@pytest.mark.parametrize("seeds", [1, 2])
def test_interrupted_and_continued_it_gives_what_an_undisturbed_run_gives(tmp_path, checkpoint, toy, seeds):
    whole = classify(checkpoint, toy, tmp_path / "whole", epochs=2, seeds=seeds)

    class Impatient(Silent):
        steps = 0
        said = ""

        def note(self, message):
            self.said += f"{message}\n"

        def progress(self, name, *, total, unit, done=0):
            return Counting(self) if "finetune" in name else super().progress(name, total=total, unit=unit, done=done)

    class Counting:
        def __init__(self, owner):
            self.owner = owner

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def show(self, values):
            pass

        def advance(self, amount=1):
            self.owner.steps += 1
            if self.owner.steps in (3, 4, 11):  # an epoch has 4 steps
                os.kill(os.getpid(), signal.SIGTERM)

    report, tries = Impatient(), 0
    while True:
        tries += 1
        try:
            outcome = classify(checkpoint, toy, tmp_path / "parts", epochs=2, seeds=seeds, report=report)
            break
        except Interrupted as stop:
            assert stop.exit_code == 75
    assert tries == (3 if seeds == 1 else 4)
    assert outcome.status == "resumed"
    assert outcome.artifact.content_id == whole.artifact.content_id
    assert report.steps == 8 * seeds
    assert "seed 0 continues after step 3" in report.said


def test_several_seeds_publish_the_median_run(tmp_path, checkpoint, toy):
    outcome = classify(checkpoint, toy, tmp_path / "out", seeds=3, learning_rate=2e-3, epochs=2)
    metrics = metrics_of(outcome)
    assert [run["seed"] for run in metrics["runs"]] == [0, 1, 2]
    scores = sorted(run["score"] for run in metrics["runs"])
    assert metrics["held_out"]["dev"]["accuracy"] == scores[1]
    chosen = next(run for run in metrics["runs"] if run["seed"] == metrics["seed"])
    assert chosen["score"] == scores[1]


def test_the_median_is_the_lower_one_and_runs_without_score_do_not_count():
    runs = [{"seed": seed, "score": score} for seed, score in enumerate([0.9, 0.2, None, 0.5, 0.7])]
    assert median_run(runs)["score"] == 0.5
    assert median_run([{"seed": 5, "score": None}])["seed"] == 5


def test_without_a_dev_file_a_part_of_the_training_file_is_held_out(tmp_path, checkpoint, toy, heard):
    outcome = classify(checkpoint, toy, tmp_path / "out", dev=None, dev_fraction=0.25, report=heard)
    rows = metrics_of(outcome)["rows"]
    assert rows["train"] + rows["dev"] == 256
    assert 40 < rows["dev"] < 90
    assert any("held out" in note for note in heard.notes)


def test_without_any_held_out_rows_there_are_no_scores(tmp_path, checkpoint, toy):
    metrics = metrics_of(classify(checkpoint, toy, tmp_path / "out", dev=None, dev_fraction=0.0))
    assert metrics["held_out"] == {}
    assert metrics["majority"] is None


def test_dev_rows_of_one_class_give_null_and_a_warning_not_nan(tmp_path, checkpoint, heard):
    train = [f"x\t{n % 2}\t\tthe film was {n} long\n" for n in range(40)]
    (tmp_path / "train.tsv").write_text("".join(train), encoding="utf-8")
    (tmp_path / "dev.tsv").write_text("x\t1\t\ta story\n" * 3, encoding="utf-8")
    outcome = run_glue(checkpoint, tmp_path, tmp_path / "out", task="cola", settings=settings(), report=heard)
    text = outcome.artifact.file("metrics.json").read_text()
    assert json.loads(text)["held_out"]["dev"]["matthews"] is None
    assert "NaN" not in text
    assert any("matthews" in warning for warning in heard.warnings)


def test_a_label_that_training_never_saw_stops_it_before_it_starts(tmp_path, checkpoint, toy):
    table(tmp_path, "train.tsv", [("a film", "x"), ("a book", "y")])
    table(tmp_path, "dev.tsv", [("a film", "x"), ("a story", "z")])
    with pytest.raises(DataError) as error:
        classify(checkpoint, tmp_path, tmp_path / "out")
    assert (error.value.code, error.value.exit_code) == ("UNSEEN_LABEL", 3)
    assert "'z'" in error.value.message
    assert not list((tmp_path / "out").glob("v*"))


@pytest.mark.parametrize(
    ("rows", "code"),
    [([("a film", "x")] * 3, "ONE_LABEL"), ([], "NO_ROWS"), ([("a film", "x"), ("a book",)], "RAGGED_ROW")],
)
def test_training_files_that_cannot_be_learnt_from_are_refused(tmp_path, checkpoint, rows, code):
    table(tmp_path, "train.tsv", rows)
    with pytest.raises(DataError) as error:
        classify(checkpoint, tmp_path, tmp_path / "out", dev=None)
    assert error.value.code == code


def test_a_column_of_numbers_is_hardly_one_of_labels(tmp_path, checkpoint, heard):
    table(tmp_path, "train.tsv", [(f"film {n}", f"{n}.5") for n in range(30)])
    classify(checkpoint, tmp_path, tmp_path / "out", dev=None, dev_fraction=0.0, report=heard)
    assert any("30 labels in 30 rows" in warning for warning in heard.warnings)


def test_rows_of_dev_that_are_in_train_are_counted(tmp_path, checkpoint, heard):
    rows = [(f"film {n}", "x" if n % 2 else "y") for n in range(20)]
    table(tmp_path, "train.tsv", rows)
    table(tmp_path, "dev.tsv", [*rows[:5], ("story", "x")])
    classify(checkpoint, tmp_path, tmp_path / "out", report=heard)
    assert any("5 of 6 rows of dev are in the training file" in warning for warning in heard.warnings)
    with pytest.raises(DataError) as error:
        classify(checkpoint, tmp_path, tmp_path / "strict", strict_data=True)
    assert error.value.code == "SHARED_ROWS"


def test_files_that_are_not_there_and_columns_that_are_not_there(tmp_path, checkpoint, toy):
    with pytest.raises(DataError):
        classify(checkpoint, tmp_path, tmp_path / "out")
    with pytest.raises(DataError) as error:
        classify(checkpoint, toy, tmp_path / "out", columns={"text_column": "sentence"})
    assert error.value.code == "MISSING_COLUMN"
    with pytest.raises(UsageError):
        classify(checkpoint, toy, tmp_path / "out", columns={"text_column": "label"})
    with pytest.raises(UsageError) as usage:
        run_glue(checkpoint, toy, tmp_path / "out", task="mrcp", settings=settings())
    assert usage.value.code == "UNKNOWN_TASK"


def test_only_a_pretrained_discriminator_can_be_finetuned(tmp_path, finetuned, toy):
    with pytest.raises(ArtifactError, match="is a model, expected checkpoint"):
        classify(finetuned.artifact.path, toy, tmp_path / "out")
    spec = {"architecture": {"generator": {}}, "tokenizer": "sha256:" + "0" * 64}
    with claim(tmp_path / "generator", Recipe("checkpoint", "test", 1, {}, ()), report=Silent()) as held:
        assert held.draft is not None
        generator = held.draft.publish(spec=spec)
    with pytest.raises(ArtifactError, match="holds generator") as error:
        classify(generator.path, toy, tmp_path / "out")
    assert error.value.exit_code == 4


def test_a_flipped_bit_in_the_checkpoint_is_found(tmp_path, make_checkpoint, toy):
    made = make_checkpoint(tmp_path / "pretrained")
    path = made.path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError) as error:
        classify(made.path, toy, tmp_path / "out")
    assert error.value.code == "HASH_MISMATCH"


def test_too_long_rows_are_refused_or_told(tmp_path, checkpoint, toy, heard):
    with pytest.raises(UsageError) as error:
        classify(checkpoint, toy, tmp_path / "out", max_length=65)
    assert error.value.code == "TOO_LONG"
    classify(checkpoint, toy, tmp_path / "out", max_length=12, report=heard)
    assert any("fill all 12 tokens" in warning for warning in heard.warnings)


@pytest.mark.parametrize(
    ("width", "rate", "decay"), [(64, 3e-4, 0.8), (256, 3e-4, 0.8), (768, 1e-4, 0.8), (1024, 5e-5, 0.9)]
)
def test_defaults_follow_the_size_and_the_task(width, rate, decay):
    chosen = with_defaults(FinetuneSettings(), GLUE["rte"].task, width=width, positions=512)
    assert (chosen.learning_rate, chosen.layerwise_decay) == (rate, decay)
    assert (chosen.epochs, chosen.max_length, chosen.swap_pairs) == (10, 128, False)
    assert (chosen.batch_size, chosen.weight_decay, chosen.clip, chosen.warmup_proportion) == (32, 0.0, 1.0, 0.1)
    assert with_defaults(FinetuneSettings(epochs=1), GLUE["mrpc"].task, width=width, positions=64).max_length == 64


def test_every_setting_is_described():
    for name, field in FinetuneSettings.model_fields.items():
        assert field.description, name
    assert resolve(FinetuneSettings, sets=["epochs=2", "init=random"]).settings.init == "random"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["mrpc", "cola", "sts-b", "rte", "wnli"])
def test_real_glue_tasks_run_and_report_their_metrics(tmp_path, checkpoint, shared_data, task):
    outcome = run_glue(
        checkpoint, shared_data / "glue", tmp_path / "out", task=task, settings=settings(max_length=16, batch_size=256)
    )
    metrics = metrics_of(outcome)
    assert metrics["metric"] == GLUE[task].task.metrics[0]
    assert set(metrics["held_out"]["dev"]) == {*GLUE[task].task.metrics, "loss", "one_label_predicted"}
    swapped = 2 if task in ("mrpc", "sts-b") else 1
    assert metrics["runs"][0]["epochs"][0]["step"] == -(-swapped * metrics["rows"]["train"] // 256)
