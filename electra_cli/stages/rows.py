"""Rows of shards, masked and counted, as the batches of steps: where data meets the networks' input."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from electra_cli.data.masking import MaskingRule, candidates, draw_masks
from electra_cli.data.mixture import RowOrder
from electra_cli.data.shards import RowBatch, ShardSet
from electra_cli.model.pretraining import MaskedBatch
from electra_cli.model.variants import Over
from electra_cli.runtime.machine import Machine
from electra_cli.training.plan import StepRows

Indices = np.ndarray[Any, np.dtype[np.int64]]

HELD_OUT_SEED = 20_200_323  # of the order and masks of every evaluation, so that all runs measure the same thing


@dataclass(frozen=True)
class CountedBatch:
    """A micro-batch, its rows, its number in the run, and what its losses are divided by.

    `masked`, `tokens` and `candidates` (where rows come with them) are the counts of the whole step; that of the tokens
    is known without asking the device.
    """

    batch: MaskedBatch
    masked: torch.Tensor
    tokens: int
    rows_B: Indices
    number: int
    candidates: torch.Tensor | None = None

    def over(self, what: Over) -> torch.Tensor | int:
        """The count that a loss is a mean over."""
        if what == "candidates":
            assert self.candidates is not None, "these rows come without candidates"
            return self.candidates
        return self.masked if what == "masked" else self.tokens


class MaskedRows:
    """Rows of a shard set with their masks, as batches on the device, by position in a run.

    Args:
        shards: where the rows lie.
        rule: how they are masked.
        seed: fixes order and masks.
        machine: where batches go.
        weights: of the set's parts, from `mixture_weights`; by default in proportion to their rows.
        with_candidates: whether batches say which positions could have been masked.
    """

    def __init__(
        self,
        shards: ShardSet,
        *,
        rule: MaskingRule,
        seed: int,
        machine: Machine,
        weights: Sequence[int] | None = None,
        with_candidates: bool = False,
    ) -> None:
        self.shards, self.rule, self.seed, self.machine = shards, rule, seed, machine
        self.order = RowOrder(seed, shards.part_rows, weights=weights)
        self.with_candidates = with_candidates

    def batch(self, start: int, size: int) -> tuple[MaskedBatch, Indices]:
        """The `size` rows from position `start` of the endless order (shuffled epoch by epoch), and their indices."""
        index_B, epoch_B = self.order.rows(start, size)
        return self._mask(self.shards.gather(index_B), index_B, epoch_B), index_B

    def _mask(self, rows: RowBatch, index_B: Indices, epoch_B: Indices) -> MaskedBatch:
        ids_BL, lengths_B, first_B = (self._sent(array) for array in (rows.ids_BL, rows.lengths_B, rows.first_B))
        starts_BL = rows.word_starts() if self.rule.whole_words else None
        pieces_BL = rows.piece_starts()  # None where no row has two: numpy knows, without asking the device
        masks = draw_masks(
            ids_BL,
            lengths_B,
            rule=self.rule,
            seed=self.seed,
            epoch_B=self._sent(epoch_B),
            sample_B=self._sent(index_B),
            word_start_BL=None if starts_BL is None else self._sent(starts_BL),
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
            candidate_BL=candidates(ids_BL, lengths_B, self.rule) if self.with_candidates else None,
            starts_BL=None if pieces_BL is None else self._sent(pieces_BL),
        )

    def _sent(self, array: np.ndarray[Any, Any]) -> torch.Tensor:
        """An array on the device; numbers travel as they are stored, a quarter of the bytes, and are int64 there."""
        tensor = torch.from_numpy(array)
        if self.machine.device.type == "cuda":
            tensor = tensor.pin_memory()  # from any other memory the copy would be waited for
        tensor = tensor.to(self.machine.device, non_blocking=True)
        return tensor if tensor.dtype == torch.bool else tensor.to(torch.int64)

    def steps(self, plan: Iterable[StepRows]) -> Iterator[list[CountedBatch]]:
        """Yield the micro-batches of each step of `plan`, each with its step's counts."""
        for step in plan:
            index_B, epoch_B = self.order.rows(step.start, sum(step.sizes))
            rows = self.shards.gather(index_B)
            ends = list(itertools.accumulate(step.sizes, initial=0))
            parts = [slice(*pair) for pair in itertools.pairwise(ends)]
            batches = [self._mask(rows.part(part.start, part.stop), index_B[part], epoch_B[part]) for part in parts]
            tokens = int(rows.lengths_B.sum())
            masked = torch.stack([batch.used_BP.sum() for batch in batches]).sum().clamp(min=1)
            flags = [batch.candidate_BL for batch in batches if batch.candidate_BL is not None]
            possible = torch.stack([flag.sum() for flag in flags]).sum().clamp(min=1) if flags else None
            yield [
                CountedBatch(batch, masked, tokens, index_B[part], number, possible)
                for number, (batch, part) in enumerate(zip(batches, parts, strict=True), step.number)
            ]
