"""The curves of a pretraining run: a picture and the numbers behind it.

    electra tokenize enwiki/AA --vocab-size 8192 --out curves/tokenizer
    electra shard enwiki/AA --tokenizer curves/tokenizer --length 128 --out curves/shards
    electra pretrain curves/shards --preset tiny --steps 16000 --set evaluation.every=500 --out curves/pretrained
    python benchmarks/curves.py curves/pretrained --name tiny-enwiki --steps-per-row 2000

Writes benchmarks/curves/NAME.csv (every evaluation on held-out rows) and NAME.png (needs matplotlib), and prints a
table in Markdown.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run as a script, the package must be found

import numpy as np  # noqa: E402

from electra_cli.artifacts import open_artifact  # noqa: E402
from electra_cli.training.history import read_history  # noqa: E402

FIGURES = (
    "generator_loss",
    "generator_accuracy",
    "discriminator_loss",
    "discriminator_auc",
    "discriminator_precision",
    "discriminator_recall",
    "replaced_fraction",
)


def held_out(run: Path) -> list[dict[str, Any]]:
    """One record an evaluation, with the tokens read and the arithmetic done by then."""
    records = read_history(open_artifact(run).file("metrics.jsonl"))
    lines = [{"step": 0, "tokens": 0, "flops": 0}, *(record for record in records if record["kind"] == "train")]
    steps = [line["step"] for line in lines]
    found = []
    for record in records:
        if record["kind"] == "held-out":
            # An evaluation need not fall on a line of the log; between two lines every step reads about as much.
            counts = {
                name: round(float(np.interp(record["step"], steps, [line[name] for line in lines])))
                for name in ("tokens", "flops")
            }
            found.append({"step": record["step"], **counts, **{name: record[name] for name in FIGURES}})
    return found


def draw(lines: list[dict[str, Any]], png: Path, *, title: str) -> None:
    """Generator accuracy and discriminator AUC, recall over tokens."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tokens = [line["tokens"] / 1e6 for line in lines]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    left.plot(tokens, [line["generator_accuracy"] for line in lines])
    left.set(title="generator accuracy at masked tokens", xlabel="million tokens read", ylim=(0, None))
    for name, label in (("discriminator_auc", "AUC"), ("discriminator_recall", "recall")):
        right.plot(tokens, [line[name] for line in lines], label=label)
    right.set(title="discriminator at replaced tokens", xlabel="million tokens read", ylim=(0, 1))
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f"{title}, held-out rows")
    figure.tight_layout()
    figure.savefig(png, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--steps-per-row", type=int, default=2_000, help="of the printed table")
    given = parser.parse_args()
    folder = Path(__file__).resolve().parent / "curves"
    folder.mkdir(exist_ok=True)
    lines = held_out(given.run)
    with (folder / f"{given.name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in line.items()} for line in lines)
    draw(lines, folder / f"{given.name}.png", title=given.name)
    print("| step | tokens | " + " | ".join(name.replace("_", " ") for name in FIGURES) + " |")
    print("| --- " * (2 + len(FIGURES)) + "|")
    for line in lines:
        if line["step"] % given.steps_per_row == 0 or line is lines[-1]:
            shown = ("–" if line[name] is None else f"{line[name]:.3f}" for name in FIGURES)
            print(f"| {line['step']:,} | {line['tokens'] / 1e6:.1f} M | {' | '.join(shown)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
