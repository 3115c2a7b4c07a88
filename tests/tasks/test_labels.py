from dataclasses import replace
from pathlib import Path

import pytest

from electra_cli.errors import DataError
from electra_cli.tasks.labels import encode_labels, label_order
from electra_cli.tasks.task import Examples, Task

TASK = Task("classify", "single_label", ("bad", "good"), ("text",), "label", ("accuracy",))
SCORED = Task("sts-b", "regression", (), ("a", "b"), "score", ("pearson",), scale=(0.0, 5.0))


def labelled(*labels):
    return Examples(Path("dev.csv"), range(2, 2 + len(labels)), ["x"] * len(labels), None, list(labels))


def test_ids_come_from_training_whatever_the_files_order():
    assert label_order(labelled("good", "bad", "good")) == ("bad", "good")
    assert encode_labels(labelled("good", "bad"), TASK).tolist() == [1, 0]
    assert encode_labels(labelled("bad"), replace(TASK, labels=("good", "bad"))).tolist() == [1]


def test_labels_are_text():
    assert label_order(labelled("NA", "null", "007", "7", "1.0", "1")) == ("007", "1", "1.0", "7", "NA", "null")


def test_unseen_labels_are_all_listed_with_the_first_line():
    with pytest.raises(DataError) as error:
        encode_labels(labelled("good", "ugly", "odd", "ugly"), TASK)
    assert error.value.code == "UNSEEN_LABEL"
    assert error.value.exit_code == 3
    assert error.value.where == "dev.csv:3"
    assert "'ugly' (2 rows), 'odd' (1 rows)" in error.value.message
    assert "'bad', 'good'" in error.value.message


def test_a_test_file_with_minus_ones_is_recognised():
    with pytest.raises(DataError) as error:
        encode_labels(labelled("-1", "-1"), TASK)
    assert "test file" in str(error.value.hint)


@pytest.mark.parametrize("labels", [("one", "one"), ()])
def test_one_label_cannot_be_learnt(labels):
    with pytest.raises(DataError) as error:
        label_order(labelled(*labels))
    assert error.value.code == "ONE_LABEL"


def test_regression_targets_are_scaled_to_one():
    assert encode_labels(labelled("0", "5.000", "2.5"), SCORED).tolist() == [0.0, 1.0, 0.5]


@pytest.mark.parametrize("label", ["5.1", "-0.1", "nan", "inf", "high", ""])
def test_targets_outside_of_the_scale_are_refused(label):
    with pytest.raises(DataError) as error:
        encode_labels(labelled("1", label), SCORED)
    assert (error.value.code, error.value.where) == ("BAD_TARGET", "dev.csv:3")


def test_a_task_survives_its_spec():
    for task in (TASK, SCORED):
        assert Task.from_spec(task.to_spec()) == replace(task, epochs=3)
    with pytest.raises(ValueError, match="kind"):
        Task.from_spec({**TASK.to_spec(), "type": "tagging"})
