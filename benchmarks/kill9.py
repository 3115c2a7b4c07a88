"""Kill -9 at random moments of tokenize, shard and pretrain, run again, compare content ids with undisturbed runs.

    python benchmarks/kill9.py TEXT… [--moments 20] [--seed 1]

For each stage: one undisturbed run, then MOMENTS runs that are killed twice, with their workers, after random shares of
its time, and then run to the end. Every content id must be that of the undisturbed run and every artifact must verify.
Exit 1 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ELECTRA = [sys.executable, "-m", "electra_cli"]


def run(arguments: list[str]) -> tuple[dict[str, object], float]:
    """Run a command to its end; what it printed, and its seconds."""
    started = time.monotonic()
    done = subprocess.run([*ELECTRA, *arguments, "--json", "--quiet"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout), time.monotonic() - started


def killed_after(arguments: list[str], seconds: float) -> bool:
    """Start a command and kill it with all that it started after `seconds`; False if it had finished."""
    process = subprocess.Popen(
        [*ELECTRA, *arguments, "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        for pid in [process.pid, *in_session(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        return True


def in_session(leader: int) -> list[int]:
    """The processes of a session: those that its leader started, and those that they did, whoever is their parent."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(folder.name))
    return found


def sweep(name: str, arguments: list[str], folder: Path, *, moments: int, dice: random.Random) -> bool:
    """Kill one stage at `moments` random moments; True if every result is the undisturbed one."""
    wanted, seconds = run([*arguments, "--out", str(folder / f"{name}-undisturbed")])
    good = kills = 0
    for number in range(moments):
        out = folder / f"{name}-{number}"
        moment = dice.uniform(0.1, 1.0) * seconds
        kills += killed_after([*arguments, "--out", str(out)], moment)
        kills += killed_after([*arguments, "--out", str(out)], dice.uniform(0.1, 0.7) * seconds)
        found, _ = run([*arguments, "--out", str(out)])
        verified = subprocess.run([*ELECTRA, "verify", str(out), "--quiet"], stdout=subprocess.DEVNULL, check=False)
        same = found["content_id"] == wanted["content_id"] and verified.returncode == 0
        good += same
        if not same:
            print(f"{name}: killed at {moment:.2f} s: {found['content_id']}, verify {verified.returncode}")
        shutil.rmtree(out)
    print(
        f"{name}: {good} of {moments} content ids equal {wanted['content_id']}; {kills} kills in {seconds:.1f} s runs"
    )
    return good == moments


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    dice = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = str(folder / "tokenize-undisturbed")
        shards = str(folder / "shard-undisturbed")
        # several units, so that there is something to continue
        rows = ["--length", "64", "--val-fraction", "0.1", "--set", "unit_bytes=500000"]
        often = [f"--set={pair}" for pair in ("log_every=10", "checkpoints.every=20", "evaluation.every=40")]
        often += ["--set=evaluation.rows=64", "--set=optimizer.warmup_steps=20"]
        stages = {
            "tokenize": ["tokenize", *given.texts, "--vocab-size", "4096"],
            "shard": ["shard", *given.texts, "--tokenizer", tokenizer, *rows],
            "pretrain": ["pretrain", shards, "--preset", "tiny", "--steps", "120", *often],
        }
        return 0 if all([sweep(*stage, folder, moments=given.moments, dice=dice) for stage in stages.items()]) else 1


if __name__ == "__main__":
    sys.exit(main())
