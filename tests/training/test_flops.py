from __future__ import annotations

import pytest

from electra_cli.model.shape import EncoderShape, generator_shape
from electra_cli.training.flops import paper_flops, row_flops

SMALL = EncoderShape(30_522, 128, 256, 12, 4, 1024)
BASE = EncoderShape(30_522, 768, 768, 12, 12, 3072)
LARGE = EncoderShape(30_522, 1024, 1024, 24, 16, 4096)


@pytest.mark.parametrize(
    ("shape", "size", "length", "rows", "released"),
    [
        (SMALL, 0.25, 128, 128 * 1_000_000, 1.294e18),
        (BASE, 0.33333, 512, 256 * 766_000, 6.425e19),
        (LARGE, 0.25, 512, 2048 * 400_000, 7.118e20),
        (LARGE, 0.25, 512, 2048 * 1_750_000, 3.114e21),
    ],
)
def test_the_released_counter_is_reproduced(
    shape: EncoderShape, size: float, length: int, rows: int, released: float
) -> None:
    """electra.md 7.4, where the released script was run: four digits."""
    found = paper_flops(shape, generator_shape(shape, size=size), length=length, rows=rows)
    assert float(f"{found:.3e}") == released


@pytest.mark.parametrize(
    ("shape", "size", "length", "slots", "megaflops"),
    [(SMALL, 0.25, 128, 19, 70.2), (BASE, 0.33333, 512, 79, 668), (LARGE, 0.25, 512, 79, 2151)],
)
def test_useful_work_of_a_token(shape: EncoderShape, size: float, length: int, slots: int, megaflops: float) -> None:
    """performance.md 9, forward and backward, the head at 15 % of the positions."""
    found = row_flops(shape, generator_shape(shape, size=size), length=length, slots=slots) / length / 1e6
    assert found == pytest.approx(megaflops, abs=0.05 if megaflops < 100 else 0.5)


def test_useful_work_by_hand() -> None:
    """One layer each, D 4, E 2, F 8, V 10, L 3, one slot; generator half as wide with one head."""
    shape = EncoderShape(vocab_size=10, embedding_size=2, hidden_size=4, layers=1, heads=2, feed_forward=8)
    discriminator = 3 * (2 * 2 * 4 + 2 * 4 * 12 + 2 * 4 * 4 + 2 * 2 * 4 * 8 + 2 * 2 * 3 * 4)
    generator = 3 * (2 * 2 * 6 + 2 * 2 * 2 + 2 * 2 * 2 * 4 + 2 * 2 * 3 * 2)  # as wide as the embeddings: no projection
    heads = 3 * (2 * 4 * 4 + 2 * 4) + (2 * 2 * 2 + 2 * 2 * 10)
    found = row_flops(shape, generator_shape(shape, size=0.5), length=3, slots=1)
    assert found == 3 * (discriminator + generator + heads)
