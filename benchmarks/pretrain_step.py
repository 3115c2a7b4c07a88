"""Our pretraining step beside its peers; interleaved, one process each (being built).

    python benchmarks/pretrain_step.py --shards runs/en/shards --contestants ours transformers tuned best
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run as a script, `benchmarks` must be found

from benchmarks.peers.contestants import CONTESTANTS, SMALL, TINY, Job  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker")
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps-per-sample", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS))
    options = parser.parse_args()
    if options.worker:
        from benchmarks.peers.worker import work

        work(options.worker)
    from benchmarks.peers.fleet import race
    from benchmarks.peers.rows import full_rows

    with tempfile.TemporaryDirectory() as folder:
        shards = full_rows(options.shards, Path(folder) / "rows")
        for batch in options.batch:
            jobs = [Job(n, shards, Path(folder), batch, options.threads, SMALL) for n in options.contestants]
            race(
                jobs,
                length=128,
                rounds=options.rounds,
                steps=options.steps_per_sample,
                warmup=options.warmup,
                dice=random.Random(options.seed),
                say=lambda m: print(m, flush=True),
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
