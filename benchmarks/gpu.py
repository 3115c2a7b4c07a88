"""Check the GPU's paths of pretraining against the CPU's, and measure them. Not run on a GPU so far.

    python -m benchmarks.gpu --quick              # a first look, under three minutes
    python -m benchmarks.gpu --limit 570          # everything that fits into a limit of seconds
    python -m benchmarks.gpu --only sizes,attention
    python -m benchmarks.gpu --device cpu --smoke # does it run at all: a toy size, no GPU, numbers that mean nothing

Sections, in this order:

- `checks`: GPU and CPU in float32 (masks equal, losses to 1e-4, gradients to 1e-3); the Triton head against the plain
  one (loss, gradients, samples by chi-squared); a step captured as a CUDA graph against eager; compiled code against
  eager.
- `small`: our step at 128 rows of 128 tokens in variants (eager, compiled, CUDA graph, Triton head), and transformers'
  loops (3) and (5), plain and compiled: tokens a second, utilisation, ratios, goals.
- `head`: the generator's head by itself, plain and in Triton by tiles.
- `profile`: the ten kernels of a step that take most, and the floor from FLOPs and bytes beside them.
- `attention`: forms of attention for the sizes' shapes.
- `sizes`: small, base and large at 128 and 512: the largest micro-batch that fits, tokens a second, utilisation, hours
  of the paper's run.

Text goes to stdout; everything is also JSON, `gpu.json` under $OUT or --out, rewritten after each section. A section
that would begin after the limit is left out and named. Exit code 1 if a check failed, 75 without a device.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_checks, gpu_kernels
from benchmarks.gpu_arithmetic import (
    GOALS,
    SIZES,
    Size,
    floor_seconds,
    flops_per_token,
    hours,
    micro_batches,
    utilisation,
)
from benchmarks.gpu_peers import PEERS, theirs
from benchmarks.gpu_steps import EAGER, VARIANTS, Rate, Variant, dtype_on, forget, make_model, measure, ours
from electra_cli.runtime.machine import Machine
from electra_cli.runtime.peak import peak_of

SECTIONS = ("checks", "small", "head", "profile", "attention", "sizes")
QUICK_VARIANTS = (
    EAGER,
    Variant(graph=True),
    Variant("triton"),
    Variant("triton", graph=True),
    Variant("triton", "layer", graph=True),
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit", type=float, default=570, help="seconds; no section or row begins after them")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas")
    parser.add_argument("--quick", action="store_true", help="checks and small, the variants that compile fast")
    parser.add_argument("--smoke", action="store_true", help="a toy size and a step or two of everything")
    parser.add_argument("--steps", type=int, default=30, help="steps in a block; five blocks are timed")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")), help="folder of gpu.json")
    parsed = parser.parse_args(arguments)
    unknown = set(parsed.only.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    parsed.sections = ("checks", "small") if parsed.quick else tuple(s for s in SECTIONS if s in parsed.only.split(","))
    return parsed


class Bench:
    """One run: its device, its clock, what it has found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        self.started = time.perf_counter()
        self.size = SIZES["toy" if options.smoke else "small"]
        self.steps, self.blocks = (2, 2) if options.smoke else (options.steps, 5)
        self.found: dict[str, Any] = {"torch": torch.__version__, "left out": []}
        self.rates = self._rates()

    def _rates(self) -> tuple[float, float]:
        """What FLOPs and bytes are held against: FLOP/s as for the product's MFU, bytes/s of a copy, measured."""
        machine = Machine(self.device, dtype_on(self.device))
        peak = peak_of(machine)
        side = 8192 if self.device.type == "cuda" else 256
        a, b = (torch.randn(side, side, device=self.device, dtype=dtype_on(self.device)) for _ in range(2))
        flops = 2 * side**3 / gpu_kernels.milliseconds(lambda: a @ b, self.device, repeats=5) * 1000
        big = torch.empty(1 << (30 if self.device.type == "cuda" else 20), dtype=torch.uint8, device=self.device)
        other = torch.empty_like(big)
        moved = 2 * big.numel() / gpu_kernels.milliseconds(lambda: other.copy_(big), self.device, repeats=5) * 1000
        self.found |= {"device": machine.name, "measured FLOP/s": flops, "measured bytes/s": moved, "peak": vars(peak)}
        self.say(f"{machine.name}, torch {torch.__version__}: {flops:.3g} FLOP/s and {moved:.3g} bytes/s measured;")
        self.say(f"utilisation is of {peak.flops_per_second:.3g} FLOP/s ({peak.source})")
        return peak.flops_per_second, moved

    def say(self, line: str = "") -> None:
        """Print a line at once."""
        print(line, flush=True)

    def late(self, what: str) -> bool:
        """Whether the limit has passed; then `what` is noted as left out."""
        if time.perf_counter() - self.started < self.options.limit:
            return False
        self.found["left out"].append(what)
        self.say(f"  left out, the limit has passed: {what}")
        return True

    def save(self) -> None:
        """Write what was found so far."""
        self.found["seconds"] = time.perf_counter() - self.started
        self.options.out.mkdir(parents=True, exist_ok=True)
        (self.options.out / "gpu.json").write_text(json.dumps(self.found, indent=1), "utf-8")

    def run(self) -> bool:
        """All sections; whether the checks passed."""
        for section in self.options.sections:
            if self.late(section):
                continue
            self.say(f"\n== {section}")
            getattr(self, section)()
            forget(self.device)
            self.save()
        return all(check["passed"] for check in self.found.get("checks", []))

    def checks(self) -> None:
        """See the module's documentation."""
        on_gpu, rows = self.device.type == "cuda", 8
        groups = [lambda: gpu_checks.devices(self.size, self.device, rows=rows)]
        if on_gpu:
            width, vocabulary = self.size.shape.embedding_size, self.size.shape.vocab_size
            groups.append(lambda: gpu_checks.head(self.device, rows=611, width=width, vocabulary=vocabulary))
            groups.append(lambda: gpu_checks.captured(self.size, self.device, rows=rows))
            kinds = ("layer",) if self.options.quick else ("layer", "step")
            variants = tuple(Variant("triton", kind) for kind in kinds)
            groups.append(lambda: gpu_checks.compiled(self.size, self.device, variants, rows=rows))
        results = self.found["checks"] = []
        for group in groups:
            try:
                for check in group():
                    results.append({**vars(check), "passed": check.passed})
                    word = "ok  " if check.passed else "FAIL"
                    self.say(f"  {word} {check.name}: {check.value:.2e} (limit {check.limit:.0e})")
            except Exception as error:  # the next group may still say something; the run fails in the end
                results.append({"name": "a group of checks broke off", "passed": False, "error": repr(error)[:2000]})
                self.say(f"  FAIL {error!r}"[:600])

    def timed(self, name: str, make: Callable[[], Any], size: Size, *, rows: int, length: int) -> dict[str, Any]:
        """Time a step and say it; an error is a result too."""
        entry: dict[str, Any] = {"name": name, "rows": rows, "length": length}
        try:
            rate = measure(make, self.device, tokens=rows * length, steps=self.steps, blocks=self.blocks)
            share = utilisation(
                size, length=length, tokens_per_second=rate.tokens_per_second, flops_per_second=self.rates[0]
            )
            entry |= {**vars(rate), "utilisation": share}
            self.say(f"  {name:<46}{_shown(rate, share)}")
        except Exception as error:  # one variant that a version of torch cannot do must not end the others
            entry["error"] = repr(error)[:2000]
            self.say(f"  {name:<46}no: {str(error).splitlines()[0][:120] if str(error) else error!r}")
        return entry

    def small(self) -> None:
        """See the module's documentation."""
        size, rows, length = self.size, self.size.batch, self.size.length
        variants = QUICK_VARIANTS if self.options.quick else VARIANTS
        peers = list(PEERS)[:2] if self.options.quick else list(PEERS)
        makers: list[tuple[str, Callable[[], Any]]] = [
            (v.name, lambda v=v: ours(size, v, self.device, rows=rows, length=length))
            for v in variants
            if v.runs_on(self.device)
        ]
        makers += [(p, lambda p=p: theirs(*PEERS[p], size, self.device, rows=rows, length=length)) for p in peers]
        # what compiles longest comes last, so that a short limit still sees both sides
        makers.sort(key=lambda maker: sum(word in maker[0] for word in ("encoder", "step", ", compiled")))
        entries = self.found["small"] = []
        for name, make in makers:
            if not self.late(name):
                entries.append(self.timed(name, make, size, rows=rows, length=length))
        self.found["ratios"] = ratios({e["name"]: e["tokens_per_second"] for e in entries if "error" not in e})
        for line in self.found["ratios"].items():
            self.say("  {}: {:.3g}".format(*line))
        self.say(f"  goals: {', '.join(f'{name} {value:g}' for name, value in GOALS.items())}")

    def head(self) -> None:
        """See the module's documentation."""
        self.found["head"] = []
        for name in ["toy"] if self.options.smoke else ["small", "base"]:
            for row in gpu_kernels.head_times(
                SIZES[name], self.device, dtype_on(self.device), repeats=1 if self.options.smoke else 10
            ):
                self.found["head"].append({"size": name, **row})
                self.say(f"  {name}: {row}")

    def profile(self) -> None:
        """See the module's documentation."""
        size, rows, length = self.size, self.size.batch, self.size.length
        parameters = sum(p.numel() for p in make_model(size, torch.device("cpu")).parameters())
        floor = floor_seconds(size, length=length, rows=rows, parameters=parameters, rates=self.rates)
        flops = {part: rows * length * value for part, value in flops_per_token(size, length).items()}
        self.found["floor"] = {"seconds": floor, "FLOPs": flops}
        self.say(f"  floor, ms: {', '.join(f'{part} {1000 * value:.3f}' for part, value in floor.items())}")
        entries = self.found["profile"] = {}
        for variant in (v for v in QUICK_VARIANTS if v.runs_on(self.device)):
            if self.late(f"profile: {variant.name}"):
                continue
            forget(self.device)
            take = ours(size, variant, self.device, rows=rows, length=length)
            result = entries[variant.name] = gpu_kernels.top_kernels(take, self.device)
            self.say(f"  {variant.name}: {result['ms in all']:.2f} ms, kernels {result['ms of kernels']:.2f} ms,")
            self.say(f"    {result['kernels a step']:.0f} a step, floor {1000 * sum(floor.values()):.2f} ms")
            for row in result["top"]:
                self.say(f"    {row['ms']:8.3f} ms {row['calls']:6.0f} x {row['kernel']}")

    def attention(self) -> None:
        """See the module's documentation."""
        self.found["attention"] = []
        sizes = {"toy": SIZES["toy"]} if self.options.smoke else {n: s for n, s in SIZES.items() if n != "toy"}
        tokens, repeats = (256, 1) if self.options.smoke else (16_384, 20)
        for row in gpu_kernels.attention(sizes, self.device, dtype_on(self.device), tokens=tokens, repeats=repeats):
            self.found["attention"].append(row)
            shown = {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
            self.say(f"  {shown}")
            if self.late("the rest of attention"):
                return

    def sizes(self) -> None:
        """See the module's documentation."""
        entries = self.found["sizes"] = []
        wrong = any("error" in check or not check["passed"] for check in self.found.get("checks", []))
        head = "plain" if wrong or self.device.type != "cuda" else "triton"
        for name in ["toy"] if self.options.smoke else ["small", "base", "large"]:
            size = SIZES[name]
            for length in [size.length] if self.options.smoke else [size.length, 640 - size.length]:
                for variant in (Variant(head), Variant(head, "layer")):
                    if not self.late(f"{name} at {length}, {variant.name}"):
                        entries.append(self._largest(name, size, variant, length=length))

    def _largest(self, name: str, size: Size, variant: Variant, *, length: int) -> dict[str, Any]:
        """Time a size at the largest micro-batch that fits, starting from 131,072 tokens."""
        entry: dict[str, Any] = {}
        for rows in micro_batches(size.batch if self.options.smoke else (1 << 17) // length):
            title = f"{name} at {length}, {rows} rows, {variant.name}"
            entry = self.timed(
                title, lambda rows=rows: ours(size, variant, self.device, rows=rows, length=length), size,
                rows=rows, length=length,
            )  # fmt: skip
            if "out of memory" not in entry.get("error", ""):
                break
        if "error" not in entry and length == size.length:
            entry["hours"] = hours(size, entry["tokens_per_second"])
            self.say(f"    {entry['hours']:,.2f} hours for {size.steps:,} steps of {size.batch}, the paper's run")
        return {"size": name, **entry}


def ratios(rates: dict[str, float]) -> dict[str, float]:
    """Our fastest and our eager step over each peer's, from tokens a second by name."""
    mine = {name: rate for name, rate in rates.items() if name not in PEERS}
    found: dict[str, float] = {}
    if mine:
        fastest = max(mine, key=lambda name: mine[name])
        for peer in (name for name in PEERS if name in rates):
            found[f"{fastest} / {peer}"] = mine[fastest] / rates[peer]
            if EAGER.name in mine and fastest != EAGER.name:
                found[f"{EAGER.name} / {peer}"] = mine[EAGER.name] / rates[peer]
    return found


def _shown(rate: Rate, share: float) -> str:
    memory = f", {rate.peak_bytes / 2**30:.1f} GiB" if rate.peak_bytes else ""
    return (
        f"{rate.tokens_per_second:12,.0f} tokens/s (spread {rate.spread:.0%}), utilisation {share:.1%}, "
        f"first step {rate.first_seconds:.0f} s{memory}"
    )


def main() -> int:
    """Run it."""
    options = parse()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device here")
        return 75
    bench = Bench(options)
    passed = bench.run()
    bench.save()
    bench.say(f"\n{bench.found['seconds']:.0f} s; {'all checks passed' if passed else 'CHECKS FAILED'}; gpu.json")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
