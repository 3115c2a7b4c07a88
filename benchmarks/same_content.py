"""Shard one corpus in every way that there is, undisturbed and killed at random moments: one content id, or exit 1.

    python benchmarks/same_content.py TEXT… [--moments 20] [--seed 1] [--ways …]

The ways: one worker, two workers, Ray (a cluster on this machine), four parts and their merging. Each runs once
undisturbed. Then, MOMENTS times, its command (of the five that four parts take, a random one) is killed twice with
SIGKILL, with all processes that it started, after random shares of its time, and run again to its end.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.kill9 import ELECTRA, killed_after, run

# Some forty pieces of two files of enwiki, so that there is something to continue.
ROWS = ["--length", "64", "--val-fraction", "0.1", "--set", "unit_bytes=50000"]
PARTS = 4
WAYS = ["one", "two", "ray", "parts"]


def commands(way: str, texts: list[str], tokenizer: Path, folder: Path) -> list[list[str]]:
    """The commands of a way of sharding; the last one makes `folder/shards`."""
    sharding = ["shard", *texts, "--tokenizer", str(tokenizer), *ROWS]
    out = ["--out", str(folder / "shards")]
    if way == "parts":
        parts = [
            [*sharding, "--workers", "1", "--part", f"{number}/{PARTS}", "--out", str(folder / "parts" / str(number))]
            for number in range(1, PARTS + 1)
        ]
        return [*parts, ["merge", str(folder / "parts"), *out]]
    engine = {"one": ["--workers", "1"], "two": ["--workers", "2"], "ray": ["--workers", "2", "--engine", "ray"]}
    return [[*sharding, *engine[way], *out]]


def undisturbed(steps: list[list[str]], folder: Path) -> tuple[str, list[float]]:
    """Run the commands of a way to their ends; return the content id and each one's seconds."""
    results = [run(step) for step in steps]
    return checked(str(results[-1][0]["content_id"]), folder), [seconds for _, seconds in results]


def disturbed(steps: list[list[str]], folder: Path, seconds: list[float], dice: random.Random) -> tuple[str, int]:
    """The same with one of the commands killed twice before it may end; return the content id, and the kills."""
    victim = dice.randrange(len(steps))
    kills, content = 0, ""
    for number, step in enumerate(steps):
        if number == victim:
            kills += killed_after(step, dice.uniform(0.1, 1.0) * seconds[number])
            kills += killed_after(step, dice.uniform(0.1, 0.8) * seconds[number])
        content = str(run(step)[0]["content_id"])
    return checked(content, folder), kills


def checked(content: str, folder: Path) -> str:
    """Return a content id after verifying what lies in `folder`, which is emptied."""
    command = [*ELECTRA, "verify", str(folder / "shards"), "--quiet"]
    verified = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    shutil.rmtree(folder)
    (folder / "parts").mkdir(parents=True)
    return content if verified.returncode == 0 else f"{content} (damaged)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    given = parser.parse_args()
    dice = random.Random(given.seed)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        tokenizer, folder = Path(name, "tokenizer"), Path(name, "work")
        (folder / "parts").mkdir(parents=True)
        run(["tokenize", *given.texts, "--vocab-size", "4096", "--out", str(tokenizer)])
        for way in given.ways:
            steps = commands(way, given.texts, tokenizer, folder)
            content, seconds = undisturbed(steps, folder)
            print(f"{way}, undisturbed in {sum(seconds):.1f} s: {content}", flush=True)
            found[content] += 1
            kills = 0
            killed: Counter[str] = Counter()
            for _ in range(given.moments):
                content, hits = disturbed(steps, folder, seconds, dice)
                killed[content] += 1
                kills += hits
            for content, times in killed.items():
                print(f"{way}, {times} of {given.moments} disturbed by {kills} kills: {content}", flush=True)
            found += killed
    print("the same content everywhere" if len(found) == 1 else f"{len(found)} different contents")
    return 0 if len(found) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
