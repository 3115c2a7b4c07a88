"""`electra demo`: the whole line on text that is already on this machine, by the commands that a user would type."""

from __future__ import annotations

import json as json_module
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import typer

from electra_cli.cli.options import Json, Quiet
from electra_cli.cli.ui import Ui, command_line, say, session

VOCABULARY, EPOCHS = 4096, 12


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for everything.")] = Path(
        "electra-demo"
    ),
    steps: Annotated[
        int | None, typer.Option(help="Pretraining steps; by default the tiny preset's.", show_default=False)
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Finetuning runs in each row of the table.")] = 3,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole line on the docstrings of this machine's Python packages.

    Real English text, a tokenizer, shards, pretraining, finetuning with few labels (which package is this docstring
    from?), an export, and a table of what was measured. Every command is printed before it runs.
    """
    with session("demo", json=json, quiet=quiet) as ui:
        from electra_cli.stages.demo_data import prepare

        started = time.monotonic()
        data = prepare(out / "data", report=ui)
        ui.note(
            f"text: {data.corpus} ({data.corpus.stat().st_size / 1e6:.1f} MB of docstrings); task: which of "
            f"{len(data.labels)} packages is a docstring from? ({data.train}, {data.dev})"
        )
        runner = Runner(ui, quiet=quiet or json)
        tokenizer = runner("tokenize", data.corpus, "--vocab-size", VOCABULARY, "--out", out / "tokenizer")
        rows = ("--length", 128, "--val-fraction", 0.03)
        shards = runner("shard", data.corpus, "--tokenizer", tokenizer, *rows, "--out", out / "shards")
        stop = ("--steps", steps) if steps is not None else ()
        pretrained = runner("pretrain", shards, "--preset", "tiny", *stop, "--out", out / "pretrained")
        learning = ("--set", "learning_rate=5e-4", "--set", "max_length=96", "--set", f"evaluate_every={EPOCHS}")
        task = (data.train, "--dev", data.dev, "--seeds", seeds, "--epochs", EPOCHS, *learning)
        classifier = runner("finetune", "classify", pretrained, *task, "--out", out / "classifier")
        baseline = runner("finetune", "classify", pretrained, *task, "--from-scratch", "--out", out / "from-scratch")
        export = runner("export", classifier, "--to", "hf", "--out", out / "hf")
        figures = measured(pretrained, classifier, baseline)
        places = {
            "tokenizer": tokenizer,
            "shards": shards,
            "pretrained": pretrained,
            "classifier": classifier,
            "export": export,
        }
        seconds = time.monotonic() - started
        summary = {**figures, "artifacts": {name: str(path) for name, path in places.items()}, "seconds": seconds}
        ui.page(
            table(figures, places, labels=len(data.labels), dev_rows=data.dev_rows, seconds=seconds), summary=summary
        )


class Runner:
    """Prints a command, runs it as a user would, and returns the path that it printed."""

    def __init__(self, ui: Ui, *, quiet: bool) -> None:
        self.ui, self.quiet = ui, quiet

    def __call__(self, *arguments: object) -> Path:
        """Run `electra` with `arguments`; a failure ends the demo with the command's own exit code."""
        words = [str(argument) for argument in arguments]
        if not self.quiet:
            say("", f"\n$ {command_line('electra', *words)}", color="1")
        quiet = ["--quiet"] if self.quiet else []
        done = subprocess.run(
            [sys.executable, "-m", "electra_cli", *words, *quiet], stdout=subprocess.PIPE, check=False
        )
        if done.returncode:
            raise typer.Exit(done.returncode)
        return Path(done.stdout.decode("utf-8", "surrogateescape").rstrip("\n"))


def measured(pretrained: Path, classifier: Path, baseline: Path) -> dict[str, Any]:
    """What the demo's table shows, read from the artifacts."""
    from electra_cli.artifacts import open_artifact

    spec = open_artifact(pretrained, hashes=False).spec
    rows = {"before": spec["held_out_before"], "after": spec["held_out"]}
    scores = {}
    for name, path in (("pretrained", classifier), ("random weights", baseline)):
        metrics = json_module.loads(open_artifact(path, hashes=False).file("metrics.json").read_bytes())
        scores[name] = [run["score"] for run in metrics["runs"]]
        majority = metrics["majority"][metrics["metric"]]
    return {"pretraining": rows, "accuracy": scores, "majority": majority, "steps": spec["step"]}


def table(figures: Mapping[str, Any], places: Mapping[str, Path], *, labels: int, dev_rows: int, seconds: float) -> str:
    """The closing page."""
    before, after = figures["pretraining"]["before"], figures["pretraining"]["after"]
    lines = [
        f"pretraining, {figures['steps']:,} steps, held-out text",
        *_row("", "before", "after"),
        *_row("generator accuracy (masked tokens)", *_numbers(before, after, "generator_accuracy")),
        *_row("discriminator AUC (replaced tokens)", *_numbers(before, after, "discriminator_auc")),
        "",
        f"finetuning, {labels} packages, accuracy on {dev_rows:,} held-out docstrings",
        *_row("", "mean", "spread", "seeds"),
    ]
    for name, scores in figures["accuracy"].items():
        spread = f"± {stdev(scores):.3f}" if len(scores) > 1 else ""
        lines += _row(f"from {name}", f"{mean(scores):.3f}", spread, "  ".join(f"{score:.3f}" for score in scores))
    majority = figures["majority"]
    lines += _row(
        "always the most frequent package", f"{majority:.3f}" if isinstance(majority, float) else str(majority)
    )
    lines += ["", *(f"{name:<12}{path}" for name, path in places.items()), "", f"took {seconds:.0f} s"]
    return "\n".join(lines)


def _numbers(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> Sequence[str]:
    return ["-" if row.get(name) is None else f"{row[name]:.3f}" for row in (before, after)]


def _row(name: str, *cells: str) -> list[str]:
    return [f"  {name:<36}" + "".join(f"{cell:>10}" if index < 2 else f"   {cell}" for index, cell in enumerate(cells))]
