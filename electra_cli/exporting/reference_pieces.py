"""How the three models cut a word into pieces, in plain Python: written from their papers, not from our code.

WordPiece: the longest entry first, from the left. BPE (Sennrich et al. 2016): the pair that was learnt first is joined
first. Unigram (Kudo 2018): the cut of the highest probability.
"""

from __future__ import annotations

from collections.abc import Mapping

LONGEST_WORD = 100  # characters; longer words are [UNK] in the public implementation of WordPiece
_UNKNOWN_PENALTY = 10.0  # of the public implementation of Unigram: below the least probable entry


def word_pieces(word: str, ids: Mapping[str, int], unknown: int) -> list[int]:
    """Cut a word by WordPiece."""
    if len(word) > LONGEST_WORD:
        return [unknown]
    pieces: list[int] = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            index = ids.get(prefix + word[start:end])
            if index is not None:
                pieces.append(index)
                start = end
                break
        else:
            return [unknown]
    return pieces


def byte_pairs(word: str, ranks: Mapping[tuple[str, ...], int]) -> list[str]:
    """Cut a word by byte-level BPE; the pieces are written in GPT-2's visible bytes."""
    pieces = [_visible(byte) for byte in word.encode("utf-8")]
    while len(pieces) > 1:
        best = min(range(len(pieces) - 1), key=lambda at: ranks.get((pieces[at], pieces[at + 1]), len(ranks)))
        if (pieces[best], pieces[best + 1]) not in ranks:
            break
        pieces[best : best + 2] = [pieces[best] + pieces[best + 1]]
    return pieces


def most_probable(word: str, scores: Mapping[str, float], ids: Mapping[str, int], unknown: int) -> list[int]:
    """Cut a word by Unigram; neighbouring unknown characters are one `[UNK]`."""
    longest = max(map(len, scores))
    worst = min(scores.values()) - _UNKNOWN_PENALTY
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(word) + 1):
        choices = [
            (best[start][0] + scores[word[start:end]], start)
            for start in range(max(0, end - longest), end)
            if word[start:end] in scores
        ]
        if word[end - 1] not in scores:
            choices.append((best[end - 1][0] + worst, end - 1))
        best.append(max(choices, key=lambda choice: (choice[0], -choice[1])))  # ties: the longest last piece
    pieces: list[int] = []
    end = len(word)
    while end:
        start = best[end][1]
        known = word[start:end] in scores
        if known or not pieces or pieces[-1] != unknown:
            pieces.append(ids[word[start:end]] if known else unknown)
        end = start
    return pieces[::-1]


def _visible(byte: int) -> str:
    """GPT-2's table: visible characters of Latin-1 stand for themselves, the others for those from U+0100 on."""
    hidden = [*range(0x21), *range(0x7F, 0xA1), 0xAD]
    return chr(0x100 + hidden.index(byte)) if byte in hidden else chr(byte)
