"""The Unicode script of a character: Latin, Han, Hangul, Cyrillic, …

Python's `unicodedata` knows no scripts; the table is Unicode's own: `unicode_scripts.txt`, which
`tools/unicode_scripts.py` renews.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from pathlib import Path

COMMON = "Common"
"""Digits, punctuation, symbols: what many scripts share."""

SHARED = frozenset({COMMON, "Inherited", "Unknown"})
"""What Unicode calls the script of characters that belong to none: combining marks inherit that of their letter."""


@cache
def script_runs() -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the first code points of the runs, ascending from 0, and the script of each run."""
    lines = Path(__file__).with_name("unicode_scripts.txt").read_text("utf-8").split("\n")
    runs = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    return tuple(int(start, 16) for start, _ in runs), tuple(script for _, script in runs)


def script_of(character: str) -> str:
    """Return the script of one character, as Unicode names it; `Common` for digits, punctuation and symbols."""
    starts, scripts = script_runs()
    return scripts[bisect_right(starts, ord(character)) - 1]


def script_of_word(word: str) -> str:
    """Return the script of the first character that belongs to one, `Common` where none does."""
    return next((script for script in map(script_of, word) if script not in SHARED), COMMON)
