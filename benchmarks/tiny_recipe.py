"""What each choice of the `tiny` preset gives: pretrain on the demo's text with one choice undone at a time, finetune.

    electra demo --out electra-demo
    python benchmarks/tiny_recipe.py electra-demo --out recipe [--steps 2500] [--seeds 3] [--only paper,tiny]

Every row is `electra pretrain --preset tiny` with the settings it names, on the demo's shards, then the demo's task
(which package is a docstring from?) from that checkpoint. Printed as Markdown: held-out AUC and generator accuracy,
mean and spread of the classifier's accuracy. Run again, it continues; finished rows take seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

# name → settings that differ from preset tiny
ROWS: dict[str, tuple[str, ...]] = {
    "tiny as it is": (),
    "paper's start": ("model.start=paper",),
    "paper's beta2 and epsilon": ("optimizer.beta2=0.999", "optimizer.epsilon=1e-6"),
    "paper's clip": ("optimizer.clip=1.0",),
    "paper's weight of the discriminator": ("objective.discriminator_weight=50.0",),
    "separate generator of half the width": ("generator.shared_encoder=false", "generator.size=0.5"),
    "separate generator of a quarter": ("generator.shared_encoder=false", "generator.size=0.25"),
    "all of the paper's": (
        "model.start=paper",
        "generator.shared_encoder=false",
        "generator.size=0.25",
        "objective.discriminator_weight=50.0",
        "optimizer.learning_rate=5e-4",
        "optimizer.beta2=0.999",
        "optimizer.epsilon=1e-6",
        "optimizer.clip=1.0",
        "model.dropout=0.1",
        "model.attention_dropout=0.1",
    ),
}


def electra(*arguments: object) -> Path:
    """Run a command quietly; the path that it printed."""
    words = [sys.executable, "-m", "electra_cli", *(str(argument) for argument in arguments), "--quiet"]
    return Path(subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout.strip())


def finetuned(data: Path, checkpoint: Path, out: Path, *, seeds: int, scratch: bool) -> str:
    """Mean and spread of the demo's classifier from `checkpoint`."""
    files = (data / "train.tsv", "--dev", data / "dev.tsv", "--seeds", seeds, "--epochs", 10)
    learning = ("--set", "learning_rate=5e-4", "--set", "max_length=96", "--set", "evaluate_every=10")
    extra = ("--from-scratch",) if scratch else ()
    model = electra("finetune", "classify", checkpoint, *files, *learning, *extra, "--out", out)
    runs = json.loads((model / "metrics.json").read_bytes())["runs"]
    scores = [run["score"] for run in runs]
    return f"{mean(scores):.3f} ± {stdev(scores):.3f}" if len(scores) > 1 else f"{scores[0]:.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="what `electra demo --out` made")
    parser.add_argument("--out", type=Path, default=Path("recipe"))
    parser.add_argument("--steps", type=int, default=2_500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="names of rows, by their beginnings, separated by commas")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    wanted = [start for start in given.only.split(",") if start]
    print("| preset tiny, but | held-out AUC | generator accuracy | classifier |\n| --- | --- | --- | --- |")
    checkpoint = None
    for number, (name, settings) in enumerate(ROWS.items()):
        if wanted and not any(name.startswith(start) for start in wanted):
            continue
        sets = [word for pair in settings for word in ("--set", pair)]
        steps = ("--preset", "tiny", "--steps", given.steps)
        checkpoint = electra("pretrain", given.demo / "shards", *steps, *sets, "--out", given.out / f"pair{number}")
        held_out = json.loads((checkpoint / "manifest.json").read_bytes())["spec"]["held_out"]
        score = finetuned(
            given.demo / "data", checkpoint, given.out / f"classifier{number}", seeds=given.seeds, scratch=False
        )
        auc, accuracy = held_out["discriminator_auc"], held_out["generator_accuracy"]
        print(f"| {name} | {auc:.3f} | {accuracy:.3f} | {score} |", flush=True)
        if number == 0 or name == "paper's start":
            score = finetuned(
                given.demo / "data", checkpoint, given.out / f"scratch{number}", seeds=given.seeds, scratch=True
            )
            print(f"| the same start, untrained | | | {score} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
