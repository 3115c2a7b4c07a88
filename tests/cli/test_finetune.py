"""`electra finetune`, `evaluate` and `predict` as a user types them."""

import json

import pytest

from electra_cli.artifacts import open_artifact
from electra_cli.stages.finetune import FinetuneSettings, run_classify

FAST = ["--set", "precision=fp32", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def toy_model(tmp_path_factory, checkpoint, toy):
    out = tmp_path_factory.mktemp("toy-model") / "out"
    settings = FinetuneSettings(epochs=8, batch_size=16, learning_rate=2e-3, precision="fp32", device="cpu")
    outcome = run_classify(checkpoint, toy / "train.tsv", out, dev=toy / "dev.tsv", settings=settings)
    return str(outcome.artifact.path)


@pytest.mark.slow
def test_a_pipeline_of_the_three_commands(tmp_path, electra, toy, checkpoint):
    arguments = ["--dev", toy / "dev.tsv", "--epochs", 8, "--set", "learning_rate=2e-3", "--set", "batch_size=16"]
    result = electra("finetune", "classify", checkpoint, toy / "train.tsv", *arguments, *FAST, "-o", tmp_path / "toy")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'toy' / 'v1'}\n"
    model = result.stdout.removesuffix("\n")
    assert open_artifact(model).kind == "model"

    table = electra("evaluate", model, toy / "dev.tsv", "--quiet", "--fail-under", "accuracy=0.5")
    assert table.returncode == 0, table.stderr
    shown = dict(line.split() for line in table.stdout.splitlines())
    assert list(shown) == ["accuracy", "macro_f1", "loss", "rows"]
    assert float(shown["accuracy"]) > 0.9
    assert shown["rows"] == "64"

    rows = '{"text": "a great film", "id": "first"}\n{"text": "an awful film"}\n'
    answers = electra("predict", model, "--quiet", input=rows)
    assert answers.returncode == 0, answers.stderr
    first, second = map(json.loads, answers.stdout.splitlines())
    assert (first["id"], first["label"], second["label"]) == ("first", "good", "bad")


@pytest.mark.slow
def test_gates_decide_the_exit_code_and_json_stays_one_object(electra, toy, toy_model):
    gate = ["--fail-under", "accuracy=1.01", "--fail-under", "macro_f1=0"]
    missed = electra("evaluate", toy_model, toy / "dev.tsv", *gate)
    assert missed.returncode == 9
    assert missed.stdout.startswith("accuracy")
    assert "error: --fail-under: accuracy is" in missed.stderr

    as_json = electra("evaluate", toy_model, toy / "dev.tsv", *gate, "--json")
    body = json.loads(as_json.stdout)
    assert (as_json.returncode, body["ok"], body["error"]["code"]) == (9, False, "GATE_NOT_MET")

    met = json.loads(electra("evaluate", toy_model, toy / "dev.tsv", "--json").stdout)
    assert met["ok"] is True
    assert met["summary"]["rows"] == 64

    for text, code in (("f1=0.5", "UNKNOWN_METRIC"), ("accuracy", "BAD_GATE")):
        wrong = electra("evaluate", toy_model, toy / "dev.tsv", "--json", "--fail-under", text)
        assert (wrong.returncode, json.loads(wrong.stdout)["error"]["code"]) == (2, code)


@pytest.mark.slow
def test_errors_have_the_public_codes_and_a_place(tmp_path, electra, checkpoint, toy, toy_model):
    (tmp_path / "dev.tsv").write_text("text\tlabel\na film\tugly\n", encoding="utf-8")
    command = ["finetune", "classify", checkpoint, toy / "train.tsv", "-o", tmp_path / "out", *FAST]
    unseen = electra(*command, "--dev", tmp_path / "dev.tsv")
    assert unseen.returncode == 3
    assert unseen.stdout == ""
    assert f"error: {tmp_path / 'dev.tsv'}:2: labels that training never saw: 'ugly' (1 rows)" in unseen.stderr

    model = electra("finetune", "classify", toy_model, toy / "train.tsv", "-o", tmp_path / "out", *FAST)
    assert model.returncode == 4
    assert "is a model, expected checkpoint" in model.stderr

    mistyped = electra(*command, "--set", "learning_rte=1")
    assert mistyped.returncode == 2
    assert "did you mean learning_rate?" in mistyped.stderr

    broken = electra("predict", toy_model, "--quiet", input='{"text": "a"}\n{"text": \n')
    assert broken.returncode == 3
    assert len(broken.stdout.splitlines()) == 1
    assert "error: stdin:2: broken JSON" in broken.stderr
    for text in (unseen.stderr, model.stderr, mistyped.stderr, broken.stderr):
        assert "Traceback" not in text


def test_print_config_shows_where_values_come_from(electra, checkpoint, toy, tmp_path):
    command = ["finetune", "glue", checkpoint, toy, "--task", "mrpc", "-o", tmp_path / "out", "--print-config"]
    shown = electra(*command, "--from-scratch", "--set", "clip=2.0")
    assert shown.returncode == 0, shown.stderr
    assert 'init = "random"' in shown.stdout
    assert not (tmp_path / "out").exists()
