import random
import re
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.data.shingles import PART, UNSPACED, Shingler
from electra_cli.text.boundaries import CONTROLS, PUNCTUATION, SEPARATORS

TEXTS = [
    "The old cat sees the river. The OLD cat sees the river!",
    "one two",
    "",
    "Ein Straßenfest in Köln, 1987 — «über» die Brücke",
    "Привет, МИР! привет мир",
    "维基百科是一个自由的百科全书,version 2",
    "日本語のテキストはスペースがない。",
    "ภาษาไทย ไม่มีช่องว่าง",
    "한국어는 띄어쓰기가 있다 그리고 길다",
    "a b\tc\nd\u3000e\u00a0f\u200ag",
    "tail of five units here",
]


shingler_of = lru_cache(lambda size: Shingler(size=size))  # its tables take a tenth of a second


def in_ranges(character, ranges):
    return any(first <= ord(character) <= last for first, last in ranges)


def slow_units(text):
    units, word = [], ""
    for character in text:
        alone = in_ranges(character, UNSPACED) and not in_ranges(character, PUNCTUATION)
        cut = in_ranges(character, SEPARATORS + PUNCTUATION + CONTROLS)
        if (alone or cut) and word:
            units.append(word)
            word = ""
        if alone:
            units.append(character)
        elif not cut:
            word += character.lower() if len(character.lower()) == 1 else character
    return [*units, word] if word else units


def slow_shingles(text, size):
    units = slow_units(text)
    return [tuple(units[i : i + size]) for i in range(len(units) - size + 1)]


def agrees(texts, size):
    """The hashes stand for the shingles one to one, in the texts' order."""
    hashes, counts = shingler_of(size).hashes(texts)
    expected = [slow_shingles(text, size) for text in texts]
    assert counts.tolist() == [len(shingles) for shingles in expected]
    flat = [shingle for shingles in expected for shingle in shingles]
    assert len(flat) == len(hashes)
    pairs = set(zip(flat, hashes.tolist(), strict=True))
    assert len(pairs) == len(set(flat)) == len(set(hashes.tolist()))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_every_shingle_has_its_hash(size):
    agrees(TEXTS, size)


@given(st.lists(st.text(alphabet="ab B.\n\x01中文あก은e", max_size=30), max_size=8), st.integers(1, 4))
def test_shingles_of_any_texts(texts, size):
    agrees(texts, size)


def test_a_text_has_the_same_hashes_whatever_stands_beside_it():
    shingler = shingler_of(3)
    together, counts = shingler.hashes(TEXTS)
    alone = [shingler.hashes([text])[0] for text in TEXTS]
    assert counts.tolist() == [len(hashes) for hashes in alone]
    assert together.tolist() == np.concatenate(alone).tolist()


def test_case_and_punctuation_do_not_count():
    shingler = shingler_of(2)
    one, other = (shingler.hashes([text])[0].tolist() for text in ("The CAT, sees — Äpfel", "the cat sees äpfel."))
    assert one == other
    assert one != shingler.hashes(["thec at sees äpfel"])[0].tolist()


def test_long_texts_are_cut_into_parts():
    dice = random.Random(0)
    text = " ".join(str(dice.randrange(10**6)) for _ in range(120_000))
    assert len(text) > 3 * PART
    hashes, counts = shingler_of(5).hashes(["short one of six words only", text, "and one of six words more"])
    parts = [text[start : start + PART - 1] for start in range(0, len(text), PART - 1)]
    expected = [len(re.findall(r"\S+", part)) - 4 for part in parts]
    assert counts.tolist() == [2, sum(expected), 2]
    alone = np.concatenate([shingler_of(5).hashes([part])[0] for part in parts])
    assert hashes[2:-2].tolist() == alone.tolist()


def test_hashes_do_not_depend_on_a_version_of_unicode():
    """Recorded; another Python has other tables, which must not be asked."""
    hashes, _ = shingler_of(2).hashes(["Älter ÄLTER Ⲁⲁ Ᲊ \U00010d50 x ꟋꟌ"])
    assert hashes.tolist() == [
        3792705638732180951,
        5757450377115830814,
        963611809590782286,
        6863296910797928080,
        15152039642607929502,
        2986981973349903031,
    ]
