"""Learning rates that fall with depth: the paper's layerwise decay for finetuning (appendix, Table 7)."""

from __future__ import annotations

import re

_DEPTH_0 = ("encoder.embeddings.", "encoder.project.")
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
_HEAD = ("dense.", "out.")


def depth_of(name: str, *, layers: int) -> int:
    """Depth of the parameter of a `Classifier` called `name`.

    Embeddings and their projection have 0, encoder layer i has i + 1, the head n + 2 for n layers. Nothing has depth
    n + 1: it belonged to a pooler that the released code had removed before it was published.
    """
    if name.startswith(_DEPTH_0):
        return 0
    if match := _LAYER.match(name):
        return int(match.group(1)) + 1
    if name.startswith(_HEAD):
        return layers + 2
    raise ValueError(f"no depth is known for the parameter {name}")


def learning_rate_scale(name: str, *, layers: int, decay: float, skips_depth: bool) -> float:
    """What to multiply the learning rate of the parameter called `name` with.

    Args:
        name: as in `Classifier.named_parameters`.
        layers: n, encoder layers.
        decay: factor from one depth to the next below it; 1 gives every parameter the same rate.
        skips_depth: count the missing pooler too, so that the last layer gets decay² (released code, with which the
            published results were made; google-research/electra#51); otherwise decay, as the paper says.
    """
    depth = depth_of(name, layers=layers)
    top = layers + 2
    if depth == top:
        return 1.0
    return float(decay ** (top - depth if skips_depth else top - 1 - depth))
