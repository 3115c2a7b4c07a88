"""A start from which small models on little text learn sooner: attention between tokens that are alike and near.

With the paper's initial weights attention is uniform at first, and a small discriminator spends millions of tokens at
the base rate before any head looks at something in particular. Here queries and keys start equal, head by head, so
q(x) k(y) is large where x and y are alike; and the position table starts as sinusoids (Vaswani et al. 2017), which
are alike where they are near. A token so finds its own other occurrences in the row, a word that a text repeats is
rarely one that the generator made up, and its neighbours. It is a start and nothing more: every weight is trained,
shapes and names stay.

The idea is that of mimetic initialization (Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers",
ICML 2023: trained transformers have query-key products near a multiple of the identity). What it is worth is measured
in benchmarks/README.md.

Letters: D width, E embedding width, K head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from electra_cli.model.encoder import Encoder, Layer

SHARPNESS = 2.5  # of queries and keys: a head of 64 gives a token like itself 50 nats more than one unlike it
LAYERS = 2  # lowest layers that start so
POSITION_SIGMA = 0.02  # of the position table: as large as the word embeddings'
FREQUENCIES = 100.0  # from 1 radian a token down to 1/100


def sinusoids(rows: int, width: int) -> Tensor:
    """A position table (rows, E): sines in even columns, cosines in odd ones."""
    slower_E = torch.arange(0, width, 2, dtype=torch.float64) / width
    angle = torch.arange(rows, dtype=torch.float64)[:, None] * FREQUENCIES**-slower_E
    table = torch.zeros(rows, width, dtype=torch.float64)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : width // 2]
    return (POSITION_SIGMA * math.sqrt(2) * table).float()


def start_mimetically(encoder: Encoder, *, generator: torch.Generator) -> None:
    """Make queries and keys of half the heads in the lowest layers of `encoder` one random projection each, in place.

    The other heads keep the paper's start: their uniform attention is what gathers a row in `[CLS]` for finetuning.
    """
    shape = encoder.shape
    for layer in list(encoder.layers)[:LAYERS]:
        assert isinstance(layer, Layer)
        query_DD, key_DD, _ = layer.qkv.weight.detach().chunk(3)
        for head in range(max(1, shape.heads // 2)):
            rows = slice(head * shape.head_width, (head + 1) * shape.head_width)
            random_DK = torch.randn(shape.hidden_size, shape.head_width, generator=generator)
            query_DD[rows] = key_DD[rows] = SHARPNESS * torch.linalg.qr(random_DK).Q.T
