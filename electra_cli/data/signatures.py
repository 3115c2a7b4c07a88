"""MinHash signatures: a document's shingles in 128 bytes, from which the similarity of two documents is estimated.

Two documents agree in a byte with the probability of their Jaccard similarity J (and 1 in 256 by chance): a byte is the
hashed lowest rank of a slot ("b-bit minwise hashing", Li and König, WWW 2010). Those that agree in all bytes of some
band are compared ("LSH", Indyk and Motwani; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3).

Letters: D documents, S shingles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from electra_cli.data.dedup_settings import missing_library
from electra_cli.data.shingles import Shingler

SLOTS = 128
"""MinHash values of a signature, a byte each."""
_SEED = 1
_ALGORITHM = 2  # rensa's number of its algorithm: another one gives other signatures
_WIDEST = 8  # bytes of a band: what fits a number of 64 bits
_FOUND = 0.9
_CHANCE = 1 / 256  # of two bytes being the same

Signatures = npt.NDArray[np.uint8]


class Signer:
    """Makes signatures of texts by shingles of `shingle` units.

    Raises:
        UsageError: the library that does it is not installed, or has another algorithm than the one known here.
    """

    def __init__(self, *, shingle: int) -> None:
        try:
            from rensa import RMinHash
        except ImportError as error:
            raise missing_library() from error
        if getattr(RMinHash, "ALGORITHM_VERSION", None) != _ALGORITHM:
            raise missing_library()
        self._minhash = RMinHash
        self._shingler = Shingler(size=shingle)

    def sign(self, texts: Sequence[str]) -> Signatures:
        """Return the signatures of `texts`: (D, 128). A text without shingles has zeros, and no other has."""
        hashes_S, counts_D = self._shingler.hashes(texts)
        signatures = np.zeros((len(texts), SLOTS), dtype=np.uint8)
        long = np.flatnonzero(counts_D)
        if len(long):
            ends = np.cumsum(counts_D[long], dtype=np.uint64)
            rows = self._minhash.digest_matrix_from_flat_token_hashes(
                hashes_S, np.concatenate([np.zeros(1, dtype=np.uint64), ends]), SLOTS, _SEED
            ).to_rows()
            # The lowest ranks have few high bits; multiplied, the highest byte depends on all.
            mixed = np.array(rows, dtype=np.uint32) * np.uint32(0x9E3779B1)
            signatures[long] = (mixed >> np.uint32(24)).astype(np.uint8)
        return signatures


def bands_for(threshold: float) -> tuple[int, int]:
    """Return how many bands a signature has, and how many bytes a band.

    Wide bands pair few documents that differ. They are as wide as possible, up to 8, while at least nine in ten pairs
    of exactly this similarity share a band: 1 - (1 - threshold^bytes)^bands.
    """
    for width in range(_WIDEST, 1, -1):
        if 1 - (1 - threshold**width) ** (SLOTS // width) >= _FOUND:
            return SLOTS // width, width
    return SLOTS, 1


def band_keys(signatures: Signatures, band: int, *, width: int) -> npt.NDArray[np.uint64]:
    """Return the bytes of one band of each signature as a number: (D,)."""
    keys = np.zeros((len(signatures), _WIDEST), dtype=np.uint8)
    keys[:, :width] = signatures[:, band * width : (band + 1) * width]
    return keys.view("<u8")[:, 0].astype(np.uint64)


def enough_alike(threshold: float) -> int:
    """Return in how many bytes two signatures must agree for an estimate of at least `threshold`."""
    return math.ceil(SLOTS * (threshold * (1 - _CHANCE) + _CHANCE) - 1e-9)
