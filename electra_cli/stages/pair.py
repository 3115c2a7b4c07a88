"""The two networks at work: their losses on a batch, their measures on held-out rows.

Here the floors meet: rows (data), networks (model) and meters (training). Pretraining and evaluation share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from electra_cli.artifacts import Artifact
from electra_cli.model.generator_head import GeneratorOutput
from electra_cli.model.noise import Noise
from electra_cli.model.objectives import WordOutput, at_slots
from electra_cli.model.pretraining import Electra, MaskedBatch, PairOutput
from electra_cli.model.variants import Over
from electra_cli.reporting import Reporter, Silent
from electra_cli.runtime.machine import Machine
from electra_cli.stages.rows import CountedBatch, MaskedRows
from electra_cli.training.checkpoints import load_weights
from electra_cli.training.loop import Losses
from electra_cli.training.metrics import PairMeter, generator_counts, judgement_counts
from electra_cli.training.objective_metrics import Metrics, ObjectiveMeter

FloatVector = np.ndarray[Any, np.dtype[np.float64]]
Stage = Literal["joint", "generator", "discriminator"]
"""Which network learns in a step: both, or one after the other (paper, section 3.2)."""


@dataclass(frozen=True)
class Weights:
    """How the losses add up, and how samples are drawn; `word` is that of a large network that predicts words."""

    generator: float
    discriminator: float
    word: float = 1.0
    temperature: float = 1.0
    disallow_correct: bool = False

    @property
    def sampling(self) -> dict[str, Any]:
        """How the generator's samples are drawn, as arguments of the networks."""
        return {"temperature": self.temperature, "disallow_correct": self.disallow_correct}


def load_pair(artifact: Artifact, machine: Machine) -> Electra:
    """The two networks of a checkpoint artifact on `machine`."""
    model = Electra.from_architecture(artifact.spec["architecture"])
    load_weights(model, artifact)
    return model.to(machine.device)


def count_text(model: Electra, rows: Sequence[MaskedRows]) -> None:
    """Give a unigram generator the frequencies of the text that it stands beside; other models stay as they are."""
    if model.variant.objective != "mlm" and model.variant.generator == "unigram":
        counts_V = sum(_expected_counts(phase) for phase in rows)
        model.fixed.count(torch.as_tensor(counts_V), never=rows[0].rule.special_ids)


def _expected_counts(rows: MaskedRows) -> FloatVector:
    """How often each id comes in as many rows as there are, each part of a mixture at its weight: (V,)."""
    shards, weights = rows.shards, rows.order.weights
    shares = [
        weight * shards.rows / (sum(weights) * part) for weight, part in zip(weights, shards.part_rows, strict=True)
    ]
    counts_V = np.zeros(shards.vocab_size)
    for part, share in enumerate(shares):
        counts_V += share * shards.count_ids(part=part)
    return counts_V


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
        generated = model.generate(batch, noise=noise, dtype=dtype, **weights.sampling)
        loss = generated.loss / counted.masked
        return Losses(weights.generator * loss, {"generator_loss": loss.detach(), **_counts(batch, generated)})
    frozen = stage == "discriminator"
    output = model(batch, noise=noise, dtype=dtype, frozen_generator=frozen, **weights.sampling)
    if isinstance(output, WordOutput):
        return _word_losses(output, counted, weights=weights, over=variant.main_over)
    generator = output.generator.loss / counted.over(variant.generator_over)
    discriminator = output.discriminator_loss / counted.over(variant.main_over)
    return Losses(
        total=weights.generator * generator + weights.discriminator * discriminator,
        parts={
            "generator_loss": generator.detach(),
            "discriminator_loss": discriminator.detach(),
            **_counts(batch, output.generator),
            **judgement_counts(output.logits_BL.detach(), output.labels_BL, output.judged_BL),
            "replaced": output.replaced_BL.sum(),
        },
    )


