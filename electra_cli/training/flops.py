"""How much arithmetic pretraining takes: the released code's count, and the work that our step really does.

`paper_flops` is for comparing with published runs: its numbers are those of the released counter
(`flops_computation.py`, electra.md 7.4), oddities included. `row_flops` is for rates and budgets: the products of
matrices in one forward and backward pass of our step, and nothing else (what model FLOPs utilisation usually counts).

Letters: L tokens in a row, D hidden width, E embedding width, F feed-forward, H heads, V vocabulary.
"""

from __future__ import annotations

from electra_cli.model.shape import EncoderShape
from electra_cli.model.variants import ELECTRA, Variant

# The released counter's price of an elementwise operation, in operations per element.
_DROPOUT, _LAYER_NORM, _GELU, _SOFTMAX = 4, 5, 8, 5
_SOFTMAX_SHARE = 80 / 512  # the share of positions that the released counter gives an output softmax, at every length


def row_flops(
    discriminator: EncoderShape,
    generator: EncoderShape | None,
    *,
    length: int,
    slots: int,
    variant: Variant = ELECTRA,
) -> int:
    """The matrix products of one row in our step: all networks forward and backward, word heads at `slots`.

    A product of (m, k) and (k, n) counts 2 m k n, and its backward pass twice that (one product for each operand).
    Lookups, sums and elementwise work count nothing. Padding counts like text: it is computed. Of two stages each step
    counts as if both networks learnt.

    Args:
        discriminator: its shape.
        generator: its shape; a shared encoder is passed through twice and counts twice. None where there is none.
        length: tokens in a row, pads included.
        slots: masked positions that the generator's head scores in a row (`MaskingRule.slots`).
        variant: the objective.
    """
    forward = _encoder(discriminator, length)
    if generator is not None:
        towers = 2 if variant.objective == "electric" else 1
        scored = length if variant.objective == "electric" else slots  # Electric's cloze loss covers every token
        forward += towers * _encoder(generator, length) + _word_head(generator, scored, towers=towers)
    if variant.objective == "all-tokens-mlm":
        # the copy mechanism needs the head's loss before it knows the weights of its gradient: one more pass forward
        gate = length * 2 * discriminator.hidden_size
        return 3 * (forward + gate + _word_head(discriminator, length)) + _copy_pass(discriminator, length)
    if variant.predicts_words:
        return 3 * (forward + _word_head(discriminator, slots))
    return 3 * (forward + length * (2 * discriminator.hidden_size**2 + 2 * discriminator.hidden_size))


def _word_head(shape: EncoderShape, positions: int, *, towers: int = 1) -> int:
    """Hidden states of one or two encoders to the embeddings' width, and scores of all words."""
    return positions * (2 * towers * shape.hidden_size * shape.embedding_size + _scores(shape))


def _scores(shape: EncoderShape) -> int:
    return 2 * shape.embedding_size * shape.vocab_size


def _copy_pass(shape: EncoderShape, length: int) -> int:
    return length * _scores(shape)


def _encoder(shape: EncoderShape, length: int) -> int:
    """One row forward through an encoder: projection, and for each layer the four linears and the two of attention."""
    d, e, f = shape.hidden_size, shape.embedding_size, shape.feed_forward
    projection = 2 * e * d if e != d else 0
    layer = 2 * d * 3 * d + 2 * d * d + 4 * d * f + 4 * length * d
    return length * (projection + shape.layers * layer)


def paper_flops(discriminator: EncoderShape, generator: EncoderShape | None, *, length: int, rows: float) -> float:
    """What the released code's counter says of training on `rows` rows (batch times steps) of `length` tokens.

    Multiply-adds count 2, elementwise operations too, embedding lookups as products with one-hot vectors, the output
    softmax at 15.625 % of the positions, and the backward pass as much as the forward (half of what it takes). The
    published runs come out as 1.294e18 (small), 6.425e19 (base), 7.118e20 (400K) and 3.114e21 (1.75M); the paper prints
    1.4e18, 6.4e19, 7.1e20 and 3.1e21. The released counter knows ELECTRA only: other objectives are counted as if
    they had its heads, and without a generator its part is left out.
    """
    forward = 0.0
    for shape in (discriminator, generator) if generator else (discriminator,):
        forward += length * (shape.layers * _released_layer(shape, length) + _released_input(shape, length))
    forward += length * _released_binary_head(discriminator)
    forward += length * _SOFTMAX_SHARE * _released_softmax(generator or discriminator)
    return 2 * rows * forward


def _released_layer(shape: EncoderShape, length: int) -> int:
    """One transformer layer, per token; the first LayerNorm counts 5 in all and not 5 per unit, as released."""
    d, f, scores = shape.hidden_size, shape.feed_forward, length * shape.heads
    attention = 3 * (2 * d * d + d) + 2 * d * length + (_SOFTMAX + _DROPOUT + 1) * scores + 2 * d * length
    output = 2 * d * d + d + (_DROPOUT + 1) * d + _LAYER_NORM
    feed_forward = 4 * d * f + (_GELU + 1) * f + d + (_DROPOUT + 1 + _LAYER_NORM) * d
    return attention + output + feed_forward


def _released_input(shape: EncoderShape, length: int) -> int:
    """Embeddings, per token: one-hot products with the words, positions and types, and the projection."""
    d, e = shape.hidden_size, shape.embedding_size
    projection = 2 * d * e + d if d != e else 0
    return 2 * e * shape.vocab_size + 2 * e * (length + 2) + (2 + _LAYER_NORM + _DROPOUT) * e + projection


def _released_softmax(shape: EncoderShape) -> int:
    """The generator's head, per predicted position."""
    d, e, v = shape.hidden_size, shape.embedding_size, shape.vocab_size
    return 2 * e * v + 2 * d * e + e + (_GELU + _LAYER_NORM) * e + (_SOFTMAX + 2) * v


def _released_binary_head(shape: EncoderShape) -> int:
    """The discriminator's head, per token."""
    d = shape.hidden_size
    return 2 * d * d + d + _GELU * d + 2 * d
