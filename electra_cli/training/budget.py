"""What a run may cost, as a user writes it: a time, a number of tokens, or a number of floating-point operations."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]{1,2})?)(h|m|tok|flop)\Z")
_MOST = 10**10
FORMS = "24h, 90m, 2e9tok or 1e18flop"


@dataclass(frozen=True)
class Budget:
    """A limit: `amount` in seconds, tokens (padding not counted) or floating-point operations."""

    kind: Literal["time", "tokens", "flops"]
    amount: float


def parse_budget(text: str) -> Budget:
    """The budget that `24h`, `90m`, `2e9tok` or `1e18flop` means.

    Raises:
        ValueError: it is of no such form, or nothing.
    """
    match = _TEXT.match(text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no budget; write {FORMS}")
    amount = float(match[1])
    if match[2] in ("h", "m"):
        return Budget("time", amount * (3600 if match[2] == "h" else 60))
    return Budget("tokens" if match[2] == "tok" else "flops", amount)


def most_steps(cost: Callable[[int], float], limit: float) -> int:
    """The number of steps whose cost does not go over `limit` while one more would; 0 where one step costs too much.

    Never more than 10^10 or so.

    Args:
        cost: steps → cost, rising.
        limit: the most that may be spent.
    """
    if cost(1) > limit:
        return 0
    low, high = 1, 2
    while cost(high) <= limit and high < _MOST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= limit else (low, middle)
    return low
