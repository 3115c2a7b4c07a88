"""What of `benchmarks/gpu.py` can be known without a GPU: its arithmetic, its command line, and that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu_arithmetic import (
    SIZES,
    bytes_per_token,
    floor_seconds,
    flops_per_token,
    hours,
    micro_batches,
    utilisation,
)
from benchmarks.gpu_steps import EAGER
from electra_cli.model.pretraining import Electra
from electra_cli.training.flops import row_flops

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("name", "millions"), [("small", 70.2), ("base", 668), ("large", 2151)])
def test_flops_of_a_token(name: str, millions: float) -> None:
    """Against the figures that the design was reckoned with (performance.md 9), and the product's count."""
    size = SIZES[name]
    total = sum(flops_per_token(size, size.length).values())
    assert total / 1e6 == pytest.approx(millions, rel=0.01)
    whole = row_flops(size.shape, size.narrow, length=size.length, slots=size.rule.slots(size.length))
    assert total * size.length == pytest.approx(whole)


@pytest.mark.parametrize(("name", "parameters"), [("small", 14_196_219), ("base", 119_386_427), ("large", 354_655_291)])
def test_the_sizes_are_the_papers(name: str, parameters: int) -> None:
    """Parameters trained in total, electra.md 3.2."""
    size = SIZES[name]
    model = Electra(size.shape, size.narrow)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_hours_and_utilisation_of_the_papers_small() -> None:
    """1 M steps of 128 x 128 at 2.7 M tokens/s: 1.69 hours; 70.2 MFLOP a token of 989 TFLOP/s: 19 %."""
    small = SIZES["small"]
    assert hours(small, 2.7e6) == pytest.approx(1.686, abs=0.001)
    share = utilisation(small, length=128, tokens_per_second=2.7e6, flops_per_second=989e12)
    assert share == pytest.approx(2.7e6 * 70.19e6 / 989e12, rel=1e-3)


def test_a_floor_is_the_slower_of_arithmetic_and_memory() -> None:
    small, tokens = SIZES["small"], 128 * 128
    flops, moved = flops_per_token(small, 128), bytes_per_token(small, 128)
    arithmetic = floor_seconds(small, length=128, rows=128, parameters=0, rates=(1e12, 1e20))
    memory = floor_seconds(small, length=128, rows=128, parameters=10, rates=(1e20, 1e12))
    assert arithmetic["discriminator"] == pytest.approx(tokens * flops["discriminator"] / 1e12)
    assert memory["discriminator"] == pytest.approx(tokens * moved["discriminator"] / 1e12)
    assert memory["optimizer"] == pytest.approx(340 / 1e12)


def test_micro_batches_halve() -> None:
    assert micro_batches(1024)[:3] == [1024, 512, 256] and micro_batches(6) == [6, 3, 1]


def test_ratios_name_both_sides() -> None:
    found = gpu.ratios({EAGER.name: 2.0, "triton head, eager": 6.0, "(3) plain": 1.5})
    assert found == {"triton head, eager / (3) plain": 4.0, f"{EAGER.name} / (3) plain": 2.0 / 1.5}


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.parse([]).sections == gpu.SECTIONS
    assert gpu.parse(["--quick"]).sections == ("checks", "small")
    assert gpu.parse(["--only", "sizes,checks"]).sections == ("checks", "sizes")
    with pytest.raises(SystemExit):
        gpu.parse(["--only", "speed"])
    assert "no such section: speed" in capsys.readouterr().err


@pytest.mark.slow
def test_it_runs_on_a_toy_and_leaves_out_what_comes_too_late(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--device", "cpu", "--smoke", "--out", str(tmp_path)]
    bench = gpu.Bench(gpu.parse([*options, "--only", "checks,head,profile,attention"]))
    assert bench.run()
    found = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert found["left out"] == [] and len(found["checks"]) == 3
    assert found["profile"][EAGER.name]["top"] and found["attention"] and found["head"]
    late = gpu.Bench(gpu.parse([*options, "--limit", "0", "--only", "checks,sizes"]))
    assert late.run()
    assert late.found["left out"] == ["checks", "sizes"]
    assert "left out" in capsys.readouterr().out


@pytest.mark.slow
def test_it_needs_no_settings() -> None:
    """The machine that is lent for measuring has torch, transformers, pyarrow and safetensors, and no pydantic."""
    code = (
        "import sys, benchmarks.gpu; assert not {'pydantic', 'typer', 'tokenizers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
