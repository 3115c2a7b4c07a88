"""Our own step: `electra pretrain` as it is, held still between steps.

Nothing is rebuilt here. `stages.pretrain.run` runs with the preset `small` (or the asked size) on the shards, with its
prefetching, masking, dropout, clipping, finite check, schedule, progress figures and log lines; its reporter's meter
is advanced once per optimizer step, and that is where the gate stands. There is no evaluation (the shards hold no
held-out rows) and no checkpoint within a measurement, as in the peers' loops.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.peers.contestants import CONTESTANTS, Job
from benchmarks.peers.gate import Gate
from electra_cli.config import resolve
from electra_cli.reporting import Meter
from electra_cli.stages import pretrain
from electra_cli.stages.pretrain_settings import PretrainSettings


class GatedReporter:
    """A reporter whose meter of training steps is the gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def note(self, message: str) -> None:
        print(message, file=sys.stderr)

    def warn(self, message: str) -> None:
        print(message, file=sys.stderr)

    @contextmanager
    def progress(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Meter]:
        yield GatedMeter(self._gate if unit == "steps" else None)


class GatedMeter:
    """Passes the gate when a step is done."""

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate

    def advance(self, amount: int = 1) -> None:
        if self._gate is not None:
            self._gate.passed()

    def show(self, values: Mapping[str, float | str]) -> None:
        """Nobody looks."""


def settings_of(job: Job) -> PretrainSettings:
    """The settings of the run: the preset `small`, a long run, one batch a step."""
    size = job.size
    flags: dict[str, object] = {
        "model.embedding_size": size.embedding,
        "model.hidden_size": size.hidden,
        "model.layers": size.layers,
        "model.heads": size.heads,
        "model.feed_forward": size.feed_forward,
        "generator.size": size.generator,
        "optimizer.batch_size": job.batch,
        "checkpoints.every": 1_000_000,
        "precision": "fp32" if CONTESTANTS[job.name].fp32 else "bf16",
        "device": "cpu",
        "seed": job.seed,
    }
    return resolve(PretrainSettings, preset="small", flags=flags).settings


def run(job: Job, gate: Gate) -> None:
    """Train until the parent has seen enough."""
    pretrain.run(job.shards, job.work / "run", settings=settings_of(job), report=GatedReporter(gate))
