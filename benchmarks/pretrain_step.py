"""Our pretraining step beside its peers': the same model, rows and batch, in one command, in random order.

    python3.11 -m venv peers
    peers/bin/pip install --constraint constraints.txt -e . transformers
    peers/bin/pip install --no-deps electra-pytorch==0.1.2 simpletransformers==0.70.8
    peers/bin/pip install tensorboard seqeval pandas scikit-learn datasets requests tqdm

    electra tokenize enwiki/AA --out runs/en/tokenizer
    electra shard runs/en/tokenizer enwiki/AA --out runs/en/shards
    peers/bin/python benchmarks/pretrain_step.py --shards runs/en/shards --batch 16 32 128 --json out.json
    peers/bin/python benchmarks/pretrain_step.py --shards runs/en/shards --batch 16 --profile ours

ELECTRA-small (discriminator 256 wide, 12 layers, 4 heads, feed-forward 1024; generator 64 wide; embeddings of 128),
15 % masks, dropout 0.1, real rows without padding. A contestant whose packages are not installed is left out, with a
note.

Every contestant runs in a process of its own, because allocator settings and peak memory belong to a process; the
parent lets one at a time take a few whole optimizer steps. In each round every contestant is sampled once, in an order
drawn anew. Beside each sample stands how many cores *other* processes used; the quiet samples (at most 0.2) count,
unless they are fewer than half: then all count and the line is marked noisy.

What exactly is driven: `peers/ours.py`, `peers/loops.py`, `peers/packages.py`; what the machine allows:
`peers/roofline.py`; the goals: `peers/contestants.py`. Exit status 1 if a contestant failed, else 0, goals met or not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run as a script, `benchmarks` must be found

from benchmarks.peers.contestants import CONTESTANTS, SMALL, TINY, Job  # noqa: E402
from benchmarks.peers.fleet import Results, Worker, race  # noqa: E402
from benchmarks.peers.profiling import profile_table  # noqa: E402
from benchmarks.peers.report import as_json, ratios, summarize, table, utilization  # noqa: E402
from benchmarks.peers.rows import full_rows  # noqa: E402


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, help="an artifact of `electra shard`; only its full rows are used")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 32], help="rows in a step (default: 16 32)")
    parser.add_argument("--threads", type=int, default=2, help="of each contestant (default: 2)")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each contestant (default: 7)")
    parser.add_argument("--steps-per-sample", type=int, default=3, help="optimizer steps in a sample (default: 3)")
    parser.add_argument("--warmup", type=int, default=2, help="untimed steps after each start (default: 2)")
    parser.add_argument("--seed", type=int, default=1, help="of the order in which contestants are sampled")
    parser.add_argument(
        "--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS), metavar="NAME",
        help=f"who takes part (default: all): {', '.join(CONTESTANTS)}",
    )  # fmt: skip
    parser.add_argument("--size", choices=("small", "tiny"), default="small", help="tiny: only to try the script out")
    parser.add_argument("--json", type=Path, help="write every sample and result there")
    parser.add_argument("--profile", metavar="NAME", nargs="?", const="ours", choices=[*CONTESTANTS],
                        help="instead: where NAME's step spends its time (default: ours)")  # fmt: skip
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.shards is None and options.worker is None:
        parser.error("--shards is needed: the shards that everybody trains on")
    if min(*options.batch, options.threads, options.rounds, options.steps_per_sample) < 1:
        parser.error("batch, threads, rounds and steps must be at least 1")
    return options


def present(names: Sequence[str]) -> list[str]:
    """The contestants whose packages are installed; a note about each of the others."""
    found = []
    for name in names:
        if missing := CONTESTANTS[name].missing():
            say(f"{name} is left out: {', '.join(missing)} not installed (see --help)")
        else:
            found.append(name)
    if not found:
        raise SystemExit("nobody is left")
    return found


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    versions = {name: CONTESTANTS[name].versions() for name in CONTESTANTS if not CONTESTANTS[name].missing()}
    from importlib.metadata import version

    return {"cpu": model, "cores": os.cpu_count(), "torch": version("torch"), "versions": versions}


def say(message: str) -> None:
    """A line for whoever watches."""
    print(message, file=sys.stderr, flush=True)


def compare(options: argparse.Namespace, jobs_of: Callable[[int], list[Job]], *, length: int) -> bool:
    """Race at every batch size, print the tables, write the JSON; whether all contestants came through."""
    results, dice = Results(), random.Random(options.seed)
    for batch in options.batch:
        race(
            jobs_of(batch), results, length=length, rounds=options.rounds, steps=options.steps_per_sample,
            warmup=options.warmup, dice=dice, say=say,
        )  # fmt: skip
        lines = summarize(results.samples)
        comparisons, used = ratios(lines), utilization(lines, results.rooflines)
        if options.json:  # after every batch size: a long run that is cut short leaves what it has
            document: dict[str, Any] = {"machine": machine(), "options": {k: str(v) for k, v in vars(options).items()}}
            document |= as_json(lines, comparisons, used)
            document |= {"failed": sorted(results.failed), "samples": [item.to_json() for item in results.samples]}
            options.json.write_text(json.dumps(document, indent=1) + "\n")
    print(table(lines, comparisons, used))
    return not results.failed


def profile(options: argparse.Namespace, job: Job) -> None:
    """Print where one contestant's step spends its time."""
    worker = Worker(job, log=job.work / "profile.log")
    try:
        worker.ask(steps=max(1, options.warmup))
        answer, others = worker.ask(steps=options.steps_per_sample, profile=True)
    finally:
        worker.close()
    say(f"{job.name}, batch {job.batch}, {job.threads} threads; others used {others:.2f} cores")
    wall_ms = 1e3 * answer["seconds"] / answer["steps"]
    print(profile_table(answer["profile"], steps=answer["steps"], wall_ms=wall_ms))


def main() -> int:
    """Run the command line."""
    options = parse()
    if options.worker:
        from benchmarks.peers.worker import work

        work(options.worker)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers and folders are cleared away
    size = SMALL if options.size == "small" else TINY
    with tempfile.TemporaryDirectory(prefix="pretrain-step-") as folder:
        shards, length = full_rows(options.shards, Path(folder) / "rows")
        names = present([options.profile] if options.profile else options.contestants)

        def jobs_of(batch: int) -> list[Job]:
            return [Job(name, shards, Path(folder) / "work", batch, options.threads, size) for name in names]

        if options.profile:
            profile(options, jobs_of(options.batch[0])[0])
        else:
            return 0 if compare(options, jobs_of, length=length) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
