"""What a step's time goes to: `torch.profiler`'s operators in the groups of performance.md, section 2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# The first pattern that matches an operator's name says its group.
GROUPS = (
    ("optimizer, clipping", r"adam|foreach|vector_norm|clip"),
    ("attention products", r"bmm|scaled_dot_product|flash"),
    ("linears", r"::(mm|addmm|linear|mkldnn_linear\w*|_linear_pointwise|matmul)|mkldnn|onednn"),
    ("log-softmax, loss", r"log_softmax|nll_loss|cross_entropy|binary_cross|logsumexp"),
    ("softmax", r"softmax"),
    ("RNG, dropout", r"random|bernoulli|uniform|exponential|multinomial|dropout|rand|normal_"),
    ("gelu", r"gelu|erf"),
    ("layer norm", r"layer_norm"),
    ("copies, casts", r"copy|clone|contiguous|::(to|cat|stack|pad|constant_pad_nd|zeros|zero_|fill_|empty|index_put)"),
    ("gather, scatter, search", r"gather|scatter|index|embedding|searchsorted|topk|nonzero|sort|where|masked"),
    (
        "mul, add, compare",
        r"mul|add|sub|div|neg|ge$|gt$|lt$|le$|eq$|ne$|exp|log|sqrt|rsqrt|clamp|bitwise|shift|and|xor",
    ),
    ("reductions", r"sum|mean|max|min|cumsum|all$|any$|isfinite"),
)


def group_of(name: str) -> str:
    """The group of an operator."""
    if re.search(r"^autograd::|Backward\d*$|^Optimizer|^ProfilerStep", name):  # their own time, not their operators'
        return "autograd, Python"
    lowered = name.lower()
    return next((group for group, pattern in GROUPS if re.search(pattern, lowered)), "other")


def profile_table(rows: Sequence[dict[str, Any]], *, steps: int, wall_ms: float, top: int = 25) -> str:
    """Milliseconds a step of every group, then of the `top` operators.

    Args:
        rows: name, ms and calls of each operator over all steps.
        steps: how many steps that were.
        wall_ms: wall clock of one step, the profiler's own cost included.
    """
    totals: dict[str, float] = {}
    for row in rows:
        totals[group_of(row["name"])] = totals.get(group_of(row["name"]), 0.0) + row["ms"] / steps
    everything = sum(totals.values())
    lines = [f"{'ms a step':>10}{'share':>8}  group"]
    lines += [
        f"{ms:>10.1f}{ms / everything:>8.1%}  {group}"
        for group, ms in sorted(totals.items(), key=lambda item: -item[1])
    ]
    lines += [f"{everything:>10.1f}{'':>8}  all operators; wall clock {wall_ms:.1f} (with the profiler's own cost)", ""]
    lines.append(f"{'ms a step':>10}{'calls':>8}  operator (group)")
    for row in sorted(rows, key=lambda row: -row["ms"])[:top]:
        calls = row["calls"] / steps
        lines.append(f"{row['ms'] / steps:>10.1f}{calls:>8.0f}  {row['name']} ({group_of(row['name'])})")
    return "\n".join(lines)
