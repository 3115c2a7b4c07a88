"""Where BERT's normalizer and pre-tokenizer always cut, as fixed tables of code points.

Two places need a cut that changes nothing: counting words (whole lines of Chinese must not be counted as one chunk)
and encoding a huge line in pieces. Both may cut only where `BertNormalizer` and `BertPreTokenizer` cut anyway, so these
tables hold what those two components were asked, code point by code point, and a test asks them again. All tokenizers
cut at the separators; a `CutRule` says which of the other tables hold for one.

Rare punctuation is left out on purpose: a cut that is not made costs memory, never correctness.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# Separators: `BertNormalizer(clean_text=True)` turns them into a space. Not U+000B, U+000C, U+001C-1F and U+0085, which
# `str.split` cuts at too: the normalizer deletes those, and so joins what stands on both sides.
SEPARATORS: tuple[tuple[int, int], ...] = (
    (0x09, 0x0A), (0x0D, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000),
)  # fmt: skip

# Control characters (category Cc without tab, newline and carriage return): `clean_text` deletes them.
CONTROLS: tuple[tuple[int, int], ...] = ((0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F))

# Punctuation that `BertPreTokenizer` makes a word of its own: ASCII, Latin-1, general, CJK, full-width, Arabic, Indic.
PUNCTUATION: tuple[tuple[int, int], ...] = (
    (0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0xA1, 0xA1), (0xA7, 0xA7), (0xAB, 0xAB), (0xB6, 0xB7),
    (0xBB, 0xBB), (0xBF, 0xBF), (0x60C, 0x60C), (0x61B, 0x61B), (0x61F, 0x61F), (0x6D4, 0x6D4), (0x964, 0x965),
    (0x2010, 0x2027), (0x2030, 0x2043), (0x2045, 0x2051), (0x2053, 0x205E), (0x3001, 0x3003), (0x3008, 0x3011),
    (0x3014, 0x301F), (0x30FB, 0x30FB), (0xFF01, 0xFF03), (0xFF05, 0xFF0A), (0xFF0C, 0xFF0F), (0xFF1A, 0xFF1B),
    (0xFF1F, 0xFF20), (0xFF3B, 0xFF3D), (0xFF3F, 0xFF3F), (0xFF5B, 0xFF5B), (0xFF5D, 0xFF5D), (0xFF5F, 0xFF65),
)  # fmt: skip

# CJK ideographs: `BertNormalizer(handle_chinese_chars=True)` puts spaces around each. Neither kana nor hangul.
IDEOGRAPHS: tuple[tuple[int, int], ...] = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B81F), (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)  # fmt: skip


# What a character does to the text around it, and (REST) the bytes of one that stands alone after its first. As bits,
# so that whether two neighbours belong together is one operation on whole arrays.
SPACE, WORD, ALONE, REST = 0, 1, 2, 4


@dataclass(frozen=True)
class CutRule:
    """Where text may be cut so that its parts, each encoded alone, give the ids of the whole.

    White space (`SEPARATORS`) always cuts and leaves no token; this says what else does.

    Attributes:
        punctuation: whether each character of `PUNCTUATION` is a part of its own.
        ideographs: whether each character of `IDEOGRAPHS` is a part of its own.
        lowercase: whether lower-casing the ASCII letters beforehand changes nothing.
    """

    punctuation: bool = True
    ideographs: bool = True
    lowercase: bool = False

    def alone(self) -> tuple[tuple[int, int], ...]:
        """Return the code point ranges whose characters are parts of their own."""
        return (PUNCTUATION if self.punctuation else ()) + (IDEOGRAPHS if self.ideographs else ())


@lru_cache(maxsize=4)
def _cuts(rule: CutRule) -> re.Pattern[str]:
    ranges = SEPARATORS + rule.alone()
    return re.compile("[" + "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in ranges) + "]")


def pieces(text: str, limit: int, *, rule: CutRule) -> list[str]:
    """Cut `text` into pieces whose words, one after another, are the words of the whole.

    Args:
        text: one line.
        limit: characters a piece should not exceed.
        rule: where the tokenizer ends words.

    Returns:
        The pieces in order; together they are `text`. One is longer than `limit` only where more than `limit`
        characters follow each other without any boundary of the tables above, and then it is these characters alone.
    """
    if len(text) <= limit:
        return [text]
    cuts = _cuts(rule)
    found: list[str] = []
    start = 0
    while len(text) - start > limit:
        stop = start + limit
        # The last boundary inside the window: look back a little first, since boundaries are a few characters apart.
        cut = -1
        for look in (256, limit):
            for match in cuts.finditer(text, max(start + 1, stop - look), stop):
                cut = match.start()
            if cut >= 0:
                break
        if cut < 0:
            if cuts.match(text, start):
                cut = start + 1
            else:
                later = cuts.search(text, stop)
                cut = len(text) if later is None else later.start()
        found.append(text[start:cut])
        start = cut
    if start < len(text):
        found.append(text[start:])
    return found
