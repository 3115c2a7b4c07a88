"""`electra evaluate` of a finetuned model."""

import pytest

from electra_cli.artifacts import open_artifact
from electra_cli.errors import ArtifactError, DataError, UsageError
from electra_cli.stages.evaluate import EvaluateModelSettings, metric_names, run
from electra_cli.stages.finetune import FinetuneSettings, run_classify, run_glue

SETTINGS = EvaluateModelSettings(device="cpu")
FAST = FinetuneSettings(epochs=2, batch_size=32, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory, checkpoint, toy):
    out = tmp_path_factory.mktemp("evaluated") / "out"
    settings = FAST.model_copy(update={"learning_rate": 2e-3})
    return run_classify(checkpoint, toy / "train.tsv", out, dev=toy / "dev.tsv", settings=settings)


def test_it_gives_the_scores_that_finetuning_reported(model, toy):
    scores = run(model.artifact.path, [toy / "dev.tsv"], settings=SETTINGS)
    assert scores.pop("rows") == 64
    assert scores == pytest.approx({name: model.summary[name] for name in scores}, rel=1e-6)


def test_batch_size_and_row_order_do_not_matter(model, toy, tmp_path):
    header, *rows = (toy / "dev.tsv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "dev.tsv").write_text("\n".join([header, *reversed(rows)]) + "\n", encoding="utf-8")
    one = run(model.artifact.path, [tmp_path / "dev.tsv"], settings=EvaluateModelSettings(batch_size=7, device="cpu"))
    assert one == pytest.approx(run(model.artifact.path, [toy / "dev.tsv"], settings=SETTINGS), rel=1e-5)


def test_label_ids_come_from_the_model_not_from_the_file(model, toy, tmp_path):
    """A file with one of the two labels only, in another column order."""
    rows = [line.split("\t") for line in (toy / "dev.tsv").read_text(encoding="utf-8").splitlines()]
    good = [f"{label}\t{text}" for text, label in rows if label in ("label", "good")]
    (tmp_path / "good.tsv").write_text("\n".join(good) + "\n", encoding="utf-8")
    everything = run(model.artifact.path, [toy / "dev.tsv"], settings=SETTINGS)
    only_good = run(model.artifact.path, [tmp_path / "good.tsv"], settings=SETTINGS)
    (tmp_path / "bad.tsv").write_text(
        "\n".join(f"{label}\t{text}" for text, label in rows if label in ("label", "bad")) + "\n", encoding="utf-8"
    )
    only_bad = run(model.artifact.path, [tmp_path / "bad.tsv"], settings=SETTINGS)
    right = [(scores["accuracy"] or 0) * (scores["rows"] or 0) for scores in (only_good, only_bad, everything)]
    assert right[0] + right[1] == pytest.approx(right[2])


def test_what_cannot_be_evaluated_is_refused(model, toy, tmp_path, checkpoint):
    (tmp_path / "unseen.tsv").write_text("text\tlabel\na film\tugly\n", encoding="utf-8")
    with pytest.raises(DataError, match="ugly"):
        run(model.artifact.path, [tmp_path / "unseen.tsv"], settings=SETTINGS)
    with pytest.raises(UsageError):
        run(model.artifact.path, [], settings=SETTINGS)
    with pytest.raises(ArtifactError, match="is a checkpoint, expected model"):
        run(checkpoint, [toy / "dev.tsv"], settings=SETTINGS)


def test_metric_names_are_known_before_the_work(model):
    assert metric_names(open_artifact(model.artifact.path)) == ("accuracy", "macro_f1", "loss")


def write_sts(folder):
    rows = [(f"the film was {n % 6} long", f"the book was {n % 6}", f"{n % 6}.000") for n in range(60)]
    lines = ["sentence1\tsentence2\tscore", *("\t".join(row) for row in rows[:-1])]
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_regression_scores_and_answers_are_in_the_tasks_own_scale(tmp_path, checkpoint):
    write_sts(tmp_path)
    settings = FAST.model_copy(update={"learning_rate": 3e-3, "epochs": 12, "dropout": 0.0, "batch_size": 8})
    outcome = run_glue(checkpoint, tmp_path, tmp_path / "out", task="sts-b", settings=settings)
    scores = run(outcome.artifact.path, [tmp_path], settings=SETTINGS)
    assert scores["spearman"] is not None and scores["loss"] is not None
    assert scores["spearman"] > 0.9
    assert scores["loss"] == pytest.approx(outcome.summary["loss"], rel=1e-4)
    assert scores["loss"] < 0.02  # on the scale 0…1

    from electra_cli.stages.classifiers import Answerer

    answerer = Answerer(outcome.artifact, device="cpu", precision="fp32", batch_size=8)
    low, high = answerer.answer(["the film was 0 long", "the film was 5 long"], ["the book was 0", "the book was 5"])
    assert low["score"] < 1.5
    assert high["score"] > 3.5


def test_a_test_file_without_labels_is_refused(tmp_path, checkpoint):
    write_sts(tmp_path)
    outcome = run_glue(checkpoint, tmp_path, tmp_path / "out", task="sts-b", settings=FAST)
    (tmp_path / "test.tsv").write_text("index\tsentence1\tsentence2\n0\ta film\ta book\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        run(outcome.artifact.path, [tmp_path / "test.tsv"], settings=SETTINGS)
    assert (error.value.code, error.value.exit_code) == ("NO_LABELS", 3)


def test_the_mismatched_set_is_scored_beside_the_matched_one(tmp_path, checkpoint):
    rows = [("the film was long", "it was short", ("contradiction", "entailment", "neutral")[n % 3]) for n in range(12)]
    lines = ["sentence1\tsentence2\tgold_label", *("\t".join(row) for row in rows)]
    for name in ("train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = run_glue(checkpoint, tmp_path, tmp_path / "out", task="mnli", settings=FAST)
    scores = run(outcome.artifact.path, [tmp_path], settings=SETTINGS)
    assert list(scores) == [
        "accuracy",
        "loss",
        "rows",
        "dev_mismatched.accuracy",
        "dev_mismatched.loss",
        "dev_mismatched.rows",
    ]
