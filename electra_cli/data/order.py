"""The order in which rows are seen: a permutation per epoch that nobody has to store.

A Feistel network permutes the numbers below a power of four; numbers that fall outside the wanted range are sent
through again until they fall inside (cycle walking), which leaves a permutation of the range. Any position of any
epoch is found in constant time, so a resumed run needs two integers, and ranks can share the work without talking.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

# Four rounds are indistinguishable from random for large halves (Luby and Rackoff); tiny ranges need more to mix.
_ROUNDS = 8

# Constants of the finaliser of MurmurHash3 (64 bits), a well-mixed invertible function; here it is the round function.
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


def sample_index(seed: int, epoch: int, position: npt.NDArray[np.integer], *, rows: int) -> npt.NDArray[np.int64]:
    """Return which row stands at each position of an epoch.

    Args:
        seed: of the run.
        epoch: from 0; every epoch has an order of its own.
        position: any array of integers from 0 to `rows` - 1.
        rows: number of rows.

    Returns:
        Row numbers of the shape of `position`; over all positions of an epoch each row comes exactly once.

    Raises:
        ValueError: a position is outside the range, or there are no rows.
    """
    if rows < 1:
        raise ValueError("there are no rows to order")
    values = np.asarray(position)
    if values.size and (int(values.min()) < 0 or int(values.max()) >= rows):
        raise ValueError(f"positions must be from 0 to {rows - 1}")
    half = max(1, ((rows - 1).bit_length() + 1) // 2)
    keys = _keys(seed, epoch)
    flat = values.reshape(-1).astype(np.uint64)
    flat = _permute(flat, keys, half)
    # At most four numbers of the power of four belong to one of the range, so few rounds are needed.
    outside = np.flatnonzero(flat >= rows)
    while outside.size:
        flat[outside] = _permute(flat[outside], keys, half)
        outside = outside[flat[outside] >= rows]
    return flat.astype(np.int64).reshape(values.shape)


def rank_slice(start: int, size: int, *, rank: int, world: int) -> tuple[int, int]:
    """Return the part of `size` positions from `start` on that one of `world` ranks takes: its start and its size.

    The parts lie one behind the other, cover every position once, and differ by one position at most.
    """
    first, stop = size * rank // world, size * (rank + 1) // world
    return start + first, stop - first


def _keys(seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    digest = b"".join(
        hashlib.sha256(f"electra order {seed} {epoch} {part}".encode("ascii")).digest() for part in range(_ROUNDS // 4)
    )
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _permute(values: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], half: int) -> npt.NDArray[np.uint64]:
    """Send numbers of 2 * `half` bits through the network, one round a key."""
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        mixed = right ^ key
        mixed = (mixed ^ (mixed >> _SHIFT)) * _MIX_1
        mixed = (mixed ^ (mixed >> _SHIFT)) * _MIX_2
        mixed ^= mixed >> _SHIFT
        left, right = right, left ^ (mixed & mask)
    return (left << bits) | right
