"""The generator–discriminator pair at work: building it, feeding it rows, measuring it on held-out ones.

Here the floors meet: rows (data), masks (data), networks (model) and meters (training). Pretraining and evaluation
share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from electra_cli.artifacts import Artifact
from electra_cli.data.masking import MaskingRule, candidates, draw_masks
from electra_cli.data.order import sample_index
from electra_cli.data.shards import RowBatch, ShardSet
from electra_cli.model.noise import Noise
from electra_cli.model.objectives import WordOutput
from electra_cli.model.pretraining import Electra, MaskedBatch, PairOutput
from electra_cli.model.variants import Over
from electra_cli.reporting import Reporter, Silent
from electra_cli.runtime.machine import Machine
from electra_cli.training.checkpoints import load_weights
from electra_cli.training.loop import Losses
from electra_cli.training.metrics import PairMeter
from electra_cli.training.objective_metrics import ObjectiveMeter

HELD_OUT_SEED = 20_200_323  # of the order and masks of every evaluation, so that all runs measure the same thing

Stage = Literal["joint", "generator", "discriminator"]
"""Which network learns in a step: both, or one after the other (paper, section 3.2)."""


@dataclass(frozen=True)
class Weights:
    """How the losses add up, and how samples are drawn; `word` is that of a large network that predicts words."""

    generator: float
    discriminator: float
    temperature: float = 1.0
    word: float = 1.0


@dataclass(frozen=True)
class CountedBatch:
    """A micro-batch and what its losses are divided by: the counts of the whole step, scalars on the device.

    `step` is the number of steps taken before; candidates are counted where rows come with them.
    """

    batch: MaskedBatch
    masked: torch.Tensor
    tokens: torch.Tensor
    rows_B: np.ndarray[Any, np.dtype[np.int64]]
    step: int = 0
    candidates: torch.Tensor | None = None

    def over(self, what: Over) -> torch.Tensor:
        """The count that a loss is a mean over."""
        count = {"masked": self.masked, "tokens": self.tokens, "candidates": self.candidates}[what]
        assert count is not None, "these rows come without candidates"
        return count


def masking_rule(tokenizer_spec: dict[str, Any], *, fraction: float, shown_as_mask: float) -> MaskingRule:
    """The rule for a vocabulary, from the special ids in its artifact's spec: [UNK] may be masked, the others never."""
    special = {name: int(tokenizer_spec[name]) for name in ("pad", "cls", "sep", "mask")}
    return MaskingRule(fraction, shown_as_mask, tuple(sorted(special.values())), special["mask"])


def load_pair(artifact: Artifact, machine: Machine) -> Electra:
    """The two networks of a checkpoint artifact on `machine`."""
    model = Electra.from_architecture(artifact.spec["architecture"])
    load_weights(model, artifact)
    return model.to(machine.device)


def count_text(model: Electra, rows: MaskedRows) -> None:
    """Give a unigram generator the frequencies of the text that it stands beside; other models stay as they are."""
    if model.variant.objective != "mlm" and model.variant.generator == "unigram":
        model.fixed.count(torch.from_numpy(rows.shards.count_ids()), never=rows.rule.special_ids)


class MaskedRows:
    """Rows of a shard set with their masks, as batches on the device, by position in a run.

    Args:
        shards: where the rows lie.
        rule: how they are masked.
        seed: fixes order and masks.
        machine: where batches go.
        with_candidates: whether batches say which positions could have been masked.
    """

    def __init__(
        self, shards: ShardSet, *, rule: MaskingRule, seed: int, machine: Machine, with_candidates: bool = False
    ) -> None:
        self.shards, self.rule, self.seed, self.machine = shards, rule, seed, machine
        self.with_candidates = with_candidates

    def batch(self, start: int, size: int) -> tuple[MaskedBatch, np.ndarray[Any, np.dtype[np.int64]]]:
        """The `size` rows from position `start` of the endless order (shuffled epoch by epoch), and their indices."""
        position_B = np.arange(start, start + size, dtype=np.int64)
        epoch_B, within_B = np.divmod(position_B, self.shards.rows)
        index_B = np.empty_like(position_B)
        for epoch in np.unique(epoch_B):
            here = epoch_B == epoch
            index_B[here] = sample_index(self.seed, int(epoch), within_B[here], rows=self.shards.rows)
        return self._mask(self.shards.gather(index_B), index_B, epoch_B), index_B

    def _mask(self, rows: RowBatch, index_B: Any, epoch_B: Any) -> MaskedBatch:
        device = self.machine.device
        ids_BL, lengths_B, first_B, sample_B, epochs_B = (
            torch.from_numpy(array).to(device, non_blocking=True)
            for array in (rows.ids_BL, rows.lengths_B, rows.first_B, index_B, epoch_B)
        )
        masks = draw_masks(ids_BL, lengths_B, rule=self.rule, seed=self.seed, epoch_B=epochs_B, sample_B=sample_B)
        full = bool((rows.lengths_B == rows.ids_BL.shape[1]).all())  # numpy: known without asking the device
        return MaskedBatch(
            ids_BL=ids_BL,
            lengths_B=None if full else lengths_B,
            first_B=first_B,
            masked_BL=masks.masked_BL,
            positions_BP=masks.positions_BP,
            used_BP=masks.used_BP,
            uniform_BP=masks.uniform_BP,
            candidate_BL=candidates(ids_BL, lengths_B, self.rule) if self.with_candidates else None,
        )

    def steps(self, *, first: int, last: int, batch_size: int, micro_batch: int) -> Iterator[list[CountedBatch]]:
        """Yield the micro-batches of steps `first` … `last - 1`, each with its step's counts."""
        for step in range(first, last):
            pieces = [
                self.batch(step * batch_size + offset, micro_batch) for offset in range(0, batch_size, micro_batch)
            ]
            masked = torch.stack([batch.used_BP.sum() for batch, _ in pieces]).sum().clamp(min=1)
            tokens = torch.stack([batch.tokens for batch, _ in pieces]).sum()
            flags = [batch.candidate_BL for batch, _ in pieces if batch.candidate_BL is not None]
            possible = torch.stack([flag.sum() for flag in flags]).sum().clamp(min=1) if flags else None
            yield [CountedBatch(batch, masked, tokens, index_B, step, possible) for batch, index_B in pieces]


