"""The parent's side: workers that are started, asked for steps and watched, one running at a time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import CONTESTANTS, ROOFLINE, Job

SCRIPT = Path(__file__).resolve().parent.parent / "pretrain_step.py"
QUIET = 0.2  # cores that other processes may use during a sample
SETTLE = 0.2  # seconds between samples: thread pools spin for a while, prefetchers fill their queues
IDLE_MB = 700.0  # an idle worker that gave its memory back: interpreter, libraries, weights and moments
BASE_MB = 600.0


@dataclass(frozen=True)
class Sample:
    """One measurement: some whole steps of one contestant.

    Attributes:
        name: of the contestant.
        batch: rows in a step.
        round: in which round it was taken.
        steps: optimizer steps.
        seconds: wall clock.
        tokens_per_second: tokens of full rows.
        own_cores: cores that the worker used.
        other_cores: cores that all other processes used meanwhile (stolen time counts).
        peak_mb: the worker's peak resident memory so far.
        loss: of the last step, where the loop shows it.
    """

    name: str
    batch: int
    round: int
    steps: int
    seconds: float
    tokens_per_second: float
    own_cores: float
    other_cores: float
    peak_mb: float
    loss: float | None = None

    @property
    def quiet(self) -> bool:
        return self.other_cores <= QUIET

    @property
    def tokens_per_cpu_second(self) -> float:
        """Tokens for each second of the worker's CPU time, on all its threads."""
        return self.tokens_per_second / self.own_cores

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "quiet": self.quiet}


def busy_seconds(stat: str) -> float:
    """CPU seconds that were not idle since boot, from the text of /proc/stat."""
    fields = [int(field) for field in stat.splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]  # guest time is within user
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class WorkerDied(Exception):
    """A contestant's process ended by itself: an error of its own, or no memory."""


class Worker:
    """One contestant's process.

    Args:
        job: what it is told.
        log: where its messages go.

    Raises:
        WorkerDied: it ended before it was ready.
    """

    def __init__(self, job: Job, *, log: Path) -> None:
        self.job = job
        job.work.mkdir(parents=True, exist_ok=True)
        self._log = log
        threads = str(job.threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent.parent), os.environ.get("PYTHONPATH", "")]),
        }
        with open(log, "ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), "--worker", json.dumps(job.to_json())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                text=True,
            )
        try:
            self._receive()  # ready
        except WorkerDied:
            self.close()
            raise

    def ask(self, **command: Any) -> tuple[dict[str, Any], float]:
        """The worker's answer, and how many cores all other processes used meanwhile."""
        own_before, started = time.process_time(), time.perf_counter()
        busy = busy_seconds(Path("/proc/stat").read_text())
        with contextlib.suppress(BrokenPipeError):  # _receive says what happened
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        answer = self._receive()
        busy = busy_seconds(Path("/proc/stat").read_text()) - busy
        own = time.process_time() - own_before + answer["cpu"]
        return answer, max(0.0, (busy - own) / (time.perf_counter() - started))

    def sample(self, *, steps: int, length: int, round: int) -> Sample:
        """Let it take `steps` steps over rows of `length` tokens."""
        answer, others = self.ask(steps=steps)
        return Sample(
            name=self.job.name,
            batch=self.job.batch,
            round=round,
            steps=steps,
            seconds=answer["seconds"],
            tokens_per_second=steps * self.job.batch * length / answer["seconds"],
            own_cores=answer["cpu"] / answer["seconds"],
            other_cores=others,
            peak_mb=answer["peak_mb"],
            loss=answer["loss"],
        )

    def close(self) -> None:
        """End it and wait until its memory is free."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _receive(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            last = self._log.read_text(errors="replace").splitlines()[-15:]
            raise WorkerDied(
                f"{self.job.name} ended with {self._process.returncode}; the end of {self._log}:\n" + "\n".join(last)
            )
        return json.loads(line)


def available_mb() -> float:
    """Memory that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/meminfo names no MemAvailable")


def fit_together(names: Sequence[str], *, batch: int) -> bool:
    """Whether the workers can stay alive side by side: all idle ones, and the largest at work."""
    peaks = {name: BASE_MB + CONTESTANTS[name].mb_per_row * batch for name in names}
    idle = [peaks[name] if CONTESTANTS[name].keeps_memory else IDLE_MB for name in names]
    return sum(idle) + max(peaks.values()) < 0.8 * available_mb()


@dataclass
class Results:
    """What a race gave.

    Attributes:
        samples: of all contestants.
        rooflines: what the roofline's worker said in each round, with batch, other_cores and quiet.
        failed: contestants whose process died.
    """

    samples: list[Sample] = field(default_factory=list)
    rooflines: list[dict[str, Any]] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)


def race(
    jobs: Sequence[Job],
    results: Results,
    *,
    length: int,
    rounds: int,
    steps: int,
    warmup: int,
    dice: random.Random,
    say: Callable[[str], None],
) -> None:
    """Take one sample of every contestant in each round, in an order drawn anew each round, and add it to `results`.

    Workers stay alive between rounds if memory allows it; otherwise each is started for every sample and ended after
    it. Either way `warmup` steps go untimed after each start. A contestant whose process dies is out of the race.
    """
    stay = fit_together([job.name for job in jobs], batch=jobs[0].batch)
    say(f"batch {jobs[0].batch}: workers {'stay alive' if stay else 'are started anew for each sample (memory)'}")
    alive: dict[str, Worker] = {}
    failed: set[str] = set()
    try:
        for number in range(rounds):
            for job in dice.sample(list(jobs), len(jobs)):
                if job.name in failed:
                    continue
                try:
                    if job.name not in alive:
                        _start(alive, job, number, warmup=warmup)
                    time.sleep(SETTLE)
                    say(_take(alive[job.name], results, number, steps=steps, length=length))
                except WorkerDied as error:
                    say(f"  {job.name} is out: {error}")
                    failed.add(job.name)
                if job.name in alive and (job.name in failed or not stay):
                    alive.pop(job.name).close()
    finally:
        results.failed |= failed
        for worker in alive.values():
            worker.close()


def _take(worker: Worker, results: Results, number: int, *, steps: int, length: int) -> str:
    """Add one measurement to the results; a line about it."""
    job = worker.job
    if job.name != ROOFLINE:
        results.samples.append(worker.sample(steps=steps, length=length, round=number))
        return shown(results.samples[-1])
    answer, others = worker.ask(steps=1)
    results.rooflines.append({**answer, "batch": job.batch, "other_cores": others, "quiet": others <= QUIET})
    return f"  round {number}  {job.name:<20}{answer['gflops']['best own']:>8,.0f} GFLOP/s, others {others:.2f}"


def _start(alive: dict[str, Worker], job: Job, number: int, *, warmup: int) -> None:
    """Add a worker in a folder of its own, past its first steps, to `alive`."""
    folder = job.work / f"{job.name}-{job.batch}-{number}"
    worker = alive[job.name] = Worker(replace(job, work=folder), log=job.work / f"{job.name}.log")
    if warmup and job.name != ROOFLINE:  # which warms up every shape itself
        worker.ask(steps=warmup)


def shown(sample: Sample) -> str:
    """One line about a sample."""
    noisy = "" if sample.quiet else "  NOISY"
    loss = "" if sample.loss is None else f"  loss {sample.loss:.2f}"
    return (
        f"  round {sample.round}  {sample.name:<20}{sample.tokens_per_second:>8,.0f} tokens/s  "
        f"{sample.own_cores:.2f} cores, others {sample.other_cores:.2f}{noisy}  peak {sample.peak_mb:,.0f} MB{loss}"
    )
