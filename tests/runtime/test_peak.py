from __future__ import annotations

import torch

from electra_cli.runtime.machine import Machine
from electra_cli.runtime.memory import held_bytes, peak_bytes, reset_peak
from electra_cli.runtime.peak import peak_of

CPU = torch.device("cpu")


def test_the_measured_peak_is_a_rate_that_a_product_reaches_and_does_not_double() -> None:
    """Beside a product of its own: within a factor of ten either way, however busy the machine."""
    import time

    peak = peak_of(Machine(CPU, torch.float32))
    a, best = torch.ones(512, 512), float("inf")
    for _ in range(30):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    assert peak.source == "measured"
    assert 0.1 < peak.flops_per_second / (2 * 512**3 / best) < 10


def test_memory_that_was_held_and_let_go_shows_in_the_peak() -> None:
    reset_peak(CPU)
    before = held_bytes(CPU)
    block = torch.ones(16 << 20)  # 64 MiB, each page touched
    del block
    assert before > 0
    assert peak_bytes(CPU) - before > 50 << 20
