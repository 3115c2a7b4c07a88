"""Held-out metrics of the objectives beside ELECTRA's own: what a kind has no number for is None.

Letters: B batch, L tokens in a row, P masked slots in a row.
"""

from __future__ import annotations

from torch import Tensor

from electra_cli.model.objectives import WordOutput, counted
from electra_cli.model.pretraining import MaskedBatch, PairOutput
from electra_cli.model.variants import Variant

Metrics = dict[str, float | int | None]


class ObjectiveMeter:
    """Collects, beside a `PairMeter`, what one pass over held-out rows says of a variant.

    Args:
        variant: what was trained.
    """

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.tokens = self.masked = self.candidates = self.replaced = self.correct = 0
        self.words = self.cloze = 0.0

    def add(self, output: PairOutput | WordOutput, batch: MaskedBatch) -> None:
        """Count one batch."""
        self.tokens += int(counted(batch.lengths_B, batch.ids_BL.shape, batch.ids_BL.device).sum())
        self.masked += int(batch.used_BP.sum())
        self.replaced += _count(output.replaced_BL)
        if isinstance(output, WordOutput):
            self.correct += int((output.correct_P & batch.used_BP.flatten()).sum())
            self.words += float(output.loss)
        else:
            self.candidates += _count(batch.candidate_BL)
            self.cloze += float(output.generator.loss)

    def result(
        self, pair: Metrics, *, generator_weight: float, discriminator_weight: float, word_weight: float
    ) -> Metrics:
        """The metrics of a `PairMeter`, put right for the variant; of ELECTRA they stay as they are.

        What the objectives that predict words have besides: `word_loss`, the large network's cross-entropy over the
        positions that the objective covers, and `word_accuracy`, the share of the masked positions whose most probable
        word is the original.
        """
        variant, found = self.variant, dict(pair)
        if variant.generator == "uniform":
            found["generator_accuracy"] = None  # no id is more probable than another
        if variant.objective == "electra":
            return found
        found |= {"tokens": self.tokens, "masked_tokens": self.masked}
        found["replaced_fraction"] = self.replaced / max(self.tokens, 1)
        if variant.objective == "electric":
            found["generator_loss"] = self.cloze / max(self.candidates, 1)
        if variant.predicts_words:
            found |= dict.fromkeys(name for name in pair if name.startswith("discriminator_"))
            found["word_loss"] = self.words / max(self.masked if variant.main_over == "masked" else self.tokens, 1)
            found["word_accuracy"] = self.correct / max(self.masked, 1)
        if variant.objective == "mlm":
            found |= dict.fromkeys(name for name in pair if name.startswith("generator_"))
            found["replaced_fraction"] = None
        weights = {
            "generator_loss": generator_weight,
            "discriminator_loss": discriminator_weight,
            "word_loss": word_weight,
        }
        losses = ((weight, found.get(name)) for name, weight in weights.items())
        found["loss"] = sum(weight * loss for weight, loss in losses if loss is not None)
        return found


def _count(flags: Tensor | None) -> int:
    return 0 if flags is None else int(flags.sum())
