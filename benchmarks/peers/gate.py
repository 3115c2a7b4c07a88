"""The turnstile between a contestant's training loop and the parent: it holds the loop still and times whole steps.

Every loop passes the gate once per optimizer step, at the same point of its cycle. Between two passes lies exactly one
step: batch, forward, backward, optimizer. The gate stops the loop until the parent asks for steps, so all workers but
one are idle at any time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any


class Channel:
    """JSON lines to and from the parent; whatever a library prints goes to stderr instead."""

    def __init__(self) -> None:
        self._out: IO[str] = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._in = sys.stdin

    def send(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def receive(self) -> dict[str, Any]:
        """The next command; ends the process when the parent has closed the pipe."""
        line = self._in.readline()
        if not line:
            os._exit(0)  # not sys.exit: we may be deep inside somebody else's training loop
        return json.loads(line)


def peak_megabytes(pid: int | str = "self") -> float:
    """The largest resident memory that a process ever had (VmHWM), in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/{pid}/status names no VmHWM")


class Gate:
    """Lets the loop take as many steps as the parent asks for, and says how long they took.

    Args:
        channel: to the parent.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._left, self._steps = 0, 0
        self._started = self._cpu = 0.0
        self._profiler: Any = None
        self._announced = False

    def passed(self, loss: Any = None) -> None:
        """Say that the loop stands between two steps; returns when it may take the next one.

        Args:
            loss: of the last step, a number or a scalar tensor; it is read only after the clock has stopped.
        """
        if self._left > 1:
            self._left -= 1
            return
        if self._left == 1:
            seconds, cpu = time.perf_counter() - self._started, time.process_time() - self._cpu
            message = {"seconds": seconds, "cpu": cpu, "steps": self._steps, "peak_mb": peak_megabytes()}
            message["loss"] = None if loss is None else float(loss)
            if self._profiler is not None:
                self._profiler.stop()
                message["profile"] = _rows(self._profiler)
                self._profiler = None
            self.channel.send(message)
        elif not self._announced:
            self._announced = True
            self.channel.send({"ready": True, "peak_mb": peak_megabytes()})
        command = self.channel.receive()
        self._left = self._steps = int(command["steps"])
        if command.get("profile"):
            from torch.profiler import ProfilerActivity, profile

            self._profiler = profile(activities=[ProfilerActivity.CPU])
            self._profiler.start()
        self._cpu, self._started = time.process_time(), time.perf_counter()


def _rows(profiler: Any) -> list[dict[str, Any]]:
    """What `torch.profiler` saw: for each operator its own milliseconds and calls, over all steps."""
    return [
        {"name": event.key, "ms": event.self_cpu_time_total / 1e3, "calls": event.count}
        for event in profiler.key_averages()
        if event.self_cpu_time_total > 0
    ]
