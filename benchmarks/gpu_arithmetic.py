"""What a step of pretraining must cost on a GPU, from shapes alone: FLOPs, bytes, the floor in time, hours of a run.

FLOPs are products of matrices, 2 for a multiply-add, backward twice the forward, as in `training.flops`, but by part;
recomputation counts nothing. Bytes are a lower bound: every activation that a layer's kernels hand to each other is
written and read once, in bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass

from electra_cli.data.masking import MaskingRule
from electra_cli.model.shape import EncoderShape, generator_shape

GOALS = {
    "small at 128, tokens/s": 2.7e6,
    "small at 128, tokens/s, stretch": 3.4e6,
    "base at 512, MFU": 0.45,
    "times loop (3), plain": 4.0,
    "times loop (5), best, compiled": 1.5,
}


@dataclass(frozen=True)
class Size:
    """One of the paper's sizes and its run (electra.md 3.2, 5.3).

    Attributes:
        shape: the discriminator's.
        generator: the generator's width as a share of the discriminator's.
        fraction: share of a row's tokens that is masked.
        length: tokens in a row of the paper's run.
        batch: rows in a step of the paper's run.
        steps: of the paper's run.
    """

    shape: EncoderShape
    generator: float
    fraction: float = 0.15
    length: int = 128
    batch: int = 128
    steps: int = 1_000_000

    @property
    def narrow(self) -> EncoderShape:
        """The generator's shape."""
        return generator_shape(self.shape, size=self.generator)

    @property
    def rule(self) -> MaskingRule:
        """How its rows are masked; ids as in BERT's uncased vocabulary."""
        return MaskingRule(self.fraction, 0.85, (0, 101, 102, 103), 103)


SIZES = {
    "toy": Size(EncoderShape(1500, 32, 64, 2, 1, 128, positions=64), 0.5, length=32, batch=8, steps=100),
    "small": Size(EncoderShape(30_522, 128, 256, 12, 4, 1024), 0.25),
    "base": Size(EncoderShape(30_522, 768, 768, 12, 12, 3072), 0.33333, length=512, batch=256, steps=766_000),
    "large": Size(
        EncoderShape(30_522, 1024, 1024, 24, 16, 4096), 0.25, fraction=0.25, length=512, batch=2048, steps=400_000
    ),
}


def flops_per_token(size: Size, length: int) -> dict[str, float]:
    """FLOPs of a training step for each token of a row, forward and backward, by part."""
    slots = size.rule.slots(length) / length
    narrow, shape = size.narrow, size.shape
    head = 2 * narrow.hidden_size * shape.embedding_size + 2 * shape.embedding_size * shape.vocab_size
    forward = {
        "discriminator": _encoder(shape, length) + 2 * shape.hidden_size**2 + 2 * shape.hidden_size,
        "generator": _encoder(narrow, length),
        "generator's head": slots * head,
    }
    return {part: 3.0 * flops for part, flops in forward.items()}


def _encoder(shape: EncoderShape, length: int) -> float:
    """Forward FLOPs of an encoder for each token."""
    d, f = shape.hidden_size, shape.feed_forward
    project = 2 * shape.embedding_size * d if shape.embedding_size != d else 0
    return project + shape.layers * (8 * d * d + 4 * d * f + 4 * length * d)


def bytes_per_token(size: Size, length: int) -> dict[str, float]:
    """Bytes that a step moves for each token at least, by part; the optimizer's are in `bytes_per_step`.

    A layer hands on: queries, keys and values (3 D), attention's result (D), its product (D), the first sum (D), the
    feed-forward before and after GELU (2 F), its product (D), the second sum (D). Forward writes and reads each once;
    backward reads each once and writes and reads a gradient of each: five passes of two bytes. Attention's matrix stays
    on the chip. The head reads the logits' gradient twice and writes it once.
    """
    slots = size.rule.slots(length) / length
    each = {
        "discriminator": _handed_on(size.shape),
        "generator": _handed_on(size.narrow),
        "generator's head": slots * size.shape.vocab_size * 3 / 5,
    }
    return {part: 5 * 2.0 * elements for part, elements in each.items()}


def _handed_on(shape: EncoderShape) -> float:
    return float(shape.layers * (8 * shape.hidden_size + 2 * shape.feed_forward))


def bytes_per_step(parameters: int) -> float:
    """Bytes of the optimizer and the casts: weight, gradient and two moments read, three written, a cast (4 + 2)."""
    return parameters * (4 * 4 + 3 * 4 + 6.0)


def floor_seconds(
    size: Size, *, length: int, rows: int, parameters: int, rates: tuple[float, float]
) -> dict[str, float]:
    """The least time of a step by part: the larger of its FLOPs and its bytes over the device's rates."""
    flops, moved = flops_per_token(size, length), bytes_per_token(size, length)
    tokens = rows * length
    least = {part: tokens * max(flops[part] / rates[0], moved[part] / rates[1]) for part in flops}
    return {**least, "optimizer": bytes_per_step(parameters) / rates[1]}


def utilisation(size: Size, *, length: int, tokens_per_second: float, flops_per_second: float) -> float:
    """Model FLOPs utilisation: the share of the device's dense bfloat16 rate that does a step's products."""
    return sum(flops_per_token(size, length).values()) * tokens_per_second / flops_per_second


def hours(size: Size, tokens_per_second: float) -> float:
    """Hours of the paper's run at a rate."""
    return size.steps * size.batch * size.length / tokens_per_second / 3600


def micro_batches(start: int) -> list[int]:
    """Rows to try, the most first, each half of the one before."""
    return [start >> halvings for halvings in range(start.bit_length())]
