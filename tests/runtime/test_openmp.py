from __future__ import annotations

import os
import subprocess
import sys

import pytest

from electra_cli.runtime.openmp import wait_briefly


def test_what_the_user_set_stays() -> None:
    environment = {"OMP_WAIT_POLICY": "ACTIVE"}
    wait_briefly(environment)
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE"}
    environment = {"GOMP_SPINCOUNT": "7"}
    wait_briefly(environment)
    assert environment == {"GOMP_SPINCOUNT": "7"}
    environment = {}
    wait_briefly(environment)
    assert environment == {"GOMP_SPINCOUNT": "1000"}


@pytest.mark.slow
def test_openmp_reads_it_when_torch_is_loaded_afterwards() -> None:
    """libgomp prints what it was told when it is loaded, in its own units."""
    program = "from electra_cli.runtime.openmp import wait_briefly; wait_briefly(); import torch"
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    if "GOMP_SPINCOUNT" in done.stderr:  # another OpenMP has no such line
        assert "GOMP_SPINCOUNT = '1000'" in done.stderr
