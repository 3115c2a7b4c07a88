"""The generator–discriminator pair at work: building it, feeding it rows, measuring it on held-out ones.

Here the floors meet: rows (data), masks (data), networks (model) and meters (training). Pretraining and evaluation
share it.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from electra_cli.training.metrics import PairMeter

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
    """A micro-batch and what its losses are divided by: the counts of the whole step, scalars on the device."""

    batch: MaskedBatch
    masked: torch.Tensor
    tokens: torch.Tensor
    rows_B: np.ndarray[Any, np.dtype[np.int64]]


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

    def steps(self, *, first: int, last: int, batch_size: int, micro_batch: int) -> Iterator[list[CountedBatch]]:
        """Yield the micro-batches of steps `first` … `last - 1`, each with its step's counts."""
        for step in range(first, last):
            pieces = [
                self.batch(step * batch_size + offset, micro_batch) for offset in range(0, batch_size, micro_batch)
            ]
            masked = torch.stack([batch.used_BP.sum() for batch, _ in pieces]).sum().clamp(min=1)
            tokens = torch.stack([batch.tokens for batch, _ in pieces]).sum()
            yield [CountedBatch(batch, masked, tokens, index_B) for batch, index_B in pieces]


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
            "replaced_fraction": output.replaced_BL.sum() / counted.tokens,
            "masked_fraction": batch.used_BP.sum() / counted.tokens,
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
