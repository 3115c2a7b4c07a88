"""The three Triton kernels of the generator's head; imported by `model.triton_head` alone, so that nothing else needs
Triton.

Logits live one tile at a time, in registers: tiles of `ROWS` masked positions by `COLUMNS` vocabulary entries, with the
product over the embedding's width taken `DEPTH` at a time and summed in float32.

Names in here: P masked positions, E embedding width, V vocabulary, S pieces that the vocabulary is cut into so that few
rows keep a whole GPU busy, W columns of the gradient's buffer. Pointers are to contiguous tensors.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


@triton.jit
def _scramble(x):
    """Mix 32 bits so that neighbours share nothing (Wellons' lowbias32, a bijection)."""
    x ^= x >> 16
    x *= 0x7FEB352D
    x ^= x >> 15
    x *= 0x846CA68B
    x ^= x >> 16
    return x


@triton.jit
def _row_keys(key, row, here):
    """Two keys of 32 bits from a row's 64, each a function of all of them."""
    bits = tl.load(key + row, here, 0)
    high = (bits >> 32).to(tl.uint32)
    low = _scramble(bits.to(tl.uint32) ^ _scramble(high))
    return low, _scramble(high + low)


@triton.jit
def _gumbel(low, high, column):
    """Gumbel noise from a row's two keys and a column: -log(-log(1 - w)), w uniform in (0, 1] with 32 bits.

    The small w are the ones that win, and they are exact; so the logarithm near 1 is taken by its series.
    """
    x = _scramble(_scramble(column * 0x9E3779B9 + low) + high)
    w = (x.to(tl.float32) + 0.5) * 2.3283064365386963e-10  # 2**-32
    series = w * (1.0 + w * (0.5 + w * (0.33333333 + w * 0.25)))
    return -tl.log(tl.where(w < 0.015625, series, -tl.log(1.0 - w)))


@triton.jit
def _logits(
    h, word, bias, row, column, P, V, E: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr
):
    """One tile of logits in float32; columns behind the vocabulary are -inf."""
    tile = tl.zeros((row.shape[0], column.shape[0]), dtype=tl.float32)
    for start in range(0, E, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        left = tl.load(h + row[:, None] * E + depth[None, :], (row < P)[:, None] & (depth < E)[None, :], 0.0)
        right = tl.load(word + column[None, :] * E + depth[:, None], (column < V)[None, :] & (depth < E)[:, None], 0.0)
        if WIDEN:  # the interpreter multiplies bfloat16 as if its bits were integers
            left, right = left.to(tl.float32), right.to(tl.float32)
        tile = tl.dot(left, right, tile, input_precision=PRECISION)
    tile += tl.load(bias + column, column < V, 0.0)[None, :]
    return tl.where((column < V)[None, :], tile, float("-inf"))


@triton.jit
def _race(logits, low, high, column, is_target, coldness, FORBID: tl.constexpr):
    """The Gumbel race within a tile: its winner's score, place in the tile and logit, for each row."""
    scores = logits * coldness + _gumbel(low[:, None], high[:, None], column[None, :].to(tl.uint32))
    if FORBID:
        scores = tl.where(is_target, float("-inf"), scores)
    score, place = tl.max(scores, 1, return_indices=True)
    return score, place, tl.sum(tl.where(tl.arange(0, column.shape[0])[None, :] == place[:, None], logits, 0.0), 1)


@triton.jit
def score_kernel(
    h,
    word,
    bias,
    target,
    key,
    numbers_5SP,
    sample_SP,
    P,
    V,
    coldness,
    E: tl.constexpr,
    EACH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    FORBID: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """What one piece of the vocabulary says of `ROWS` rows, in one pass over its tiles.

    A piece is `EACH` tiles, and its first one has columns of the vocabulary. Writes as numbers its largest logit, the
    sum of exp(logit - largest), the target's logit (0 when it is elsewhere), score and logit of the winner of the
    Gumbel race; and the winner's id.
    """
    piece = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < P
    wanted_id = tl.load(target + row, here, 0).to(tl.int32)
    low, high = _row_keys(key, row, here)
    least, zero = tl.full((ROWS,), float("-inf"), tl.float32), tl.zeros((ROWS,), tl.float32)
    top, race, total, wanted, drawn, sample = least, least, zero, zero, zero, row * 0
    for number in range(EACH):  # tiles behind the vocabulary are -inf and change nothing
        begin = (piece * EACH + number) * COLUMNS
        column = begin + tl.arange(0, COLUMNS)
        logits = _logits(h, word, bias, row, column, P, V, E, DEPTH, PRECISION, WIDEN)
        is_target = column[None, :] == wanted_id[:, None]
        wanted += tl.sum(tl.where(is_target, logits, 0.0), 1)
        new_top = tl.maximum(top, tl.max(logits, 1))
        total = total * tl.exp(top - new_top) + tl.sum(tl.exp(logits - new_top[:, None]), 1)
        top = new_top
        tile_race, tile_sample, tile_drawn = _race(logits, low, high, column, is_target, coldness, FORBID)
        ahead = tile_race > race  # never true of NaN: ids stay valid
        sample = tl.where(ahead, begin + tile_sample, sample)
        drawn = tl.where(ahead, tile_drawn, drawn)
        race = tl.maximum(race, tile_race)
    at, step = piece * P + row, tl.num_programs(1) * P
    tl.store(numbers_5SP + at, top, here)
    tl.store(numbers_5SP + at + step, total, here)
    tl.store(numbers_5SP + at + 2 * step, wanted, here)
    tl.store(numbers_5SP + at + 3 * step, race, here)
    tl.store(numbers_5SP + at + 4 * step, drawn, here)
    tl.store(sample_SP + at, sample, here)


@triton.jit
def join_kernel(
    numbers_5SP,
    sample_SP,
    lse_P,
    nll_P,
    sample_P,
    sample_nll_P,
    correct_P,
    P,
    pieces,
    PIECES: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Join what the pieces said; `PIECES` is `pieces` rounded up to a power of two."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    piece = tl.arange(0, PIECES)
    at, step = piece[:, None] * P + row[None, :], pieces * P
    there = (piece < pieces)[:, None] & (row < P)[None, :]
    tops = tl.load(numbers_5SP + at, there, float("-inf"))
    top = tl.max(tops, 0)
    lse = top + tl.log(tl.sum(tl.load(numbers_5SP + at + step, there, 0.0) * tl.exp(tops - top[None, :]), 0))
    _, winner = tl.max(tl.load(numbers_5SP + at + 3 * step, there, float("-inf")), 0, return_indices=True)
    wins = piece[:, None] == winner[None, :]
    wanted = tl.sum(tl.load(numbers_5SP + at + 2 * step, there, 0.0), 0)
    sample = tl.sum(tl.where(wins, tl.load(sample_SP + at, there, 0), 0), 0)
    drawn = tl.sum(tl.where(wins, tl.load(numbers_5SP + at + 4 * step, there, 0.0), 0.0), 0)
    here = row < P
    tl.store(lse_P + row, lse, here)
    tl.store(nll_P + row, lse - wanted, here)
    tl.store(sample_P + row, sample.to(tl.int64), here)
    tl.store(sample_nll_P + row, lse - drawn, here)
    tl.store(correct_P + row, (wanted == top).to(tl.int8), here)


@triton.jit
def gradient_kernel(
    h,
    word,
    bias,
    target,
    lse,
    scale,
    gradient_PW,
    bias_parts_RW,
    P,
    V,
    offset,
    W,
    E: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Scale * (softmax - one-hot) for columns `offset` … `offset + W - 1`, its logits computed again.

    `bias_parts_RW` gets the sums over each block of rows before the gradient is rounded to its buffer's type.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    column = offset + inside
    here = row < P
    logits = _logits(h, word, bias, row, column, P, V, E, DEPTH, PRECISION, WIDEN)
    share = tl.exp(logits - tl.load(lse + row, here, 0.0)[:, None])
    is_target = column[None, :] == tl.load(target + row, here, 0).to(tl.int32)[:, None]
    gradient = tl.load(scale + row, here, 0.0)[:, None] * (share - is_target.to(tl.float32))
    at = row[:, None] * W + inside[None, :]
    tl.store(gradient_PW + at, gradient.to(gradient_PW.dtype.element_ty), here[:, None] & (inside < W)[None, :])
    tl.store(bias_parts_RW + tl.program_id(0) * W + inside, tl.sum(gradient, 0), inside < W)


def interpreted() -> bool:
    """Whether these kernels run in Triton's interpreter (`TRITON_INTERPRET=1` when this module was imported)."""
    kernel: Any = score_kernel
    return not isinstance(kernel, triton.runtime.JITFunction)
