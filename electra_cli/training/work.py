"""How much a run reads and computes: sums over the plan's steps, functions of the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from electra_cli.training.plan import RowPlan


@dataclass(frozen=True)
class RowStock:
    """The rows that a phase draws from.

    Attributes:
        rows: how many there are.
        tokens: their tokens, padding not counted.
        flops: floating-point operations of a step for each row (`training.flops.row_flops`).
        special_tokens: how many of the tokens are `[CLS]` or `[SEP]`, about.
    """

    rows: int
    tokens: int
    flops: int
    special_tokens: int = 0


@dataclass(frozen=True)
class Work:
    """A plan over its stocks of rows, one for each phase."""

    plan: RowPlan
    stocks: Sequence[RowStock]

    def positions_before(self, step: int) -> int:
        """Tokens of the steps before `step`, padding counted."""
        taken = self.plan.rows_before(step)
        return sum(rows * phase.length for rows, phase in zip(taken, self.plan.phases, strict=True))

    def flops_before(self, step: int) -> int:
        """Floating-point operations of the steps before `step`."""
        taken = self.plan.rows_before(step)
        return sum(rows * stock.flops for rows, stock in zip(taken, self.stocks, strict=True))

    def tokens_before(self, step: int) -> float:
        """Tokens of the steps before `step`, padding not counted, as the stocks' means let expect."""
        taken = self.plan.rows_before(step)
        return sum(rows * stock.tokens / stock.rows for rows, stock in zip(taken, self.stocks, strict=True))

    def epochs(self) -> list[float]:
        """How often each phase reads its rows."""
        taken = self.plan.rows_before(self.plan.steps)
        return [rows / stock.rows for rows, stock in zip(taken, self.stocks, strict=True)]

    def counters(self, step: int, *, tokens: int) -> dict[str, float | int]:
        """What a line of `metrics.jsonl` says after `step` steps, which read `tokens` tokens that are no padding."""
        positions = self.positions_before(step)
        return {
            "tokens": tokens,
            "tokens_with_padding": positions,
            "padding": 1 - tokens / positions,
            "flops": float(self.flops_before(step)),
        }
