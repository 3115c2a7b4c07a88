"""Which tokens begin a word of the text, a word being what stands between white space.

A segmenter (jieba, MeCab …) puts spaces into text of languages that are written without. Where the tokenizer makes each
character a word anyway, the ids are the same with them and without, so that the words are lost unless they are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from electra_cli.text.boundaries import SEPARATORS
from electra_cli.text.tokenizer import Ids, Tokenizer

Flags = npt.NDArray[np.bool_]

_WORD = re.compile("[^" + "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in SEPARATORS) + "]+")


def word_starts(tokenizer: Tokenizer, lines: Sequence[str], encoded: Sequence[Ids]) -> list[Flags]:
    """Say of each token of each line whether it begins a word.

    Args:
        tokenizer: that encoded the lines.
        lines: the text.
        encoded: the ids of each line (`Tokenizer.encode_lines`).

    Returns:
        An array for each line, as long as its ids. Words that leave no token (control characters) begin none.
    """
    # Every distinct word is encoded once, alone: the normalizer never joins what white space parts.
    words_of = [_WORD.findall(line) for line in lines]
    distinct = list(dict.fromkeys(word for words in words_of for word in words))
    sizes = dict(zip(distinct, map(len, tokenizer.encode_lines(distinct)), strict=True))
    return [_starts([sizes[word] for word in words], len(ids)) for words, ids in zip(words_of, encoded, strict=True)]


def _starts(sizes: list[int], tokens: int) -> Flags:
    counts = np.array(sizes, dtype=np.int64)
    if int(counts.sum()) != tokens:
        raise RuntimeError("the words of a line do not give the line's tokens")  # a bug: boundaries.py is wrong then
    starts = np.zeros(tokens, dtype=np.bool_)
    starts[(counts.cumsum() - counts)[counts > 0]] = True
    return starts
