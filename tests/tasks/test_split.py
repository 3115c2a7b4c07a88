from pathlib import Path

from electra_cli.tasks.split import shared_rows, split_off
from electra_cli.tasks.task import Examples


def examples(texts, labels=None, pairs=None):
    return Examples(Path("x"), list(range(1, len(texts) + 1)), texts, pairs, labels)


def test_about_the_fraction_is_held_out_and_nothing_is_lost():
    texts = [f"text {n}" for n in range(4000)]
    train, dev = split_off(examples(texts, ["a", "b"] * 2000), 0.1)
    assert sorted([*train.texts, *dev.texts]) == sorted(texts)
    assert 320 < len(dev) < 480


def test_a_row_stays_on_its_side_whatever_else_is_in_the_file():
    texts = [f"text {n}" for n in range(200)]
    _, dev = split_off(examples(texts, ["a"] * 200), 0.2)
    _, dev_more = split_off(examples([*reversed(texts), "new"], ["a"] * 201), 0.2)
    assert set(dev.texts) == set(dev_more.texts) - {"new"}


def test_equal_texts_stay_together():
    texts = [f"text {n % 100}" for n in range(400)]
    train, dev = split_off(examples(texts, ["a"] * 400), 0.3)
    assert len(dev) > 0
    assert shared_rows(train, dev) == 0


def test_a_rare_label_stays_in_training():
    labels = ["common"] * 200 + [f"rare {n}" for n in range(50)]
    train, dev = split_off(examples([f"text {n}" for n in range(250)], labels), 0.5)
    assert set(dev.labels or ()) == {"common"}
    assert set(train.labels or ()) == set(labels)


def test_shared_rows_counts_dev_rows_and_looks_at_both_texts():
    train = examples(["a", "b", "c"], pairs=["x", "y", "z"])
    assert shared_rows(train, examples(["a", "a", "b", "ax"], pairs=["x", "x", "z", ""])) == 2
