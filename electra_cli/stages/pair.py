"""The generator–discriminator pair at work: building it, feeding it rows, measuring it on held-out ones.

Here the floors meet: rows (data), masks (data), networks (model) and meters (training). Pretraining and evaluation
share it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from electra_cli.artifacts import Artifact
from electra_cli.data.masking import MaskingRule, draw_masks
from electra_cli.data.order import sample_index
from electra_cli.data.shards import RowBatch, ShardSet
from electra_cli.model.noise import Noise
from electra_cli.model.pretraining import Electra, MaskedBatch
from electra_cli.reporting import Reporter, Silent
from electra_cli.runtime.machine import Machine
from electra_cli.training.checkpoints import load_weights
from electra_cli.training.loop import Losses
from electra_cli.training.metrics import PairMeter, pair_counts
from electra_cli.training.plan import StepRows

Indices = np.ndarray[Any, np.dtype[np.int64]]

HELD_OUT_SEED = 20_200_323  # of the order and masks of every evaluation, so that all runs measure the same thing


@dataclass(frozen=True)
class Weights:
    """How the two losses add up, and how samples are drawn."""

    generator: float
    discriminator: float
    temperature: float = 1.0
    disallow_correct: bool = False


@dataclass(frozen=True)
class CountedBatch:
    """A micro-batch, its rows, its number in the run, and what its losses are divided by.

    `masked` and `tokens` are the counts of the whole step; that of the masks is known on the device only.
    """

    batch: MaskedBatch
    masked: torch.Tensor
    tokens: int
    rows_B: Indices
    number: int


def load_pair(artifact: Artifact, machine: Machine) -> Electra:
    """The two networks of a checkpoint artifact on `machine`."""
    model = Electra.from_architecture(artifact.spec["architecture"])
    load_weights(model, artifact)
    return model.to(machine.device)


class MaskedRows:
    """Rows of a shard set with their masks, as batches on the device, by position in a run.

    Args:
        shards: where the rows lie.
        rule: how they are masked.
        seed: fixes order and masks.
        machine: where batches go.
    """

    def __init__(self, shards: ShardSet, *, rule: MaskingRule, seed: int, machine: Machine) -> None:
        self.shards, self.rule, self.seed, self.machine = shards, rule, seed, machine

    def batch(self, start: int, size: int) -> tuple[MaskedBatch, Indices]:
        """The `size` rows from position `start` of the endless order (shuffled epoch by epoch), and their indices."""
        rows, index_B, epoch_B = self._gather(start, size)
        return self._mask(rows, index_B, epoch_B), index_B

    def _gather(self, start: int, size: int) -> tuple[RowBatch, Indices, Indices]:
        position_B = np.arange(start, start + size, dtype=np.int64)
        epoch_B, within_B = np.divmod(position_B, self.shards.rows)
        index_B = np.empty_like(position_B)
        for epoch in np.unique(epoch_B):
            here = epoch_B == epoch
            index_B[here] = sample_index(self.seed, int(epoch), within_B[here], rows=self.shards.rows)
        return self.shards.gather(index_B), index_B, epoch_B

    def _mask(self, rows: RowBatch, index_B: Indices, epoch_B: Indices) -> MaskedBatch:
        device = self.machine.device
        ids_BL, lengths_B, first_B, sample_B, epochs_B = (
            torch.from_numpy(array).to(device, non_blocking=True)
            for array in (rows.ids_BL, rows.lengths_B, rows.first_B, index_B, epoch_B)
        )
        starts_BL = rows.word_starts() if self.rule.whole_words else None
        masks = draw_masks(
            ids_BL,
            lengths_B,
            rule=self.rule,
            seed=self.seed,
            epoch_B=epochs_B,
            sample_B=sample_B,
            word_start_BL=None if starts_BL is None else torch.from_numpy(starts_BL).to(device, non_blocking=True),
        )
        full = bool((rows.lengths_B == rows.ids_BL.shape[1]).all())  # numpy: known without asking the device
        return MaskedBatch(
            ids_BL=ids_BL,
            lengths_B=None if full else lengths_B,
            first_B=first_B,
            masked_BL=masks.masked_BL,
            positions_BP=masks.positions_BP,
            used_BP=masks.used_BP,
            uniform_BP=masks.uniform_BP,
        )

    def steps(self, plan: Iterable[StepRows]) -> Iterator[list[CountedBatch]]:
        """Yield the micro-batches of each step of `plan`, each with its step's counts."""
        for step in plan:
            starts = itertools.accumulate(step.sizes, initial=step.start)
            gathered = [self._gather(start, size) for start, size in zip(starts, step.sizes, strict=False)]
            tokens = sum(int(rows.lengths_B.sum()) for rows, _, _ in gathered)
            batches = [self._mask(*piece) for piece in gathered]
            masked = torch.stack([batch.used_BP.sum() for batch in batches]).sum().clamp(min=1)
            yield [
                CountedBatch(batch, masked, tokens, index_B, number)
                for number, (batch, (_, index_B, _)) in enumerate(zip(batches, gathered, strict=True), step.number)
            ]


def pair_losses(
    model: Electra, counted: CountedBatch, *, weights: Weights, noise: Noise | None, dtype: torch.dtype
) -> Losses:
    """The joint loss of one micro-batch (electra.md 4) and the sums that the log shows."""
    batch = counted.batch
    output = model(
        batch,
        noise=noise,
        dtype=dtype,
        temperature=weights.temperature,
        disallow_correct=weights.disallow_correct,
    )
    generator = output.generator.loss / counted.masked
    discriminator = output.discriminator_loss / counted.tokens
    return Losses(
        total=weights.generator * generator + weights.discriminator * discriminator,
        parts={
            "generator_loss": generator.detach(),
            "discriminator_loss": discriminator.detach(),
            **pair_counts(
                correct_P=output.generator.correct_P,
                sample_P=output.generator.sample_P,
                target_P=batch.ids_BL.gather(1, batch.positions_BP).flatten(),
                used_P=batch.used_BP.flatten(),
                logits_BL=output.logits_BL.detach(),
                replaced_BL=output.replaced_BL,
                lengths_B=batch.lengths_B,
            ),
        },
    )


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
    meter, total = PairMeter(), min(limit, rows.shards.rows)
    with (report or Silent()).progress("evaluating", total=total, unit="rows") as progress:
        for start in range(0, total, batch_size):
            size = min(batch_size, total - start)
            batch, _ = rows.batch(start, size)
            output = model(
                batch,
                dtype=rows.machine.dtype,
                temperature=weights.temperature,
                disallow_correct=weights.disallow_correct,
            )
            length = batch.ids_BL.shape[1]
            lengths_B = torch.full((size,), length) if batch.lengths_B is None else batch.lengths_B
            counted_BL = torch.arange(length, device=lengths_B.device)[None, :] < lengths_B[:, None]
            counted_BL = counted_BL.to(rows.machine.device)
            meter.add(
                nll_P=output.generator.nll_P,
                correct_P=output.generator.correct_P,
                sample_P=output.generator.sample_P,
                target_P=batch.ids_BL.gather(1, batch.positions_BP).flatten(),
                used_P=batch.used_BP.flatten(),
                logits_N=output.logits_BL[counted_BL],
                labels_N=output.replaced_BL[counted_BL],
                bce=output.discriminator_loss,
            )
            progress.advance(size)
    return meter.result(generator_weight=weights.generator, discriminator_weight=weights.discriminator)