def stage_of(step: int, two_stage_steps: int | None) -> Stage:
    """The stage of a step, `step` others taken before it."""
    if two_stage_steps is None:
        return "joint"
    return "generator" if step < two_stage_steps else "discriminator"


def pair_losses(
    model: Electra,
    counted: CountedBatch,
    *,
    weights: Weights,
    noise: Noise | None,
    dtype: torch.dtype,
    stage: Stage = "joint",
) -> Losses:
    """The loss of one micro-batch (electra.md 4) and the sums that the log shows."""
    batch, variant = counted.batch, model.variant
    if stage == "generator":
        generated = model.generate(batch, noise=noise, dtype=dtype, temperature=weights.temperature)
        loss = generated.loss / counted.masked
        masked = batch.used_BP.sum() / counted.tokens
        return Losses(weights.generator * loss, {"generator_loss": loss.detach(), "masked_fraction": masked})
    frozen = stage == "discriminator"
    output = model(batch, noise=noise, dtype=dtype, temperature=weights.temperature, frozen_generator=frozen)
    if isinstance(output, WordOutput):
        return _word_losses(output, counted, weights=weights, over=variant.main_over)
    generator = output.generator.loss / counted.over(variant.generator_over)
    discriminator = output.discriminator_loss / counted.over(variant.main_over)
    return Losses(
        total=weights.generator * generator + weights.discriminator * discriminator,
        parts={
            "generator_loss": generator.detach(),
            "discriminator_loss": discriminator.detach(),
            "replaced_fraction": output.replaced_BL.sum() / counted.tokens,
            "masked_fraction": batch.used_BP.sum() / counted.tokens,
        },
    )


def _word_losses(output: WordOutput, counted: CountedBatch, *, weights: Weights, over: Over) -> Losses:
    """The loss of an objective in which the large network predicts words."""
    word = output.loss / counted.over(over)
    total, parts = weights.word * word, {"word_loss": word.detach()}
    if output.generator is not None and output.replaced_BL is not None:
        generator = output.generator.loss / counted.masked
        total = weights.generator * generator + total
        parts |= {
            "generator_loss": generator.detach(),
            "replaced_fraction": output.replaced_BL.sum() / counted.tokens,
        }
    return Losses(total, {**parts, "masked_fraction": counted.batch.used_BP.sum() / counted.tokens})


@torch.no_grad()
def measure(
    model: Electra,
    rows: MaskedRows,
    *,
    limit: int,
    batch_size: int,
    weights: Weights,
    report: Reporter | None = None,
) -> dict[str, float | int | None]:
    """Held-out metrics over at most `limit` rows, each once."""
    meter, beside, total = PairMeter(), ObjectiveMeter(model.variant), min(limit, rows.shards.rows)
    with (report or Silent()).progress("evaluating", total=total, unit="rows") as progress:
        for start in range(0, total, batch_size):
            size = min(batch_size, total - start)
            batch, _ = rows.batch(start, size)
            output = model(batch, dtype=rows.machine.dtype, temperature=weights.temperature)
            beside.add(output, batch)
            meter.add(
                **_generated(output, batch),
                **_judged(output),
                target_P=batch.ids_BL.gather(1, batch.positions_BP).flatten(),
                used_P=batch.used_BP.flatten(),
            )
            progress.advance(size)
    weight = {"generator_weight": weights.generator, "discriminator_weight": weights.discriminator}
    return beside.result(meter.result(**weight), **weight, word_weight=weights.word)


def _generated(output: PairOutput | WordOutput, batch: MaskedBatch) -> dict[str, torch.Tensor]:
    """What a `PairMeter` counts of the generator; nothings where there is none, whose metrics then are None."""
    if (said := output.generator) is None:
        return dict.fromkeys(("nll_P", "best_P", "sample_P"), torch.zeros_like(batch.positions_BP).flatten())
    return {"nll_P": said.nll_P, "best_P": said.best_P, "sample_P": said.sample_P}


def _judged(output: PairOutput | WordOutput) -> dict[str, torch.Tensor]:
    """What it counts of the discriminator, at the positions of its loss; nobody where words are predicted."""
    if isinstance(output, WordOutput):
        return {"logits_N": torch.zeros(0), "labels_N": torch.zeros(0, dtype=torch.bool), "bce": torch.zeros(())}
    return {
        "logits_N": output.logits_BL[output.judged_BL],
        "labels_N": output.labels_BL[output.judged_BL],
        "bce": output.discriminator_loss,
    }
