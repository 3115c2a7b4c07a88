"""The Triton head against the plain form: in Triton's interpreter, or on a GPU where there is one.

Triton is no dependency: without it these tests are skipped.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from electra_cli.model.generator_head import generator_output
from electra_cli.model.noise import Noise
from tests.model.pairs import accelerated

# The interpreter is NumPy, which warns of what is computed for rows behind the last one and thrown away.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


INTERPRETED = pytest.MonkeyPatch()
if DEVICE.type == "cpu":  # Triton looks when it is imported, and again when kernels are
    INTERPRETED.setenv("TRITON_INTERPRET", "1")
try:
    triton = pytest.importorskip("triton")
    if DEVICE.type == "cpu" and isinstance(triton.language.cdiv, triton.runtime.JITFunction):
        pytest.skip("something imported triton before, and not for its interpreter", allow_module_level=True)
    head = importlib.import_module("electra_cli.model.triton_head")
finally:
    INTERPRETED.undo()


@pytest.fixture(autouse=True)
def interpreter(monkeypatch) -> None:
    if DEVICE.type == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.fixture
def tiles(monkeypatch):
    """A function that sets the tiles of one test; small ones, so that a small case has several of everything."""

    def use(**fields):
        small = head.Tiles(rows=16, columns=32, depth=16, programs=6, buffer=1)
        monkeypatch.setattr(head, "TILES", replace(small, **fields))

    use()
    return use


def case(rows: int, width: int, vocabulary: int, *, seed: int = 0, dtype: torch.dtype = torch.float32):
    """Random inputs of the head, as leaves with gradients, and its arguments."""
    generator = torch.Generator().manual_seed(seed)
    leaves = [
        torch.randn(shape, generator=generator).to(DEVICE).requires_grad_()
        for shape in ((rows, width), (vocabulary, width), (vocabulary,))
    ]
    leaves[0] = leaves[0].detach().to(dtype).requires_grad_()
    arguments = {
        "target_P": torch.randint(vocabulary, (rows,), generator=generator).to(DEVICE),
        "weight_P": torch.randint(3, (rows,), generator=generator).float().to(DEVICE),
        "uniform_P": torch.rand(rows, dtype=torch.float64, generator=generator).to(DEVICE),
    }
    return leaves, arguments


def gradients(loss, leaves):
    return torch.autograd.grad(3 * loss, leaves)


@pytest.mark.parametrize(
    ("rows", "width", "vocabulary"),
    [(16, 16, 32), (37, 24, 101), (5, 40, 7), (33, 16, 257)],
    ids=["whole tiles", "nothing fits", "less than a tile", "many pieces"],
)
def test_everything_but_the_draws_equals_the_plain_form(tiles, rows, width, vocabulary) -> None:
    leaves, arguments = case(rows, width, vocabulary)
    plain = generator_output(*leaves, **arguments)
    fused = head.triton_output(*leaves, **arguments)
    torch.testing.assert_close(fused.nll_P, plain.nll_P)
    torch.testing.assert_close(fused.loss, plain.loss)
    assert torch.equal(fused.correct_P, plain.correct_P)
    for ours, expected in zip(gradients(fused.loss, leaves), gradients(plain.loss, leaves), strict=True):
        assert ours.dtype == expected.dtype
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("programs", [1, 6, 1000])
@pytest.mark.parametrize("buffer", [1, 5000, 64 << 20])
def test_how_the_work_is_cut_changes_nothing_but_rounding(tiles, programs: int, buffer: int) -> None:
    leaves, arguments = case(20, 16, 150)
    tiles(programs=programs, buffer=buffer)
    found = head.triton_output(*leaves, **arguments)
    found_gradients = gradients(found.loss, leaves)
    tiles(rows=32, columns=64)
    other = head.triton_output(*leaves, **arguments)
    assert torch.equal(found.sample_P, other.sample_P)
    torch.testing.assert_close(found.sample_nll_P, other.sample_nll_P)
    for ours, expected in zip(found_gradients, gradients(other.loss, leaves), strict=True):
        torch.testing.assert_close(ours, expected)


def test_bfloat16_is_as_near_to_float32_as_the_plain_form(tiles) -> None:
    leaves, arguments = case(40, 32, 101, dtype=torch.bfloat16)
    exact = [leaf.detach().float().requires_grad_() for leaf in leaves]
    exact[1] = leaves[1].detach().bfloat16().float().requires_grad_()  # both heads multiply by rounded words
    reference = gradients(generator_output(*exact, **arguments).loss, exact)
    fused = head.triton_output(*leaves, **arguments)
    nll = F.cross_entropy(F.linear(*exact), arguments["target_P"], reduction="none")
    torch.testing.assert_close(fused.nll_P, nll.detach(), rtol=1e-4, atol=1e-4)  # logits are not rounded to bfloat16
    plain = gradients(generator_output(*leaves, **arguments).loss, leaves)
    for ours, theirs, expected in zip(gradients(fused.loss, leaves), plain, reference, strict=True):
        off, theirs_off = ((g.float() - expected).norm() / expected.norm() for g in (ours, theirs))
        assert off < 0.01 and off < 1.2 * theirs_off


@pytest.mark.parametrize(("temperature", "forbidden"), [(1.0, False), (1.7, True)])
def test_samples_follow_the_softmax(tiles, temperature: float, forbidden: bool) -> None:
    """Chi-squared over 4,000 draws from 45 tokens: 44 degrees of freedom, 99.9 % below 78.7 (43: 77.4)."""
    draws, target = 4_000, 3
    tiles(rows=1024, columns=32)
    leaves, _ = case(1, 4, 45, seed=2)
    h, word, bias = (leaf.detach() for leaf in leaves)
    word *= 0.5
    uniform = torch.rand(draws, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).to(DEVICE)
    output = head.triton_output(
        h.expand(draws, -1),
        word,
        bias,
        target_P=torch.full((draws,), target, device=DEVICE),
        weight_P=torch.zeros(draws, device=DEVICE),
        uniform_P=uniform,
        temperature=temperature,
        disallow_correct=forbidden,
    )
    logits = F.linear(h, word, bias)[0].double()
    hot = logits / temperature
    if forbidden:
        hot[target] = float("-inf")
    expected = hot.softmax(-1).cpu() * draws
    seen = torch.bincount(output.sample_P.cpu(), minlength=45).double()
    if forbidden:
        assert seen[target] == 0
    common = expected > 5
    assert common.sum() > 25
    rest = torch.stack([expected[~common].sum(), seen[~common].sum()])
    statistic = ((seen - expected)[common] ** 2 / expected[common]).sum() + (rest[1] - rest[0]) ** 2 / max(rest[0], 1.0)
    assert statistic < 78.7
    probability = -logits.log_softmax(-1)[output.sample_P]
    torch.testing.assert_close(output.sample_nll_P.double(), probability, rtol=1e-4, atol=1e-4)


def test_a_sample_is_a_function_of_its_row_and_draws_of_rows_share_nothing(tiles) -> None:
    """Moving a row moves its sample; two rows' draws from 50 equal tokens agree as often as chance has it."""
    leaves, arguments = case(40, 16, 101)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    whole = head.triton_output(*leaves, **arguments)
    moved = head.triton_output(
        leaves[0][order], *leaves[1:], **{name: value[order] for name, value in arguments.items()}
    )
    assert torch.equal(moved.sample_P, whole.sample_P[order])
    rows = 1000
    tiles(rows=1024)
    grid = torch.arange(rows, dtype=torch.float64, device=DEVICE) / rows  # neighbours as like as uniforms can be
    zeros = torch.zeros(rows, device=DEVICE)
    alike = head.triton_output(
        torch.zeros(rows, 16, device=DEVICE),
        torch.zeros(50, 16, device=DEVICE),
        torch.zeros(50, device=DEVICE),
        target_P=zeros.long(),
        weight_P=zeros,
        uniform_P=grid,
    ).sample_P
    same = int((alike[1:] == alike[:-1]).sum())
    assert abs(same - rows / 50) < 4 * (rows / 50) ** 0.5
    counts = torch.bincount(alike, minlength=50).double()
    assert ((counts - rows / 50) ** 2 / (rows / 50)).sum() < 85.4  # 49 degrees of freedom, 99.9 %


