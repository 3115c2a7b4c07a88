"""`electra pretrain --dry-run` as a page for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from electra_cli.cli.ui import duration, figure

_PARTS = {
    "embeddings": "shared embeddings",
    "discriminator": "discriminator's layers",
    "generator": "generator's layers",
    "discriminator_head": "discriminator's head (or that of words)",
    "generator_head": "generator's head",
    "total": "in total",
}
_MEMORY = {
    "weights": "weights",
    "gradients": "gradients",
    "moments": "the optimizer's moments",
    "average": "average of weights",
    "activations": "activations and workspace, measured",
    "peak": "most held while measuring",
}


def dry_run_page(figures: Mapping[str, Any]) -> str:
    """The page that shows what `stages.pretrain.dry_run` found out."""
    return "\n".join(_lines(figures))


def _lines(figures: Mapping[str, Any]) -> Iterator[str]:
    yield "parameters"
    for key, count in figures["parameters"].items():
        yield _row(_PARTS[key], figure(count))
    yield from ("", "data")
    yield from _data(figures)
    yield from ("", "arithmetic, floating-point operations")
    flops = figures["flops"]
    yield _row("a token, forward and backward", *(f"{value:.4g}" for value in flops["per_token"]))
    yield _row("a step", *(f"{value:.4g}" for value in flops["per_step"]))
    yield _row("the run", f"{flops['run']:.4g}")
    yield _row("the run, as the released code counts", f"{flops['released_count']:.4g}")
    yield from ("", "memory")
    for key, size in figures["memory"].items():
        if size:
            yield _row(_MEMORY[key], figure(size, "bytes"))
    yield from ("", *_time(figures["time"]))


def _data(figures: Mapping[str, Any]) -> Iterator[str]:
    data = figures["data"]
    budget = f"  (for {figures['budget']})" if figures["budget"] is not None else ""
    yield _row("steps", figure(figures["steps"]) + budget)
    phases = data["phases"]
    if len(phases) > 1:
        yield _row("steps of each phase", *(figure(phase["steps"]) for phase in phases))
    yield _row("rows in a step", *(figure(phase["rows_per_step"]) for phase in phases))
    if phases[0]["first_step_rows"] != phases[0]["rows_per_step"]:
        yield _row("rows in the first step", figure(phases[0]["first_step_rows"]))
    yield _row("tokens in a row", *(figure(phase["length"]) for phase in phases))
    yield _row("rows there are", *(figure(phase["rows"]) for phase in phases))
    yield _row("epochs", *(f"{phase['epochs']:.3g}" for phase in phases))
    for number, parts in enumerate(zip(*(phase.get("parts", ()) for phase in phases), strict=True), start=1):
        yield _row(f"epochs of part {number}", *(f"{part['epochs']:.3g} ({part['share']:.1%})" for part in parts))
    yield _row("tokens read", figure(data["tokens"]))
    yield _row("padding besides", f"{data['padding']:.2%}")


def _time(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"time, measured on {found['device']}, {found['precision']}"
    yield _row("seconds a step", *(f"{seconds:.3g}" for seconds in found["step_seconds"]))
    yield _row("tokens a second", *(figure(round(rate)) for rate in found["tokens_per_second"]))
    peak = f"{found['peak_flops_per_second'] / 1e12:.3g} TFLOP/s"
    shares = [f"{share:.1%}" for share in found["mfu"]]
    yield _row(f"share of the peak ({found['peak_source']}, {peak})", *shares)
    yield _row("seconds an evaluation", *(f"{seconds:.3g}" for seconds in found["evaluation_seconds"]))
    yield _row("seconds a checkpoint", f"{found['checkpoint_seconds']:.3g}")
    yield _row("the whole run", f"{found['hours']:.3g} hours ({duration(found['hours'] * 3600)})")


def _row(name: str, *values: str) -> str:
    return f"  {name:<42}" + "".join(f"  {value:>14}" for value in values)