def _word_losses(output: WordOutput, counted: CountedBatch, *, weights: Weights, over: Over) -> Losses:
    """The loss of an objective in which the large network predicts words."""
    word = output.loss / counted.over(over)
    total, parts = weights.word * word, {"word_loss": word.detach(), **_counts(counted.batch, output.generator)}
    if output.generator is not None and output.replaced_BL is not None:
        generator = output.generator.loss / counted.masked
        total = weights.generator * generator + total
        parts |= {"generator_loss": generator.detach(), "replaced": output.replaced_BL.sum()}
    return Losses(total, parts)


def _counts(batch: MaskedBatch, said: GeneratorOutput | None) -> dict[str, torch.Tensor]:
    """Tokens, masked ones, and how often the generator was right, on the device."""
    counts = {"tokens": batch.tokens, "masked": batch.used_BP.sum()}
    if said is None:
        return counts
    target_P = at_slots(batch.ids_BL, batch.positions_BP)
    used_P = batch.used_BP.flatten()
    return counts | generator_counts(said.correct_P, said.sample_P, target_P=target_P, used_P=used_P)


def measure(
    model: Electra,
    rows: MaskedRows,
    *,
    limit: int,
    batch_size: int,
    weights: Weights,
    report: Reporter | None = None,
) -> Metrics:
    """Held-out metrics over at most `limit` rows, each once."""
    parts = [(rows, min(limit, rows.shards.rows))]
    return measure_parts(model, parts, batch_size=batch_size, weights=weights, report=report)[0]


@torch.no_grad()
def measure_parts(
    model: Electra,
    parts: Sequence[tuple[MaskedRows, int]],
    *,
    batch_size: int,
    weights: Weights,
    report: Reporter | None = None,
) -> list[Metrics]:
    """Held-out metrics over so many rows of each part, each once: of all together, then of each part alone."""
    whole, total = _Meters(model), sum(count for _, count in parts)
    alone = [_Meters(model) for _ in parts]
    with (report or Silent()).progress("evaluating", total=total, unit="rows") as progress:
        for (rows, count), own in zip(parts, alone, strict=True):
            for start in range(0, count, batch_size):
                size = min(batch_size, count - start)
                batch, _ = rows.batch(start, size)
                output = model(batch, dtype=rows.machine.dtype, **weights.sampling)
                whole.add(output, batch)
                if len(parts) > 1:
                    own.add(output, batch)
                progress.advance(size)
    return [meters.result(weights) for meters in ([whole, *alone] if len(parts) > 1 else [whole])]


class _Meters:
    """What is counted over the batches of an evaluation."""

    def __init__(self, model: Electra) -> None:
        self.pair, self.beside = PairMeter(), ObjectiveMeter(model.variant)

    def add(self, output: PairOutput | WordOutput, batch: MaskedBatch) -> None:
        """Count one batch."""
        self.beside.add(output, batch)
        self.pair.add(
            **_generated(output, batch),
            **_judged(output),
            target_P=batch.ids_BL.gather(1, batch.positions_BP).flatten(),
            used_P=batch.used_BP.flatten(),
        )

    def result(self, weights: Weights) -> Metrics:
        """The metrics of all of them."""
        weight = {"generator_weight": weights.generator, "discriminator_weight": weights.discriminator}
        return self.beside.result(self.pair.result(**weight), **weight, word_weight=weights.word)


def _generated(output: PairOutput | WordOutput, batch: MaskedBatch) -> dict[str, torch.Tensor]:
    """What a `PairMeter` counts of the generator; nothings where there is none, whose metrics then are None."""
    if (said := output.generator) is None:
        return dict.fromkeys(("nll_P", "correct_P", "sample_P"), torch.zeros_like(batch.positions_BP).flatten())
    return {"nll_P": said.nll_P, "correct_P": said.correct_P, "sample_P": said.sample_P}


def _judged(output: PairOutput | WordOutput) -> dict[str, torch.Tensor]:
    """What it counts of the discriminator, at the positions of its loss; nobody where words are predicted."""
    if isinstance(output, WordOutput):
        return {"logits_N": torch.zeros(0), "labels_N": torch.zeros(0, dtype=torch.bool), "bce": torch.zeros(())}
    return {
        "logits_N": output.logits_BL[output.judged_BL],
        "labels_N": output.labels_BL[output.judged_BL],
        "bce": output.discriminator_loss,
    }
