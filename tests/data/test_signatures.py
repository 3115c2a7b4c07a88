import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from electra_cli.data.dedup_settings import DedupSettings
from electra_cli.data.signatures import SLOTS, Signer, band_keys, bands_for, enough_alike
from electra_cli.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[2]
DIGEST = "96863d525271bf47"
SIGN = """
import hashlib, sys
from electra_cli.data.signatures import Signer
texts = [" ".join(str(i * i % 9973) for i in range(n)) for n in (5, 6, 40, 300, 4000)]
print(hashlib.sha256(Signer(shingle=5).sign(texts).tobytes()).hexdigest()[:16])
"""


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def pairs_of(similarity, *, pairs, shingles):
    """Texts of two documents each with as many one-word shingles, and their true similarity."""
    dice = random.Random(0)
    both = round(2 * shingles * similarity / (1 + similarity))
    texts = []
    for _ in range(pairs):
        words = [str(word) for word in dice.sample(range(10**7), 2 * shingles - both)]
        for own in (words[:shingles], words[:both] + words[shingles:]):
            texts.append(" ".join(dice.sample(own, len(own))))
    return texts, both / (2 * shingles - both)


@pytest.mark.parametrize(("similarity", "shingles"), [(0.3, 40), (0.8, 40), (0.8, 400), (0.95, 400)])
def test_signatures_estimate_the_similarity(similarity, shingles):
    texts, true = pairs_of(similarity, pairs=300, shingles=shingles)
    signatures = Signer(shingle=1).sign(texts)
    agree = (signatures[0::2] == signatures[1::2]).mean(axis=1)
    found = (agree - 1 / 256) / (1 - 1 / 256)
    deviation = (true * (1 - true) / SLOTS) ** 0.5  # of independent slots; the library's vary less
    assert abs(found.mean() - true) < 4 * deviation / 300**0.5
    assert found.std() < 1.2 * deviation


def test_a_pair_meets_in_a_band_as_often_as_the_formula_says():
    bands, width = bands_for(0.8)
    assert (bands, width) == (16, 8)
    for similarity in (0.7, 0.8, 0.9):
        texts, true = pairs_of(similarity, pairs=500, shingles=100)
        signatures = Signer(shingle=1).sign(texts)
        keys = np.stack([band_keys(signatures, band, width=width) for band in range(bands)])
        met = (keys[:, 0::2] == keys[:, 1::2]).any(axis=0).mean()
        assert abs(met - (1 - (1 - true**width) ** bands)) < 0.08


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_find_nine_of_ten_pairs_at_the_threshold(threshold):
    bands, width = bands_for(threshold)
    assert bands * width <= SLOTS
    assert 1 - (1 - threshold**width) ** bands >= 0.9
    needed = enough_alike(threshold)
    estimates = (np.array([needed - 1, needed]) / SLOTS - 1 / 256) / (1 - 1 / 256)
    assert estimates[0] < threshold <= estimates[1] + 1e-9


def test_band_keys_are_the_bytes_of_the_band():
    signatures = np.random.default_rng(0).integers(0, 256, size=(50, SLOTS), dtype=np.uint8)
    for width, band in ((8, 3), (6, 20), (3, 41)):
        keys = band_keys(signatures, band, width=width)
        expected = [int.from_bytes(row[band * width : (band + 1) * width].tobytes(), "little") for row in signatures]
        assert keys.tolist() == expected


def test_a_text_shorter_than_a_shingle_has_no_signature():
    signatures = Signer(shingle=5).sign(["one two three four", "one two three four five", ""])
    assert signatures.any(axis=1).tolist() == [False, True, False]
    assert Signer(shingle=5).sign([]).shape == (0, SLOTS)


def test_repeated_shingles_and_order_do_not_count():
    one, other, third = Signer(shingle=2).sign(["a b a b a b", "b a b", "b a c"])
    assert (one == other).all()
    assert (one != third).any()


@pytest.mark.slow
def test_signatures_are_the_same_in_every_process_and_on_every_kind_of_processor():
    """Recorded: signatures that differ between two nodes, or two versions of the library, must not be compared."""
    kernels = [{}, {"PYTHONHASHSEED": "7"}, {"RENSA_FORCE_KERNEL": "scalar"}, {"RENSA_FORCE_KERNEL": "avx2"}]
    for environment in kernels:
        done = python(SIGN, **environment)
        assert (done.stdout.strip(), done.stderr) == (DIGEST, "")


def test_without_the_library_the_error_says_what_to_install():
    hidden = "import sys; sys.modules['rensa'] = None\n"
    done = python(
        hidden + "from electra_cli.data.dedup_settings import DedupSettings\n"
        "from electra_cli.data.signatures import Signer\n"
        "from electra_cli.errors import UsageError\n"
        "DedupSettings(match='exact').check_installed()\n"
        "for what in (DedupSettings(match='near').check_installed, lambda: Signer(shingle=5)):\n"
        "    try:\n        what()\n"
        "    except UsageError as error:\n        print(error.code, error.hint)\n"
    )
    assert done.stdout.splitlines() == ["MISSING_EXTRA pip install 'electra-cli[dedup]', or --dedup exact"] * 2


def test_bad_settings_are_refused():
    from electra_cli.config import resolve

    for text in ("match=fuzzy", "threshold=0.4", "threshold=1.1", "shingle=0"):
        with pytest.raises(UsageError):
            resolve(DedupSettings, sets=[text])
