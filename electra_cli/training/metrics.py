"""How well the generator and the discriminator do: on the rows of a step while training, and on held-out rows.

All of it over counted positions only: padding is left out, unlike the released code's AUC, which it inflates
(electra.md 4, 10).

Shapes: B batch, L tokens in a row, P masked slots, N tokens that count, V vocabulary, E embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# A figure of a log line → the counts whose ratio it is: a ratio of sums, so that a step with few masked or replaced
# tokens does not weigh as much as one with many.
RATIOS = {
    "masked_fraction": ("masked", "tokens"),
    "replaced_fraction": ("replaced", "tokens"),
    "generator_accuracy": ("generator_correct", "masked"),
    "generator_sampled_accuracy": ("sampled_correct", "masked"),
    "discriminator_precision": ("found", "said"),
    "discriminator_recall": ("found", "labelled"),
}
_COUNTS = {name for pair in RATIOS.values() for name in pair}


def generator_counts(correct_P: Tensor, sample_P: Tensor, *, target_P: Tensor, used_P: Tensor) -> dict[str, Tensor]:
    """What one micro-batch adds to the generator's counts behind `RATIOS`: integers on the device, nothing is read.

    Args:
        correct_P: whether the generator's most probable id is the original.
        sample_P: the ids that it sampled.
        target_P: the original ids.
        used_P: which slots count.
    """
    return {
        "generator_correct": (correct_P & used_P).sum(),
        "sampled_correct": ((sample_P == target_P) & used_P).sum(),
    }


def judgement_counts(logits_BL: Tensor, labels_BL: Tensor, judged_BL: Tensor) -> dict[str, Tensor]:
    """The same for the discriminator.

    Args:
        logits_BL: its logits; positive means "replaced".
        labels_BL: what it should have said.
        judged_BL: the positions that count.
    """
    said_BL, labels_BL = (logits_BL > 0) & judged_BL, labels_BL & judged_BL
    return {"said": said_BL.sum(), "labelled": labels_BL.sum(), "found": (said_BL & labels_BL).sum()}


def window_figures(sums: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """The figures of a log line from sums over its steps: ratios of counts (`RATIOS`), and means of everything else.

    Args:
        sums: name → (sum, number of steps in it).

    Returns:
        Name → value; NaN where a ratio has nothing below its line.
    """
    figures = {name: value / steps for name, (value, steps) in sums.items() if name not in _COUNTS}
    for name, (above, below) in RATIOS.items():
        if above in sums and below in sums:
            figures[name] = sums[above][0] / sums[below][0] if sums[below][0] else math.nan
    return figures


@torch.no_grad()
def embedding_figures(word_VE: Tensor) -> dict[str, float]:
    """How far the word embeddings have gone: `word_norm` and `word_common`.

    `word_norm` is the root mean square of the rows' lengths. `word_common` is the share of their squared length that
    lies in the mean of all rows: 1 / V for independent rows, 1 when all words have the same vector (Gao et al., ICLR
    2019, call it representation degeneration).
    """
    squared = torch.linalg.vector_norm(word_VE, dtype=torch.float64).square() / len(word_VE)
    common = word_VE.mean(0, dtype=torch.float64).square().sum()
    return {"word_norm": float(squared.sqrt()), "word_common": float(common / squared)}


class PairMeter:
    """Collects one pass over held-out rows; ask `result` at the end."""

    def __init__(self) -> None:
        self.nll = self.correct = self.sampled_correct = 0.0
        self.masked = 0
        self.bce = 0.0
        self.samples: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.labels: list[Tensor] = []

    def add(
        self,
        *,
        nll_P: Tensor,
        correct_P: Tensor,
        sample_P: Tensor,
        target_P: Tensor,
        used_P: Tensor,
        logits_N: Tensor,
        labels_N: Tensor,
        bce: Tensor,
    ) -> None:
        """Count one batch: P masked slots of which `used_P` count, N tokens that count."""
        self.nll += float((nll_P * used_P).sum(dtype=torch.float64))
        self.correct += float((correct_P & used_P).sum())
        self.sampled_correct += float(((sample_P == target_P) & used_P).sum())
        self.masked += int(used_P.sum())
        self.bce += float(bce)
        self.samples.append(sample_P[used_P].cpu())
        self.logits.append(logits_N.cpu())
        self.labels.append(labels_N.cpu())

    def result(self, *, generator_weight: float, discriminator_weight: float) -> dict[str, float | int | None]:
        """The metrics; None where a ratio has nothing below its line, or a network gave what is not finite.

        `generator_top_share` is the share of the masked positions that the most frequent of all samples was drawn for:
        near 1, the generator says the same word everywhere.
        """
        logits = torch.cat(self.logits)
        labels = torch.cat(self.labels)
        said = logits > 0
        hits = int((said & labels).sum())
        top = int(torch.cat(self.samples).bincount().max()) if self.masked else 0
        generator_loss = self.nll / max(self.masked, 1)
        discriminator_loss = self.bce / max(len(labels), 1)
        return {
            "loss": _finite(generator_weight * generator_loss + discriminator_weight * discriminator_loss),
            "generator_loss": _finite(generator_loss),
            "generator_accuracy": self.correct / max(self.masked, 1),
            "generator_sampled_accuracy": self.sampled_correct / max(self.masked, 1),
            "generator_top_share": top / max(self.masked, 1),
            "discriminator_loss": _finite(discriminator_loss),
            "discriminator_accuracy": float((said == labels).double().mean()),
            "discriminator_precision": hits / int(said.sum()) if said.any() else None,
            "discriminator_recall": hits / int(labels.sum()) if labels.any() else None,
            "discriminator_auc": area_under_curve(logits, labels) if bool(logits.isfinite().all()) else None,
            "replaced_fraction": float(labels.double().mean()),
            "tokens": len(labels),
            "masked_tokens": self.masked,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def area_under_curve(scores_N: Tensor, labels_N: Tensor) -> float | None:
    """Area under the receiver operating characteristic: the chance that a positive outranks a negative, ties half.

    None when there is only one class.
    """
    positives = int(labels_N.sum())
    negatives = len(labels_N) - positives
    if positives == 0 or negatives == 0:
        return None
    values, inverse = torch.unique(scores_N.double(), return_inverse=True)
    per_value = torch.bincount(inverse, minlength=len(values)).double()
    mean_rank = per_value.cumsum(0) - (per_value - 1) / 2  # ranks from 1, tied scores share their mean
    rank_sum = float(mean_rank[inverse[labels_N.bool()]].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
