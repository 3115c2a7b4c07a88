"""The ids of very many short texts, each encoded alone, at a fraction of the library's price for a list of them.

The library makes an object of each text that it is given, which costs more than the encoding, and its normalizer keeps
track of where each character came from. So texts are joined, and what comes back is parted again; and where the
normalizer works letter by letter, it is asked once for each letter. Both are done for WordPiece only:

- A word of letters and digits gives one `[UNK]`, or an entry that begins a word and then entries that continue it
  (`##…`), which tells joined words apart. Only the model is asked.
- Other texts are joined by a punctuation mark that stands in none of them: its entry is a seam and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, compress, filterfalse
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import models, pre_tokenizers

from electra_cli.text.parts import PREFIX
from electra_cli.text.tokenizer import Tokenizer

Ids = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]
Text = TypeVar("Text", bytes, str)

SEAMS = ".,|-!\"#$%&'()*+/:?@[\\]^_{}~"
"""Marks that part texts. Not `;`, `` ` ``, `<`, `=` and `>`: other characters have decompositions that hold these."""

_JOINED = 400  # texts joined: the library needs about 140 bytes for each character of one string
_LONG = 1000  # bytes; longer texts are handed over alone


class BulkEncoder:
    """Encodes many short texts, each alone."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._raw = tokenizer.raw
        self._model: tokenizers.Tokenizer | None = None
        self._seam, self._seam_id = b"", -1
        if isinstance(self._raw.model, models.WordPiece) and tokenizer.cut_rule.punctuation:
            self._model = tokenizers.Tokenizer(self._raw.model)
            self._model.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
            self._begins = np.array([not token.startswith(PREFIX) for token in tokenizer.tokens])
            known = {token: position for position, token in enumerate(tokenizer.tokens)}
            for mark in SEAMS:
                if mark in known:
                    self._seam, self._seam_id = mark.encode("ascii"), known[mark]
                    break
        # What the normalizer makes of each letter, by code point as `str.translate` wants it; what was asked for.
        self._letters: dict[int, str] = {}
        self._simple: set[str] = set()
        self._asked: set[str] = set()

    def encode(self, texts: Sequence[bytes]) -> Iterator[tuple[list[bytes], Ids, Counts]]:
        """Yield some texts, the ids of all of them one after another, and how many each has; until all had their turn.

        Args:
            texts: UTF-8, none empty. For a tokenizer that cuts at punctuation, none holds ASCII punctuation or white
                space unless it is a single character; for one that lower-cases, no upper-case ASCII letter.
        """
        alone = [text for text in texts if len(text) > _LONG or text == self._seam]
        if alone:
            yield alone, *self._alone(alone)
            texts = [text for text in texts if len(text) <= _LONG and text != self._seam]
        if self._model is not None:
            plain = list(filter(bytes.isalnum, texts))  # of bytes, so of ASCII
            if plain:
                yield plain, *self._words(b" ".join(part).decode("ascii") for part in _portions(plain))
                texts = list(filterfalse(bytes.isalnum, texts))
            words = [text.decode("utf-8") for text in texts]
            self._ask(words)
            is_simple = list(map(self._simple.issuperset, words))
            if any(is_simple):
                simple = list(compress(words, is_simple))
                found = self._words(" ".join(part).translate(self._letters) for part in _portions(simple))
                yield list(compress(texts, is_simple)), *found
                texts = [text for text, simple in zip(texts, is_simple, strict=True) if not simple]
        if texts:
            yield list(texts), *(self._joined(texts) if self._seam else self._alone(texts))

    def _ask(self, words: list[str]) -> None:
        """Learn what becomes of letters that no earlier word had."""
        normalizer, pre_tokenizer = self._raw.normalizer, self._raw.pre_tokenizer
        assert normalizer is not None and pre_tokenizer is not None
        new = set().union(*words) - self._asked
        self._asked |= new
        for letter in new:
            # Of letters and digits alone, `BertNormalizer` makes what it makes of each: the only step that looks at
            # neighbours reorders marks, and of the marks that decomposing letters gives it leaves none.
            normal = normalizer.normalize_str(letter)
            if letter.isalnum() and normal.isalnum() and len(pre_tokenizer.pre_tokenize_str(f"a{normal}a")) == 1:
                self._letters[ord(letter)] = normal
                self._simple.add(letter)

    def _words(self, joined: Iterator[str]) -> tuple[Ids, Counts]:
        """Encode words joined by spaces."""
        assert self._model is not None
        texts = list(joined)
        ids = _ids_of(self._model, texts)
        begins = np.flatnonzero(self._begins[ids])
        return ids, _counts(begins, len(ids), sum(text.count(" ") + 1 for text in texts))

    def _joined(self, texts: Sequence[bytes]) -> tuple[Ids, Counts]:
        ids = _ids_of(self._raw, [(self._seam.join([b"", *part])).decode("utf-8") for part in _portions(texts)])
        seams = np.flatnonzero(ids == self._seam_id)
        ids = np.delete(ids, seams)
        return ids, _counts(seams - np.arange(len(seams)), len(ids), len(texts))

    def _alone(self, texts: Sequence[bytes]) -> tuple[Ids, Counts]:
        found = self._tokenizer.encode_lines([text.decode("utf-8") for text in texts])
        return np.concatenate(found), np.array([len(ids) for ids in found])


def _ids_of(library: tokenizers.Tokenizer, texts: list[str]) -> Ids:
    return _concatenated([encoding.ids for encoding in library.encode_batch_fast(texts, add_special_tokens=False)])


def _concatenated(parts: list[list[int]]) -> Ids:
    return np.fromiter(chain.from_iterable(parts), dtype=np.int64)


def _counts(begins: Ids, stop: int, texts: int) -> Counts:
    if len(begins) != texts:  # a bug: the library does not do what this module says
        raise RuntimeError(f"{texts} texts came back as {len(begins)}")
    return np.diff(begins, append=stop)


def _portions(texts: Sequence[Text]) -> Iterator[Sequence[Text]]:
    for start in range(0, len(texts), _JOINED):
        yield texts[start : start + _JOINED]
