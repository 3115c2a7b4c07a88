"""Initial weights, as the released code draws them (electra.md 3.6).

    what                                                     distribution
    embeddings, attention, feed-forward, heads' first layers  truncated normal, sigma 0.02, cut at 2 sigma
    embedding projection, the discriminator's last layer,
      the copy gate, every finetuning head                    Glorot uniform
    biases, the difference between word tables (gdes)         0
    LayerNorm                                                 weight 1, bias 0

With `mimetic` the attention of the lowest layers starts as `model.mimetic` says; that is ours, not the paper's.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from electra_cli.model.classifier import Classifier
from electra_cli.model.embedding_sharing import DisentangledEmbeddings
from electra_cli.model.encoder import Encoder, LayerNorm
from electra_cli.model.mimetic import sinusoids, start_mimetically
from electra_cli.model.pretraining import DiscriminatorHead, Electra

SIGMA = 0.02

Scheme = Literal["paper", "mimetic"]


def initialize(model: nn.Module, *, seed: int, scheme: Scheme = "paper") -> None:
    """Draw every parameter of `model` from `seed`, in place; the same seed gives the same bits on any CPU."""
    generator = torch.Generator().manual_seed(seed)
    glorot = {id(parameter) for parameter in _glorot(model)}
    norms = {id(p) for module in model.modules() if isinstance(module, LayerNorm) for p in module.parameters()}
    zeros = {id(module.delta) for module in model.modules() if isinstance(module, DisentangledEmbeddings)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if id(parameter) in norms:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif parameter.ndim == 1 or id(parameter) in zeros:
                parameter.zero_()
            elif id(parameter) in glorot:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                nn.init.trunc_normal_(parameter, std=SIGMA, a=-2 * SIGMA, b=2 * SIGMA, generator=generator)
        if scheme == "mimetic":
            for encoder in (module for module in model.modules() if isinstance(module, Encoder)):
                start_mimetically(encoder, generator=generator)
                table = encoder.embeddings.position
                table.copy_(sinusoids(*table.shape))


def _glorot(model: nn.Module) -> list[nn.Parameter]:
    """The matrices that TensorFlow's default initializer drew."""
    found = []
    if isinstance(model, Electra):
        for module in model.modules():
            if isinstance(module, DiscriminatorHead):
                found.append(module.out.weight)
            elif isinstance(module, Encoder) and module.project is not None:
                found.append(module.project.weight)
        if model.variant.objective == "all-tokens-mlm":
            found.append(model.copy_gate.weight)
    if isinstance(model, Classifier):
        found += [model.dense.weight, model.out.weight]
        if model.encoder.project is not None:
            found.append(model.encoder.project.weight)
    return found