def test_samples_stay_in_the_vocabulary_when_logits_are_not_numbers(tiles) -> None:
    """The run is to end as diverged, and not in an index out of range."""
    leaves, arguments = case(20, 16, 70)
    output = head.triton_output(leaves[0] * float("nan"), *leaves[1:], **arguments)
    assert not torch.isfinite(output.loss)
    assert ((output.sample_P >= 0) & (output.sample_P < 70)).all()


def test_the_operators_say_truly_what_they_return(tiles) -> None:
    """torch's own check of fake results, mutation and autograd: what torch.compile relies on."""
    leaves, arguments = case(20, 16, 70)
    key = arguments["uniform_P"].view(torch.int64)
    torch.library.opcheck(head.score, (*leaves, arguments["target_P"], key, 1.0, False))


@pytest.mark.parametrize("padded", [False, True])
def test_the_whole_forward_pass_is_one_graph_where_an_accelerator_runs_it(padded: bool) -> None:
    """On tensors without data, which take the accelerator's branches, dropout included; and backward goes through."""
    model, batch = accelerated(padded=padded)
    model.head_backend = "triton"
    graph = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    try:
        output = graph(batch, noise=Noise(1, torch.device("meta")), dtype=torch.bfloat16)
    finally:
        torch._dynamo.reset()
    (output.generator.loss + output.discriminator_loss).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


COMPILE = """
import subprocess, sys
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from electra_cli.model.triton_kernels import gradient_kernel, score_kernel

sizes = {"E": 128, "ROWS": 64, "COLUMNS": 128, "DEPTH": 64, "PRECISION": "tf32", "WIDEN": False}
whole = {"P": "i32", "V": "i32", "offset": "i32", "W": "i32", "coldness": "fp32"}
types = {"h": "*bf16", "word": "*bf16", "gradient_PW": "*bf16", "target": "*i64", "key": "*i64", "sample_SP": "*i32"}
for kernel, more in ((score_kernel, {"EACH": 35, "FORBID": True}), (gradient_kernel, {})):
    constants = sizes | more
    signature = {name: "constexpr" if name in constants else (whole | types).get(name, "*fp32")
                 for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    built = triton.compile(ASTSource(kernel, signature, places), target=GPUTarget("cuda", 90, 32),
                           options={"num_warps": 8})
    binary = Path(sys.argv[1], kernel.__name__)
    binary.write_bytes(built.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run([tool, "-res-usage", binary], check=True, capture_output=True, text=True).stdout
    print("wgmma" in built.asm["ptx"], "STACK:0 " in usage)
"""


@pytest.mark.slow
def test_the_kernels_compile_for_an_h100_and_spill_no_register(tmp_path: Path) -> None:
    """Triton brings its own assembler, so this needs no GPU; the products are to be Hopper's own."""
    root = Path(__file__).parents[2]
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(root)}
    script = tmp_path / "compile_kernels.py"  # Triton reads source code, so a file is needed
    script.write_text(COMPILE, "utf-8")
    done = subprocess.run([sys.executable, script, tmp_path], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True True\n" * 2
