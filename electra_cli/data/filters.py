"""Rules by which whole documents are left out, each off unless it is set.

They are the cheap ones of those that others found to matter for text from the web: Gopher's mean word length and share
of repeated lines (Rae et al. 2021, arXiv 2112.11446, table A1), and a share of letters, which stands for Gopher's and
C4's rules about symbols and words without a letter (Raffel et al. 2020, arXiv 1910.10683, section 2.2).
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from electra_cli.data.sources import CorpusSettings

Rule = Callable[[list[str]], bool]
"""Whether a document of these lines is left out."""

_OTHER, _SPACE, _LETTER = range(3)


def rules_of(settings: CorpusSettings) -> list[tuple[str, Rule]]:
    """Return the rules that are on, each with the reason that the tally counts, in the order of asking."""
    rules: list[tuple[str, Rule]] = []
    if (share := settings.min_letter_share) > 0:
        rules.append(("documents_of_few_letters", lambda lines: letter_share("\n".join(lines)) < share))
    if (most := settings.max_repeated_lines) < 1:
        rules.append(("documents_of_repeated_lines", lambda lines: 1 - len(set(lines)) / len(lines) > most))
    if (shortest := settings.min_word_chars) > 0:
        rules.append(("documents_of_short_words", lambda lines: word_chars(lines) < shortest))
    if (longest := settings.max_word_chars) is not None:
        rules.append(("documents_of_long_words", lambda lines: word_chars(lines) > longest))
    return rules


def letter_share(text: str) -> float:
    """Return the share of letters, and of the marks that some scripts write vowels with, among what is not white space.

    0 for white space alone. Letters are Unicode's L and M as this Python knows them.
    """
    counts = np.bincount(_classes()[np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)], minlength=3)
    shown = int(counts[_LETTER] + counts[_OTHER])
    return int(counts[_LETTER]) / shown if shown else 0.0


def word_chars(lines: list[str]) -> float:
    """Return the mean length of the words between white space."""
    words = " ".join(lines).split()
    return sum(map(len, words)) / max(len(words), 1)


@functools.cache
def _classes() -> npt.NDArray[np.uint8]:
    classes = np.full(sys.maxunicode + 1, _OTHER, dtype=np.uint8)
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        if unicodedata.category(character)[0] in "LM":
            classes[point] = _LETTER
        elif character.isspace():
            classes[point] = _SPACE
    return classes
