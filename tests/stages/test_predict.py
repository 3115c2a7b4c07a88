"""`electra predict`: order, streaming, and rows that can't be answered."""

import io
import json

import pytest

from electra_cli.errors import DataError
from electra_cli.stages.finetune import FinetuneSettings, run_classify
from electra_cli.stages.predict import Input, PredictSettings, run

SETTINGS = PredictSettings(device="cpu", window=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory, checkpoint, toy):
    out = tmp_path_factory.mktemp("predicted") / "out"
    settings = FinetuneSettings(epochs=8, batch_size=16, learning_rate=2e-3, precision="fp32", device="cpu")
    return run_classify(checkpoint, toy / "train.tsv", out, dev=toy / "dev.tsv", settings=settings).artifact.path


@pytest.fixture(scope="module")
def pair_model(tmp_path_factory, checkpoint):
    folder = tmp_path_factory.mktemp("pairs")
    rows = [(f"a film {n}", "a book", "same" if n % 2 else "other") for n in range(20)]
    lines = ["question,answer,match", *(",".join(row) for row in rows)]
    (folder / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = FinetuneSettings(epochs=1, precision="fp32", device="cpu", dev_fraction=0.0)
    return run_classify(
        checkpoint,
        folder / "train.csv",
        folder / "out",
        text_column="question",
        pair_column="answer",
        label_column="match",
        settings=settings,
    ).artifact.path


def lines(*rows):
    return Input("stdin", io.BytesIO("".join(f"{row}\n" for row in rows).encode()))


def test_answers_keep_the_order_of_rows_of_any_length(model, toy):
    rows = [line.split("\t") for line in (toy / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    source = lines(*(json.dumps({"id": n, "text": text}) for n, (text, _) in enumerate(rows)))
    answers = list(run(model, source, settings=SETTINGS))
    assert [answer["id"] for answer in answers] == list(range(len(rows)))
    right = sum(answer["label"] == label for answer, (_, label) in zip(answers, rows, strict=True))
    assert right / len(rows) > 0.95


def test_an_answer_is_a_label_and_the_probability_of_every_label(model):
    (answer,) = run(model, lines('{"text": "a great film"}'), settings=SETTINGS)
    assert list(answer) == ["label", "probabilities"]
    assert answer["label"] == "good"
    assert list(answer["probabilities"]) == ["bad", "good"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["probabilities"]["good"] > 0.5


def test_a_row_is_answered_the_same_alone_and_among_others(model):
    row = '{"text": "a great film"}'
    many = run(
        model, lines('{"text": "it was an awful film and it was very long and very very long"}', row), settings=SETTINGS
    )
    (alone,) = run(model, lines(row), settings=SETTINGS)
    assert list(many)[1]["probabilities"]["good"] == pytest.approx(alone["probabilities"]["good"], abs=2e-6)


def test_no_more_than_a_window_is_read_ahead(model):
    read: list[None] = []

    class Endless:
        def readline(self, size=-1, /):
            read.append(None)
            return b'{"text": "a film"}\n'

    answers = run(model, Input("stdin", Endless()), settings=SETTINGS)
    for _ in range(8 * 3):
        next(answers)
    assert len(read) == 8 * 3


def test_a_broken_line_stops_it_after_the_rows_before_it(model):
    answers = run(model, lines('{"text": "one"}', "", '{"text": "two"}', '{"text": '), settings=SETTINGS)
    assert "label" in next(answers)
    assert "label" in next(answers)
    with pytest.raises(DataError) as error:
        next(answers)
    assert (error.value.code, error.value.where, error.value.exit_code) == ("BAD_JSON", "stdin:4", 3)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ('{"texts": "a"}', "MISSING_COLUMN"),
        ('{"text": 1}', "WRONG_TYPE"),
        ('{"text": null}', "WRONG_TYPE"),
        ("[]", "BAD_JSON"),
    ],
)
def test_rows_that_cannot_be_answered_are_named(model, row, code):
    with pytest.raises(DataError) as error:
        list(run(model, lines(row), settings=SETTINGS))
    assert (error.value.code, error.value.where) == (code, "stdin:1")


def test_no_rows_give_no_answers(model):
    assert list(run(model, lines(), settings=SETTINGS)) == []


def test_pairs_go_by_their_own_names_or_the_general_ones(pair_model):
    own = list(run(pair_model, lines('{"question": "a film", "answer": "a book"}'), settings=SETTINGS))
    general = list(run(pair_model, lines('{"text": "a film", "text_b": "a book"}'), settings=SETTINGS))
    assert own == general
    with pytest.raises(DataError, match="no text_b; classify rows have text and text_b \\(or question and answer\\)"):
        list(run(pair_model, lines('{"text": "a film"}'), settings=SETTINGS))


def test_files_are_answered_too(pair_model, tmp_path):
    (tmp_path / "rows.csv").write_text('answer,question\n"a book, very long","a film\nstory"\n', encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"text": "a film\nstory", "text_b": "a book, very long"}) + "\n", encoding="utf-8"
    )
    answers = [
        list(run(pair_model, Input(name, tmp_path / name), settings=SETTINGS)) for name in ("rows.csv", "rows.jsonl")
    ]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 1
    with pytest.raises(DataError) as error:
        list(run(pair_model, Input("no.jsonl", tmp_path / "no.jsonl"), settings=SETTINGS))
    assert error.value.code == "MISSING_INPUT"
