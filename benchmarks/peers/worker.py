"""The worker's side: one contestant in a process of its own, which allocator, threads and peak memory belong to."""

from __future__ import annotations

import importlib
import json
import sys

import torch

from benchmarks.peers.contestants import CONTESTANTS, Job
from benchmarks.peers.gate import Channel, Gate


def work(text: str) -> None:
    """Run the contestant of the job (JSON) until the parent closes the pipe."""
    channel = Channel()
    job = Job.from_json(json.loads(text))
    torch.set_num_threads(job.threads)
    importlib.import_module(f"benchmarks.peers.{CONTESTANTS[job.name].module}").run(job, Gate(channel))
    sys.exit(f"{job.name} ended by itself")
