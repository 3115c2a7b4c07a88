"""From text to token ids with one of our tokenizers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from electra_cli.errors import DataError
from electra_cli.text.boundaries import CutRule, pieces
from electra_cli.text.parts import SPECIALS, TokenizerParts, WordRules
from electra_cli.text.tokenizer_files import read_parts, write_parts
from electra_cli.text.tokenizer_json import library_json

Ids = npt.NDArray[np.int64]

# The library needs about 140 bytes a character of one string, but frees them: long lines are cut, at boundaries.
LONGEST_RUN = 100_000
"""Characters that follow each other without a boundary; more are one `[UNK]` (WordPiece) or are cut here."""
# Characters handed over in one call: enough to pay for the call, little enough to bound the memory.
_BATCH = 1_000_000


class Tokenizer:
    """A WordPiece, BPE or Unigram tokenizer with BERT's normalizer.

    Text never becomes a special token: a literal "[MASK]" in it is a bracket, a word and a bracket, as in the released
    code. `transformers`, which loads the same files, is laxer there. Placeholders it does become.

    Attributes:
        parts: vocabulary and settings.
        raw: the library's tokenizer, without special tokens and without post-processor.
        vocab_size: number of entries, special tokens included.
        pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.
        special_ids: the five of them, and those of the user's own special tokens.
    """

    def __init__(self, parts: TokenizerParts) -> None:
        self.parts = parts
        self.raw = tokenizers.Tokenizer.from_str(json.dumps(library_json(parts)))
        self.vocab_size = len(parts.tokens)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (parts.ids[name] for name in SPECIALS)
        self.special_ids = frozenset(parts.ids[name] for name in (*SPECIALS, *parts.special_tokens))
        self._placeholder_ids = frozenset(parts.ids[name] for name in parts.rules.placeholders)

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Load the tokenizer whose files lie in `folder`; ArtifactError if they are not ours."""
        return cls(read_parts(folder))

    @classmethod
    def from_vocab(
        cls,
        tokens: Sequence[str],
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        split_cjk: bool = True,
        model_max_length: int = 512,
    ) -> Tokenizer:
        """Make a WordPiece tokenizer of a vocabulary (position is id); `strip_accents` None means as `lowercase`."""
        strip_accents = lowercase if strip_accents is None else strip_accents
        rules = WordRules(lowercase=lowercase, strip_accents=strip_accents, split_cjk=split_cjk)
        return cls(TokenizerParts(tokens=tuple(tokens), rules=rules, model_max_length=model_max_length))

    @property
    def cut_rule(self) -> CutRule:
        """Where text can be cut without a change to its ids, beside white space."""
        return self.parts.rules.cut_rule

    @property
    def tokens(self) -> tuple[str, ...]:
        """The vocabulary; position is id."""
        return self.parts.tokens

    def special_table(self) -> dict[str, int]:
        """Return the ids of the special tokens by name: pad, unk, cls, sep, mask, and the user's own as they are."""
        table = dict(pad=self.pad_id, unk=self.unk_id, cls=self.cls_id, sep=self.sep_id, mask=self.mask_id)
        return table | {name: self.parts.ids[name] for name in self.parts.special_tokens}

    def files(self) -> dict[str, bytes]:
        """Return the contents of the files that `load` and `transformers` read, by name."""
        return write_parts(self.parts)

    def encode_lines(self, lines: Sequence[str]) -> list[Ids]:
        """Return the ids of each line, without special tokens.

        Memory stays bounded whatever the length of a line. A run of more than 100,000 characters that nothing cuts
        (white space, and for WordPiece punctuation and ideographs) is one `[UNK]` in WordPiece; BPE and Unigram take it
        in words of that length.

        Raises:
            DataError: a line holds half of a surrogate pair.
        """
        found: list[list[Ids]] = [[] for _ in lines]
        for owners, texts in self._batches(lines):
            for owner, ids in zip(owners, self._encode(texts), strict=True):
                found[owner].append(ids)
        none = np.empty(0, dtype=np.int64)
        return [parts[0] if len(parts) == 1 else np.concatenate([none, *parts]) for parts in found]

    def encode_pairs(
        self, first: Sequence[str], second: Sequence[str] | None = None, *, max_length: int
    ) -> list[tuple[Ids, int]]:
        """Encode `[CLS] a [SEP]`, or `[CLS] a [SEP] b [SEP]`, cut to at most `max_length` tokens.

        Pairs lose tokens at the end of the longer text, ties of the second (`electra.md` 6.2).

        Returns:
            For each example its ids and how many of them belong to the first segment, with `[CLS]` and its `[SEP]`.
        """
        a_lines = self.encode_lines(first)
        if second is None:
            room = max_length - 2
            return [(self._joined(a[:room]), min(len(a), room) + 2) for a in a_lines]
        found: list[tuple[Ids, int]] = []
        room = max_length - 3
        for a, b in zip(a_lines, self.encode_lines(second), strict=True):
            if len(a) + len(b) > room:
                kept = min(len(a), max(room - len(b), (room + 1) // 2))
                a, b = a[:kept], b[: room - kept]
            found.append((self._joined(a, b), len(a) + 2))
        return found

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """Return readable text for `ids`; special tokens are left out, what normalisation removed stays gone.

        The text of BPE and Unigram is the normalised one, but for the white space around placeholders.
        """
        kept = [i for i in map(int, ids) if i not in self.special_ids or i == self.unk_id]
        decoder = self.raw.decoder
        assert decoder is not None
        found: list[str] = []
        for placed, run in groupby(kept, key=lambda i: i in self._placeholder_ids):
            tokens = [self.parts.tokens[i] for i in run]
            found += tokens if placed else [str(decoder.decode(tokens))]
        return " ".join(found)

    def _joined(self, *segments: Ids) -> Ids:
        parts: list[Sequence[int] | Ids] = [[self.cls_id]]
        for segment in segments:
            parts += [segment, [self.sep_id]]
        return np.concatenate(parts, dtype=np.int64, casting="unsafe")

    def _batches(self, lines: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
        """Yield texts of bounded total length, with the index of the line that each belongs to."""
        owners: list[int] = []
        texts: list[str] = []
        size = 0
        for owner, line in enumerate(lines):
            for piece in self._pieces(line) if len(line) > LONGEST_RUN else (line,):
                owners.append(owner)
                texts.append(piece)
                size += len(piece)
                if size >= _BATCH:
                    yield owners, texts
                    owners, texts, size = [], [], 0
        if texts:
            yield owners, texts

    def _pieces(self, line: str) -> Iterator[str]:
        """Yield parts of a long line whose ids, one after another, are the line's; placeholders by themselves."""
        rules = self.parts.rules
        pattern = rules.placeholder_pattern
        for part in pattern.split(line) if pattern else (line,):
            for piece in pieces(part, LONGEST_RUN, rule=rules.cut_rule_between_placeholders):
                if len(piece) <= LONGEST_RUN or rules.model == "wordpiece":
                    yield piece
                    continue
                yield from (piece[at : at + LONGEST_RUN] for at in range(0, len(piece), LONGEST_RUN))

    def _encode(self, texts: list[str]) -> list[Ids]:
        endless = {i for i, text in enumerate(texts) if len(text) > LONGEST_RUN}
        if endless:
            unknown = np.array([self.unk_id], dtype=np.int64)
            rest = iter(self._encode([text for i, text in enumerate(texts) if i not in endless]))
            return [unknown if i in endless else next(rest) for i in range(len(texts))]
        try:
            encodings = self.raw.encode_batch_fast(texts, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):  # the library's TypeError does not say what is wrong
            refuse_surrogates(texts)
            raise
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]


def refuse_surrogates(texts: Sequence[str]) -> None:
    """Raise DataError if one of the texts cannot be UTF-8."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"the text holds half of a surrogate pair (U+{ord(text[error.start]):04X}) at character "
                f"{error.start}, which is not a character",
                code="LONE_SURROGATE",
                hint="repair the \\ud800-\\udfff escapes of the source",
            ) from None
