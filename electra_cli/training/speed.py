"""`speed.jsonl`: how fast a run goes, beside what the device can do at best."""

from __future__ import annotations

import time

from electra_cli.runtime.machine import Machine
from electra_cli.runtime.peak import Peak
from electra_cli.training.history import History
from electra_cli.training.work import Work


class SpeedLog:
    """Writes a line with the peak, then one with rates for every call of `line`.

    Args:
        history: the file.
        machine: what the run computes on.
        peak: its best rate.
        work: what the steps add up to.
        step: steps taken before.
    """

    def __init__(self, history: History, *, machine: Machine, peak: Peak, work: Work, step: int) -> None:
        self.history, self.peak, self.work = history, peak, work
        self._step, self._clock = step, time.perf_counter()
        device = {"device": machine.name, "precision": machine.precision}
        best = {"peak_flops_per_second": peak.flops_per_second, "peak_source": peak.source}
        history.append({"step": step, **device, **best})

    def line(self, step: int) -> tuple[float, float]:
        """Write the rates since the last line, up to `step` steps; return two of them.

        Returns:
            Tokens a second, padding counted; and floating-point operations a second as a share of the peak.
        """
        now, work = time.perf_counter(), self.work
        seconds = now - self._clock
        tokens_rate = (work.positions_before(step) - work.positions_before(self._step)) / seconds
        flops_rate = (work.flops_before(step) - work.flops_before(self._step)) / seconds
        self._step, self._clock = step, now
        share = flops_rate / self.peak.flops_per_second
        rates = {"tokens_per_second": tokens_rate, "flops_per_second": flops_rate, "mfu": share}
        self.history.append({"step": step, "seconds": seconds, **rates})
        return tokens_rate, share
