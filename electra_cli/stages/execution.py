"""Which kernels a pretraining run uses: `execution.head`, `.attention` and `.compile`, checked before any work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec

import torch

from electra_cli.errors import ResourceError, UsageError
from electra_cli.model.encoder import Embeddings, Encoder
from electra_cli.model.pretraining import Electra
from electra_cli.runtime.machine import Machine
from electra_cli.stages.pretrain_settings import ExecutionSettings

_SHAPES = 64  # of batches that may be compiled: with padding or without, and one for each size of a ramp


def prepare(model: Electra, settings: ExecutionSettings, machine: Machine) -> None:
    """Give `model` the kernels that `settings` ask for; parameters and their names stay as they are.

    Raises:
        UsageError: Triton or flex_attention is asked for on a CPU.
        ResourceError: Triton or a C++ compiler is asked for and not installed.
    """
    if settings.head == "triton":
        _demand_triton(machine)
        model.head_backend = "triton"
    if settings.attention == "flex":
        _demand_cuda("execution.attention = flex", machine, instead="execution.attention=plain")
        for part in model.modules():
            if isinstance(part, Encoder):
                part.flex = True
    if settings.compile == "off":
        return
    if machine.device.type == "cpu":
        _demand_compiler()
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _SHAPES)
    # On a CPU dropout draws from NumPy, which a graph cannot hold: there it is cut into several.
    whole = machine.device.type != "cpu"
    for part in model.modules():
        if isinstance(part, Embeddings):
            part.scored = False  # Inductor has no sparse gradients
    parts = [model] if settings.compile == "step" else [part for part in model.modules() if isinstance(part, Encoder)]
    for part in parts:
        part.compile(fullgraph=whole, dynamic=False)


def uncompiled(settings: ExecutionSettings) -> AbstractContextManager[None]:
    """A context without compiled code: for held-out rows, whose batches have other sizes than a step's."""
    return nullcontext() if settings.compile == "off" else _eager()


@contextmanager
def _eager() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield


def _demand_triton(machine: Machine) -> None:
    _demand_cuda("execution.head = triton", machine, instead="execution.head=auto")
    if find_spec("triton") is None:
        raise ResourceError(
            "execution.head = triton, but Triton is not installed",
            code="NO_TRITON",
            where="execution.head",
            hint="pip install triton (torch's builds for CUDA bring it), or --set execution.head=auto",
        )


def _demand_cuda(what: str, machine: Machine, *, instead: str) -> None:
    if machine.device.type != "cuda":
        raise UsageError(
            f"{what} needs a CUDA device, and this run computes on {machine.device.type}",
            code="BAD_SETTINGS",
            where=what.partition(" ")[0],
            hint=f"--set {instead}",
        )


def _demand_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ResourceError(
            f"execution.compile needs a C++ compiler on a CPU: {error}",
            code="NO_COMPILER",
            where="execution.compile",
            hint="install g++, or --set execution.compile=off, which is faster on a CPU",
        ) from error
