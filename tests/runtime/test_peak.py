from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from electra_cli.runtime.machine import Machine
from electra_cli.runtime.peak import peak_of

CPU = torch.device("cpu")


def test_the_measured_peak_is_a_rate_that_a_product_reaches_and_does_not_double() -> None:
    """Beside a product of its own: within a factor of ten either way, however busy the machine."""
    peak = peak_of(Machine(CPU, torch.float32))
    a, best = torch.ones(512, 512), float("inf")
    for _ in range(30):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    assert peak.source == "measured"
    assert 0.1 < peak.flops_per_second / (2 * 512**3 / best) < 10


@pytest.mark.slow
def test_memory_that_was_held_and_let_go_shows_in_the_peak() -> None:
    """In a process of its own: this one may hold freed memory already, out of which the block would come."""
    code = (
        "import torch; from electra_cli.runtime.memory import held_bytes, peak_bytes, reset_peak; "
        "cpu = torch.device('cpu'); reset_peak(cpu); before = held_bytes(cpu); "
        "block = torch.ones(16 << 20); del block; "  # 64 MiB, each page touched
        "print(before > 0, held_bytes(cpu) - before < 10 << 20, peak_bytes(cpu) - before > 50 << 20)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
