"""How well the generator and the discriminator do on rows that training never sees.

All of it over counted positions only: padding is left out, unlike the released code's AUC, which it inflates
(electra.md 4, 10).
"""

from __future__ import annotations

import torch
from torch import Tensor


class PairMeter:
    """Collects one pass over held-out rows; ask `result` at the end."""

    def __init__(self) -> None:
        self.nll = self.correct = self.sampled_correct = 0.0
        self.masked = 0
        self.bce = 0.0
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
        self.logits.append(logits_N.cpu())
        self.labels.append(labels_N.cpu())

    def result(self, *, generator_weight: float, discriminator_weight: float) -> dict[str, float | int | None]:
        """The metrics; None where a ratio has nothing below its line."""
        logits = torch.cat(self.logits)
        labels = torch.cat(self.labels)
        said = logits > 0
        hits = int((said & labels).sum())
        generator_loss = self.nll / max(self.masked, 1)
        discriminator_loss = self.bce / max(len(labels), 1)
        return {
            "loss": generator_weight * generator_loss + discriminator_weight * discriminator_loss,
            "generator_loss": generator_loss,
            "generator_accuracy": self.correct / max(self.masked, 1),
            "generator_sampled_accuracy": self.sampled_correct / max(self.masked, 1),
            "discriminator_loss": discriminator_loss,
            "discriminator_accuracy": float((said == labels).double().mean()),
            "discriminator_precision": hits / int(said.sum()) if said.any() else None,
            "discriminator_recall": hits / int(labels.sum()) if labels.any() else None,
            "discriminator_auc": area_under_curve(logits, labels),
            "replaced_fraction": float(labels.double().mean()),
            "tokens": len(labels),
            "masked_tokens": self.masked,
        }


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
