"""The shingles of documents as numbers: what two near-duplicate texts have in common.

A unit is a lower-cased word: characters between white space, control characters and punctuation. A character of a
script that is written without spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan, …) is a unit
by itself. A shingle is a number of consecutive units of one document, and stands here as a hash of 64 bits.

All of it is arithmetic on whole batches of documents; a step of Python for each word would take ten times as long. The
tables depend on no version of Unicode that a Python brings, so that the hashes are the same everywhere.

Letters: C characters of a batch, U units, S shingles, D documents.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from electra_cli.text.boundaries import CONTROLS, IDEOGRAPHS, PUNCTUATION, SEPARATORS

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

PART = 2**18
"""Characters worked on at once. A longer document is cut every so many: no shingle crosses such a cut."""

# Scripts without spaces between words. Kana, with Bopomofo, the CJK radicals and iteration marks; then of South-East
# Asia and Tibet: Thai, Lao, Tibetan, Burmese, Khmer, Tai Le, New Tai Lue, Tai Tham, Balinese, Javanese, Tai Viet.
UNSPACED: tuple[tuple[int, int], ...] = (
    *IDEOGRAPHS, (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x30FA), (0x30FC, 0x312F), (0x31A0, 0x31FF),
    (0xFF66, 0xFF9F), (0x30000, 0x323AF), (0xE00, 0xE7F), (0xE80, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F),
    (0x1780, 0x17FF), (0x1950, 0x197F), (0x1980, 0x19DF), (0x1A20, 0x1AAF), (0x1B00, 0x1B7F), (0xA980, 0xA9DF),
    (0xAA80, 0xAADF),
)  # fmt: skip

_CUT, _WORD, _ALONE = range(3)
_POINTS = 0x110000
_ODD = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio; odd, and so invertible modulo 2^64
_CASED = 0x10450  # all cased letters of Unicode 3.2 are below


class Shingler:
    """Cuts documents into shingles of `size` units; see the module."""

    def __init__(self, *, size: int) -> None:
        self._size = size
        self._kinds = _kinds()
        self._values = mixed(_lowered().astype(np.uint64) + np.uint64(_ODD))
        self._powers = _powers_of(_ODD, PART)
        self._inverses = _powers_of(pow(_ODD, -1, 2**64), PART)
        # Another base for the units of a shingle than for the characters of a unit.
        self._places = _powers_of(int(mixed(np.array([_ODD], dtype=np.uint64))[0]) | 1, size)

    def hashes(self, texts: Sequence[str]) -> tuple[Hashes, Counts]:
        """Return the hashes of the shingles of `texts`, one text after another, and how many each text has.

        A shingle that occurs twice is there twice. A text of fewer units than a shingle has none.

        Returns:
            hashes_S and counts_D; the counts add up to S.
        """
        counts_D = np.zeros(len(texts), dtype=np.int64)
        found: list[Hashes] = []
        batch: list[str] = []
        owners: list[int] = []
        held = 0

        def flush() -> None:
            nonlocal held
            if batch:
                hashes_S, counts = self._of_batch(batch)
                found.append(hashes_S)
                np.add.at(counts_D, owners, counts)
            batch.clear()
            owners.clear()
            held = 0

        for number, text in enumerate(texts):
            for start in range(0, len(text), PART - 1):
                part = text[start : start + PART - 1]
                if held + len(part) + 1 > PART:
                    flush()
                batch.append(part)
                owners.append(number)
                held += len(part) + 1
        flush()
        return np.concatenate(found) if found else np.empty(0, dtype=np.uint64), counts_D

    def _of_batch(self, texts: Sequence[str]) -> tuple[Hashes, Counts]:
        """Return the hashes of texts that fit into a part together, and the number of each."""
        points_C = np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        ends_D = np.cumsum([len(text) + 1 for text in texts])
        units_U, starts_U = self._units(points_C)
        until_D = np.searchsorted(starts_U, ends_D)
        counts_D = np.maximum(np.diff(until_D, prepend=0) - self._size + 1, 0)
        number = len(units_U) - self._size + 1
        if number < 1:
            return np.empty(0, dtype=np.uint64), counts_D
        sums_S = np.zeros(number, dtype=np.uint64)
        for place, power in enumerate(self._places):
            sums_S += units_U[place : place + number] * power
        # The last size - 1 units of a text begin no shingle. Where a text has fewer, those reach back into the text
        # before it, but never past what that text gives up anyway.
        without = (until_D[:, None] - np.arange(1, self._size)).reshape(-1)
        whole_S = np.ones(number, dtype=np.bool_)
        whole_S[without[(without >= 0) & (without < number)]] = False
        return mixed(sums_S[whole_S]), counts_D

    def _units(self, points_C: npt.NDArray[np.uint32]) -> tuple[Hashes, npt.NDArray[np.intp]]:
        """Return the hash of each unit, and the character that it begins with."""
        kinds_C = self._kinds[points_C]
        word_C, alone_C = kinds_C == _WORD, kinds_C == _ALONE
        begins_C, ends_C = word_C.copy(), word_C.copy()
        begins_C[1:] &= ~word_C[:-1]
        ends_C[:-1] &= ~word_C[1:]
        starts_U = np.flatnonzero(begins_C | alone_C)
        stops_U = np.flatnonzero(ends_C | alone_C) + 1
        # The sum of value * base^(place in the batch), divided by base^(place of the first): all modulo 2^64.
        sums_C = np.zeros(len(points_C) + 1, dtype=np.uint64)
        np.cumsum(self._values[points_C] * self._powers[: len(points_C)], out=sums_C[1:])
        return mixed((sums_C[stops_U] - sums_C[starts_U]) * self._inverses[starts_U]), starts_U


def _kinds() -> npt.NDArray[np.uint8]:
    kinds = np.full(_POINTS, _WORD, dtype=np.uint8)
    for ranges, kind in ((UNSPACED, _ALONE), (CONTROLS + SEPARATORS + PUNCTUATION, _CUT)):
        for first, last in ranges:
            kinds[first : last + 1] = kind
    return kinds


def _lowered() -> npt.NDArray[np.uint32]:
    """Return each character's lower case: of letters that Unicode 3.2 had, which no later version moved."""
    lowered = np.arange(_POINTS, dtype=np.uint32)
    category = unicodedata.ucd_3_2_0.category
    for point in range(_CASED):
        lower = chr(point).lower()
        if len(lower) == 1 and ord(lower) != point and category(chr(point)) != "Cn" and category(lower) != "Cn":
            lowered[point] = ord(lower)
    return lowered


def mixed(numbers: Hashes) -> Hashes:
    """Return the numbers with every bit depending on all: the finalizer of SplitMix64, one to one."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _powers_of(base: int, number: int) -> Hashes:
    """Return base^0, base^1, … modulo 2^64."""
    powers = np.full(number, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)
