"""The paper's Adam: no bias correction, epsilon outside the root, decoupled weight decay (electra.md 5.1).

m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = w - lr (m / (sqrt(v) + eps) + decay w)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

# torch's AdamW divides by 1 - beta^step. With a step this large both corrections are exactly 1 in float32 and stay so
# (adding 1 to it changes nothing), which turns torch's fused kernel into the uncorrected Adam of the paper.
_SETTLED = 1e9


def build_optimizer(
    named_parameters: Iterable[tuple[str, Parameter]],
    *,
    weight_decay: float,
    lr_scale: Callable[[str], float] = lambda name: 1.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
) -> torch.optim.Optimizer:
    """The optimizer over `named_parameters`, moments at zero.

    Vectors (biases, LayerNorm) are not decayed; embeddings are. Each group carries its `lr_scale`, by which the
    learning rate of a step is multiplied (layer-wise decay); `set_learning_rate` applies it.
    """
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for name, parameter in named_parameters:
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((lr_scale(name), decay), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": p, "lr_scale": scale, "weight_decay": decay} for (scale, decay), p in groups.items()],
        lr=0.0,
        betas=betas,
        eps=eps,
        fused=True,
    )
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.tensor(_SETTLED, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def moments(optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, Parameter]]) -> dict[str, Tensor]:
    """The optimizer's state as `NAME.exp_avg` and `NAME.exp_avg_sq`."""
    return {
        f"{name}.{which}": optimizer.state[parameter][which]
        for name, parameter in named
        for which in ("exp_avg", "exp_avg_sq")
    }


def load_moments(
    optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, Parameter]], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `moments` gave.

    Raises:
        KeyError: a moment is missing; the key is its name.
    """
    for name, parameter in named:
        for which in ("exp_avg", "exp_avg_sq"):
            optimizer.state[parameter][which].copy_(tensors[f"{name}.{which}"])
