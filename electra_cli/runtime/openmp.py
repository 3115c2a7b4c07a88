"""How long OpenMP's threads spin while they wait for each other. Knows nothing of torch, which has to come later."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# GNU's OpenMP turns a thread that waits into a loop of 300,000 rounds. On a machine that does anything else besides,
# the loop holds the core that the thread it waits for needs: training on two threads beside other work was 4 times as
# fast with 1,000 rounds (its own choice when it knows of too many threads) as with 100,000, and alone no slower
# (benchmarks/log.md).
SPIN_ROUNDS = "1000"


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads give up their core soon, unless the user said otherwise.

    Has an effect on what loads OpenMP afterwards: call it before torch is imported, or hand the environment to a child.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPIN_ROUNDS)
