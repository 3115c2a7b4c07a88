import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as oracle

from electra_cli.tasks.metrics import accuracy, f1, macro_f1, matthews, pearson, score, spearman

binary = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)
several = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)
numbers = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda x: round(x, 3))
paired = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=60)


def sides(rows):
    predicted, gold = np.array(rows).T
    return predicted, gold


@given(several)
def test_accuracy_agrees_with_scikit_learn(rows):
    predicted, gold = sides(rows)
    assert accuracy(predicted, gold) == pytest.approx(oracle.accuracy_score(gold, predicted))


@given(binary)
def test_f1_agrees_with_scikit_learn_and_is_none_without_positives(rows):
    predicted, gold = sides(rows)
    if predicted.any() or gold.any():
        assert f1(predicted, gold) == pytest.approx(oracle.f1_score(gold, predicted, zero_division=0))
    else:
        assert f1(predicted, gold) is None


@given(several)
def test_macro_f1_agrees_with_scikit_learn(rows):
    predicted, gold = sides(rows)
    assert macro_f1(predicted, gold) == pytest.approx(
        oracle.f1_score(gold, predicted, average="macro", zero_division=0)
    )


@given(several)
def test_matthews_agrees_with_scikit_learn_unless_gold_is_constant(rows):
    predicted, gold = sides(rows)
    if len(set(gold)) == 1:
        assert matthews(predicted, gold) is None
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert matthews(predicted, gold) == pytest.approx(oracle.matthews_corrcoef(gold, predicted), abs=1e-9)


@settings(deadline=None)
@given(paired)
def test_correlations_agree_with_scipy_and_are_none_for_constants(rows):
    predicted, gold = sides(rows)
    if np.ptp(predicted) == 0 or np.ptp(gold) == 0:
        assert pearson(predicted, gold) is None
        assert spearman(predicted, gold) is None
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SciPy warns of near-constant input
            assert pearson(predicted, gold) == pytest.approx(stats.pearsonr(predicted, gold).statistic, abs=1e-6)
            assert spearman(predicted, gold) == pytest.approx(stats.spearmanr(predicted, gold).statistic, abs=1e-9)


@pytest.mark.parametrize("name", ["accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman"])
def test_no_rows_give_null_and_valid_json(name):
    empty = np.array([], dtype=np.int64)
    assert json.dumps(score([name], empty, empty), allow_nan=False) == f'{{"{name}": null}}'


def test_one_class_in_gold_gives_defined_or_null_scores():
    gold = np.zeros(4, dtype=np.int64)
    predicted = np.array([0, 0, 0, 1])
    assert score(["accuracy", "f1", "matthews"], predicted, gold) == {"accuracy": 0.75, "f1": 0.0, "matthews": None}


def test_a_collapsed_model_scores_zero_matthews():
    assert matthews(np.ones(6, dtype=np.int64), np.array([0, 1, 1, 0, 1, 1])) == 0.0


def test_large_counts_do_not_overflow():
    gold = np.tile([0, 1], 500_000)
    assert matthews(gold, gold) == pytest.approx(1.0)
