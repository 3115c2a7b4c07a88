"""Scores of predictions against gold labels, each tested against scikit-learn or SciPy.

A score that is not defined for the given rows (no rows, a constant where a correlation is asked for, no positive row
where F1 is asked for) is None and never NaN, which JSON does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np


def accuracy(predicted_N: np.ndarray, gold_N: np.ndarray) -> float | None:
    """Share of rows with the right label."""
    return None if not len(gold_N) else float(np.mean(predicted_N == gold_N))


def f1(predicted_N: np.ndarray, gold_N: np.ndarray) -> float | None:
    """F1 of the label with id 1; None when it is neither predicted nor in the gold labels."""
    return _f1_of(predicted_N, gold_N, label=1)


def macro_f1(predicted_N: np.ndarray, gold_N: np.ndarray) -> float | None:
    """Mean over the F1 of each label that is predicted or in the gold labels."""
    scores = [_f1_of(predicted_N, gold_N, label=int(label)) for label in np.union1d(predicted_N, gold_N)]
    return float(np.mean([score for score in scores if score is not None])) if scores else None


def _f1_of(predicted_N: np.ndarray, gold_N: np.ndarray, *, label: int) -> float | None:
    both = int(np.sum((predicted_N == label) & (gold_N == label)))
    either = int(np.sum(predicted_N == label)) + int(np.sum(gold_N == label))
    return None if either == 0 else 2 * both / either


def matthews(predicted_N: np.ndarray, gold_N: np.ndarray) -> float | None:
    """Matthews correlation, for any number of labels (Gorodkin 2004).

    It is 0 when every prediction is the same, as is usual (a collapsed CoLA model scores 0), and None when every gold
    label is the same, because then nothing can be correlated with it.
    """
    labels = np.union1d(predicted_N, gold_N)
    predicted_C = np.array([np.sum(predicted_N == label) for label in labels], dtype=np.float64)
    gold_C = np.array([np.sum(gold_N == label) for label in labels], dtype=np.float64)
    rows = float(len(gold_N))
    gold_spread = rows**2 - gold_C @ gold_C
    predicted_spread = rows**2 - predicted_C @ predicted_C
    if gold_spread == 0:
        return None
    if predicted_spread == 0:
        return 0.0
    right = float(np.sum(predicted_N == gold_N))
    return float((right * rows - predicted_C @ gold_C) / np.sqrt(predicted_spread) / np.sqrt(gold_spread))


def pearson(predicted_N: np.ndarray, gold_N: np.ndarray) -> float | None:
    """Pearson correlation; None for fewer than two rows, or when either side is constant."""
    if len(gold_N) < 2:
        return None
    a_N = np.asarray(predicted_N, dtype=np.float64)
    b_N = np.asarray(gold_N, dtype=np.float64)
    if np.ptp(a_N) == 0 or np.ptp(b_N) == 0:
        return None
    a_N = a_N - a_N.mean()
    b_N = b_N - b_N.mean()
    a_N /= np.abs(a_N).max()  # squares of very small numbers would underflow
    b_N /= np.abs(b_N).max()
    return float(np.clip(a_N @ b_N / np.sqrt((a_N @ a_N) * (b_N @ b_N)), -1.0, 1.0))


def spearman(predicted_N: np.ndarray, gold_N: np.ndarray) -> float | None:
    """Spearman correlation: Pearson's of the ranks, equal values sharing their mean rank."""
    return pearson(_ranks(predicted_N), _ranks(gold_N))


def _ranks(values_N: np.ndarray) -> np.ndarray:
    _, place_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(((last - counts + 1 + last) / 2)[place_N])


METRICS: Mapping[str, Callable[[np.ndarray, np.ndarray], float | None]] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}


def score(names: Sequence[str], predicted_N: np.ndarray, gold_N: np.ndarray) -> dict[str, float | None]:
    """The metrics called `names`, in that order; ids for labels, plain numbers for regression."""
    return {name: METRICS[name](predicted_N, gold_N) for name in names}
