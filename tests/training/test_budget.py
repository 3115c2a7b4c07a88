from __future__ import annotations

import pytest

from electra_cli.training.budget import Budget, most_steps, parse_budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("24h", Budget("time", 86_400)),
        ("1.5h", Budget("time", 5_400)),
        ("90m", Budget("time", 5_400)),
        ("2e9tok", Budget("tokens", 2e9)),
        ("500tok", Budget("tokens", 500)),
        ("1e18flop", Budget("flops", 1e18)),
        ("6.4e19flop", Budget("flops", 6.4e19)),
    ],
)
def test_forms(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text",
    [
        "",
        "24",
        "h",
        "24 h",
        "24H",
        "-1h",
        "+1h",
        "0h",
        "1e999h",
        "nanh",
        "1_000tok",
        "2e9 tok",
        "1d",
        "24h\n",
        "\u0661h",
    ],
)
def test_nothing_else_is_a_budget(text: str) -> None:
    with pytest.raises(ValueError, match="is no budget; write 24h, 90m, 2e9tok or 1e18flop"):
        parse_budget(text)


@pytest.mark.parametrize("limit", [0.5, 1, 6.9, 7, 7.1, 1000, 123_456.7])
def test_most_steps_is_the_last_that_fits(limit: float) -> None:
    steps = most_steps(lambda n: 7 * n + n // 10, limit)
    assert steps == next(n for n in range(20_000) if 7 * (n + 1) + (n + 1) // 10 > limit)


def test_a_budget_without_end_has_one() -> None:
    assert most_steps(lambda n: n * 1e-9, 1e60) < 10**11
