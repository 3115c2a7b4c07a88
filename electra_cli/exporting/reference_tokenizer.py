"""An independent reading of an exported tokenizer in plain Python, from its files.

The second half of the yardstick beside `reference`: it shares no code with `electra_cli.text`. A tokenizer that cuts as
BERT does is read from the two files that older readers read, `vocab.txt` and its configuration; others from
`tokenizer.json`. Slow and simple; texts are short.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from electra_cli.exporting.reference_pieces import byte_pairs, most_probable, word_pieces

_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class ReferenceTokenizer:
    """The tokenizer of a folder in the Hugging Face layout.

    Args:
        folder: holds `tokenizer_config.json`, and `vocab.txt` or `tokenizer.json`.

    Raises:
        ValueError: a token occurs twice, or the model or what cuts words is of an unknown kind.
        KeyError: a special token or a key of the configuration is missing.
    """

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        self.placeholders: dict[str, int] = {}
        self.cuts = ["BertPreTokenizer"]
        self.single_digits = False
        self.mark = ""
        self.pieces: Callable[[str], list[int]]
        if (folder / "vocab.txt").exists():
            tokens = (folder / "vocab.txt").read_bytes().decode("utf-8").removesuffix("\n").split("\n")
            self.ids = {token: index for index, token in enumerate(tokens)}
            if len(self.ids) != len(tokens):
                raise ValueError("vocab.txt holds a token twice")
            self.lowercase = bool(config["do_lower_case"])
            self.strip_accents = bool(config["strip_accents"])
            self.split_cjk = bool(config["tokenize_chinese_chars"])
            unknown = self.ids[config["unk_token"]]
            self.pieces = lambda word: word_pieces(word, self.ids, unknown)
        else:
            self._read(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
        self.cls, self.sep = (self.ids[config[f"{name}_token"]] for name in ("cls", "sep"))

    def _read(self, body: dict[str, Any]) -> None:
        normalizer, model, cutter = body["normalizer"], body["model"], body["pre_tokenizer"]
        self.lowercase, self.strip_accents = normalizer["lowercase"], normalizer["strip_accents"]
        self.split_cjk = normalizer["handle_chinese_chars"]
        self.placeholders = {entry["content"]: entry["id"] for entry in body["added_tokens"] if not entry["special"]}
        parts = cutter.get("pretokenizers", [cutter])
        self.cuts = [part["type"] for part in parts]
        for part in parts:
            if part["type"] == "Metaspace":
                self.mark = part["replacement"]
            elif part["type"] == "Split":
                self.single_digits = not part["pattern"]["Regex"].count("{N}+")
        if model["type"] == "Unigram":
            self.ids = {token: index for index, (token, _) in enumerate(model["vocab"])}
            scores = {token: score for token, score in model["vocab"] if token not in self._added(body)}
            self.pieces = lambda word: most_probable(word, scores, self.ids, model["unk_id"])
        elif model["type"] == "BPE":
            self.ids = model["vocab"]
            ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
            self.pieces = lambda word: [self.ids[piece] for piece in byte_pairs(word, ranks)]
        elif model["type"] == "WordPiece":
            self.ids = model["vocab"]
            known = {token: index for token, index in self.ids.items() if token not in self._added(body)}
            self.pieces = lambda word: word_pieces(word, known, self.ids[model["unk_token"]])
        else:
            raise ValueError(f"unknown model {model['type']!r}")

    def _added(self, body: dict[str, Any]) -> set[str]:
        return {entry["content"] for entry in body["added_tokens"]}

    def encode(self, first: str, second: str | None = None) -> list[int]:
        """Ids of `[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]`."""
        ids = [self.cls, *self._pieces(first), self.sep]
        return ids if second is None else [*ids, *self._pieces(second), self.sep]

    def _pieces(self, text: str) -> list[int]:
        names = sorted(self.placeholders, key=len, reverse=True)
        pattern = "(" + "|".join(map(re.escape, names)) + ")"
        found: list[int] = []
        for part in re.split(pattern, text) if names else [text]:
            if part in self.placeholders:
                found.append(self.placeholders[part])
            else:
                found += [index for word in self._words(part) for index in self.pieces(word)]
        return found

    def _normalize(self, text: str) -> str:
        kept = []
        for char in text:
            if char in "\t\n\r" or unicodedata.category(char) == "Zs":
                kept.append(" ")
            elif char == "\ufffd" or unicodedata.category(char).startswith("C"):
                continue
            elif self.split_cjk and any(low <= ord(char) <= high for low, high in _CJK):
                kept.append(f" {char} ")
            else:
                kept.append(char)
        text = "".join(kept)
        if self.strip_accents:
            text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        # Letter by letter: Python's whole-string rule for the final sigma is not what the fast tokenizers do.
        return "".join(char.lower() for char in text) if self.lowercase else text

    def _words(self, text: str) -> list[str]:
        chunks = self._normalize(text).split()
        if self.mark:
            marked = [chunk if chunk.startswith(self.mark) else self.mark + chunk for chunk in chunks]
            return [word for chunk in marked for word in (self._runs(chunk) if "Split" in self.cuts else [chunk])]
        if "BertPreTokenizer" not in self.cuts:
            return chunks
        words: list[str] = []
        for chunk in chunks:
            joins = False
            for char in chunk:
                alone = _is_punctuation(char) or ("Digits" in self.cuts and unicodedata.category(char)[0] == "N")
                if joins and not alone:
                    words[-1] += char
                else:
                    words.append(char)
                joins = not alone
        return words

    def _runs(self, chunk: str) -> list[str]:
        """Runs of letters with their marks, of numbers, of others; each with the word's mark if that is before it."""
        words: list[str] = []
        last = ""
        for char in chunk:
            kind = char if char == self.mark else unicodedata.category(char)[0].replace("M", "L")
            kind = kind if kind in (self.mark, "L", "N") else "other"
            joins = kind == last and not (kind == "N" and self.single_digits)
            if kind != self.mark and (joins or last == self.mark):
                words[-1] += char
            else:
                words.append(char)
            last = kind
        return words


def _is_punctuation(char: str) -> bool:
    """BERT's rule: every ASCII symbol that is no letter, digit or space, and Unicode's categories P*."""
    return (char.isascii() and char.isprintable() and not char.isalnum() and char != " ") or (
        unicodedata.category(char).startswith("P")
    )
