"""A start from which small models on little text learn sooner: heads that look at tokens alike, and at neighbours.

With the paper's initial weights attention is uniform at first. A small generator then spends tens of millions of tokens
at what it would guess without any context, and a small discriminator at the base rate, before a head looks at something
in particular. Here the position table starts as sinusoids (Vaswani et al. 2017), and queries and keys of the lowest
layers start in one of two ways, head by head:

- *alike*: queries and keys are equal, so q(x) k(y) is large where x and y are alike. A token finds its own other
  occurrences in the row, and a word that a text repeats is rarely one that the generator made up. The idea is that of
  mimetic initialization (Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", ICML 2023: trained
  transformers have query-key products near a multiple of the identity).
- *neighbour*: the query is the key turned by a fixed distance, which sinusoids allow by a rotation of each sine and
  cosine. A masked token so sees the words beside it from the first step, and statistics of word pairs can be learnt.

It is a start and nothing more: every weight is trained, shapes and names stay. What it is worth is measured in
benchmarks/README.md.

Letters: D width, E embedding width, K head width.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from electra_cli.model.encoder import Encoder, Layer

ALIKE_SHARPNESS = 3.0  # of alike heads: a head of 64 gives a token like itself 14 nats more than one unlike it
NEIGHBOUR_SHARPNESS = 2.0  # of neighbour heads
DISTANCES = (-1.25, 1.25, -2.25, 2.25)  # of neighbour heads; a quarter more than wanted, since a token is like itself
LAYERS = 2  # lowest layers that start so
POSITION_SIGMA = 0.05  # of the position table: 2.5 times the word embeddings', or neighbour heads look anywhere
SLOWEST = 0.1  # of the sinusoids, in radians a token; the fastest is 1


def sinusoids(rows: int, width: int) -> Tensor:
    """A position table (rows, E): sines in even columns, cosines in odd ones, up to half its width; zeros after.

    Alike heads so find columns that tell words apart and say nothing of positions.
    """
    table = torch.zeros(rows, width, dtype=torch.float64)
    place = torch.arange(rows, dtype=torch.float64)
    for column in range(0, width // 2 - 1, 2):
        table[:, column] = (place * _speed(column, width)).sin()
        table[:, column + 1] = (place * _speed(column, width)).cos()
    return (POSITION_SIGMA * math.sqrt(2) * table).float()


def _speed(column: int, width: int) -> float:
    """Radians a token of the pair of columns that begins at `column`."""
    return float(SLOWEST ** (2 * column / width))


def rotation(distance: float, width: int) -> Tensor:
    """What turns the first half of a table of sinusoids `width` wide by `distance` rows: (E/2, E/2).

    Row i of the table, times its transpose, is row i + `distance`.
    """
    turn = torch.eye(width // 2)
    for column in range(0, width // 2 - 1, 2):
        angle = distance * _speed(column, width)
        cos, sin = math.cos(angle), math.sin(angle)
        turn[column : column + 2, column : column + 2] = torch.tensor([[cos, sin], [-sin, cos]])
    return turn


def start_mimetically(encoder: Encoder, *, generator: torch.Generator) -> None:
    """Start the heads of the lowest layers of `encoder`, in place: half of them alike, the rest at neighbours."""
    shape = encoder.shape
    half, head_width = shape.embedding_size // 2, shape.head_width
    back_ED = torch.eye(shape.embedding_size)  # from a layer's input to the embedding that it comes from
    if encoder.project is not None:
        back_ED = torch.linalg.pinv(encoder.project.weight.detach())
    distances = itertools.cycle(DISTANCES)
    for layer in list(encoder.layers)[:LAYERS]:
        assert isinstance(layer, Layer)
        query_DD, key_DD, _ = layer.qkv.weight.detach().chunk(3)
        for head in range(shape.heads):
            rows = slice(head * head_width, (head + 1) * head_width)
            if head < max(1, shape.heads // 2):
                random = torch.randn(max(half, head_width), min(half, head_width), generator=generator)
                basis = torch.linalg.qr(random).Q
                words = basis.T if half >= head_width else basis
                query_DD[rows] = key_DD[rows] = ALIKE_SHARPNESS * words @ back_ED[shape.embedding_size - half :]
            else:
                place = torch.eye(head_width, half)
                key_DD[rows] = NEIGHBOUR_SHARPNESS * place @ back_ED[:half]
                turn = rotation(next(distances), shape.embedding_size)
                query_DD[rows] = NEIGHBOUR_SHARPNESS * place @ turn @ back_ED[:half]
