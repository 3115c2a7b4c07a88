"""`electra evaluate`: a pretrained checkpoint on held-out text, or a finetuned model on labelled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from electra_cli.cli.options import ConfigFile, Json, PrintConfig, Quiet, Sets, Where
from electra_cli.cli.ui import figure, session
from electra_cli.errors import GateError, UsageError

if TYPE_CHECKING:
    from electra_cli.artifacts import Artifact


def evaluate(
    where: Where,
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DATA]...",
            help="A model: one labelled file, or the GLUE folder. A checkpoint: shards, or text files.",
            show_default=False,
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Exit with code 9 if the metric is below VALUE; repeatable.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default=False)] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    print_config: PrintConfig = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a finetuned model or a pretrained checkpoint.

    Prints the metrics; nothing is written. A model gives its task's metrics and the mean loss, a checkpoint those of
    generator and discriminator.
    """
    with session("evaluate", json=json, quiet=quiet) as ui:
        from electra_cli.artifacts import open_artifact
        from electra_cli.config import resolve
        from electra_cli.stages import evaluate as models
        from electra_cli.stages import evaluate_pretraining as pairs

        artifact = open_artifact(where, kinds=("checkpoint", "model"), hashes=False)
        gates = _gates(fail_under or (), artifact)
        flags = {"device": device}
        if artifact.kind == "model":
            chosen = resolve(models.EvaluateModelSettings, file=config, sets=sets or (), flags=flags)
            if print_config:
                ui.print_config(chosen)
                return
            metrics = models.run(artifact.path, data or (), settings=chosen.settings, report=ui)
        else:
            resolved = resolve(pairs.EvaluatePretrainingSettings, file=config, sets=sets or (), flags=flags)
            if print_config:
                ui.print_config(resolved)
                return
            metrics = pairs.run(artifact.path, data or (), settings=resolved.settings, report=ui)
        problem = _missed(gates, metrics)
        if problem is None or not json:
            ui.page(_table(metrics), summary=metrics, artifact=artifact)
        if problem is not None:
            raise problem


def _gates(texts: Sequence[str], artifact: Artifact) -> dict[str, float]:
    """Parse `metric=value`; for a model the metric must be one that its task has."""
    from electra_cli.stages.evaluate import metric_names

    known = metric_names(artifact) if artifact.kind == "model" else ()
    gates: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            gates[name] = float(value)
        except ValueError:
            raise UsageError(
                f"--fail-under {text!r} is not of the form metric=number",
                code="BAD_GATE",
                where="--fail-under",
                hint="for example --fail-under accuracy=0.9",
            ) from None
        if known and name.rpartition(".")[2] not in known:
            raise _unknown(name, known)
    return gates


def _unknown(name: str, known: Sequence[str]) -> UsageError:
    return UsageError(
        f"no metric is called {name}",
        code="UNKNOWN_METRIC",
        where="--fail-under",
        hint=f"there are: {', '.join(known)}",
    )


def _missed(gates: Mapping[str, float], metrics: Mapping[str, float | int | None]) -> GateError | None:
    """The error for the gates that `metrics` do not meet; a metric without a value meets none."""
    missed = []
    for name, least in gates.items():
        if name not in metrics:
            raise _unknown(name, list(metrics))
        value = metrics[name]
        if value is None or not value >= least:
            missed.append(f"{name} is {'null' if value is None else figure(value)}, demanded was {figure(least)}")
    return GateError("; ".join(missed), code="GATE_NOT_MET", where="--fail-under") if missed else None


def _table(metrics: Mapping[str, float | int | None]) -> str:
    width = max(len(name) for name in metrics)
    return "\n".join(f"{name:<{width}}  {'-' if value is None else figure(value)}" for name, value in metrics.items())
