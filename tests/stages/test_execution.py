"""`execution.compile` and `execution.head`: the same run but for rounding, and what is refused before any work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from electra_cli.config import shaping
from electra_cli.errors import UsageError
from electra_cli.model.noise import Noise
from electra_cli.model.pretraining import Electra
from electra_cli.model.shape import EncoderShape
from electra_cli.runtime.machine import Machine
from electra_cli.stages import pretrain
from electra_cli.stages.execution import prepare
from electra_cli.stages.pair import Weights, pair_losses
from electra_cli.stages.pretrain_settings import ExecutionSettings
from electra_cli.stages.rows import CountedBatch
from tests.model.pairs import accelerated
from tests.stages.pretraining import make_shards, small_settings

CPU = Machine(torch.device("cpu"), torch.float32)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, which torch's compiler uses
@pytest.mark.timeout(600)  # a compiler for C++ at work, perhaps on a busy machine
def test_a_compiled_run_is_the_eager_one_but_for_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    shards = make_shards(tmp_path, documents=20)
    small = {"model.layers": 1, "model.embedding_size": 32, "generator.size": 1.0, "generator.shared_encoder": True}
    exact = {"model.dropout": 0.0, "model.attention_dropout": 0.0, "optimizer.steps": 3, "precision": "fp32"}
    found = []
    for mode in ("off", "encoder"):
        settings = small_settings(**small, **exact, **{"execution.compile": mode})
        try:
            artifact = pretrain.run(shards, tmp_path / mode, settings=settings).artifact
        finally:
            torch._dynamo.reset()
        found.append((load_file(artifact.file("model.safetensors")), artifact.spec["held_out"]["loss"]))
    (eager, eager_loss), (compiled, compiled_loss) = found
    assert eager.keys() == compiled.keys()
    for name, expected in eager.items():
        torch.testing.assert_close(compiled[name], expected, rtol=1e-4, atol=1e-5, msg=name)
    assert compiled_loss == pytest.approx(eager_loss, rel=1e-4)


@pytest.mark.parametrize("padded", [False, True])
def test_an_accelerators_step_reads_nothing_back_and_its_encoders_are_one_graph(padded: bool) -> None:
    """Tensors without data cannot be read, and take the accelerator's branches, dropout included."""
    model, batch = accelerated(padded=padded)
    nowhere = torch.device("meta")
    for encoder in (model.generator, model.discriminator):
        encoder.compile(backend="eager", fullgraph=True, dynamic=False)
    counted = CountedBatch(batch, batch.used_BP.sum(), 48, np.arange(2), 0)
    try:
        losses = pair_losses(model, counted, weights=Weights(1, 50), noise=Noise(1, nowhere), dtype=torch.bfloat16)
    finally:
        torch._dynamo.reset()
    losses.total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_triton_on_a_cpu_is_refused_before_any_work(tmp_path: Path) -> None:
    shape = EncoderShape(61, 16, 16, 1, 1, 32)
    with pytest.raises(UsageError) as refused:
        prepare(Electra(shape, shape), ExecutionSettings(head="triton"), CPU)
    assert refused.value.where == "execution.head"


def test_by_default_nothing_is_touched() -> None:
    shape = EncoderShape(61, 16, 16, 1, 1, 32)
    model = Electra(shape, shape)
    prepare(model, ExecutionSettings(), CPU)
    assert model.head_backend == "plain"
    assert all(module._compiled_call_impl is None for module in model.modules())


def test_kernels_and_compilation_are_part_of_the_recipe() -> None:
    plain, compiled = (shaping(small_settings(**{"execution.compile": mode})) for mode in ("off", "encoder"))
    assert plain != compiled


def test_a_step_in_one_graph_needs_the_triton_head() -> None:
    with pytest.raises(UsageError, match="needs head = triton"):
        small_settings(**{"execution.compile": "step"})
    assert small_settings(**{"execution.compile": "step", "execution.head": "triton"})
