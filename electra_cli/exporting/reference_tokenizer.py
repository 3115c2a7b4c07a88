"""An independent reading of an exported tokenizer: BERT's WordPiece in plain Python, from `vocab.txt` and its config.

The second half of the yardstick beside `reference`: it reads the two files that older readers read, and shares no code
with `electra_cli.text`. Slow and simple; texts are short.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

LONGEST_WORD = 100  # characters; longer words are [UNK] in the public implementation

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
        folder: holds `vocab.txt` and `tokenizer_config.json`.

    Raises:
        ValueError: a token occurs twice, or [PAD] is not 0.
        KeyError: a special token or a key of the configuration is missing.
    """

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        tokens = (folder / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        self.ids = {token: index for index, token in enumerate(tokens)}
        if len(self.ids) != len(tokens):
            raise ValueError("vocab.txt holds a token twice")
        self.unknown, self.cls, self.sep = (self.ids[config[f"{name}_token"]] for name in ("unk", "cls", "sep"))
        if self.ids[config["pad_token"]] != 0:
            raise ValueError("[PAD] is not the first token of vocab.txt, as pad_token_id says")
        self.lowercase = bool(config["do_lower_case"])
        self.strip_accents = bool(config["strip_accents"])
        self.split_cjk = bool(config["tokenize_chinese_chars"])

    def encode(self, first: str, second: str | None = None) -> list[int]:
        """Ids of `[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]`."""
        ids = [self.cls, *self._pieces(first), self.sep]
        return ids if second is None else [*ids, *self._pieces(second), self.sep]

    def _pieces(self, text: str) -> list[int]:
        return [index for word in self._words(text) for index in self._word_pieces(word)]

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
        words: list[str] = []
        for chunk in self._normalize(text).split():
            word = ""
            for char in chunk:
                if _is_punctuation(char):
                    words += [word, char] if word else [char]
                    word = ""
                else:
                    word += char
            if word:
                words.append(word)
        return words

    def _word_pieces(self, word: str) -> list[int]:
        if len(word) > LONGEST_WORD:
            return [self.unknown]
        pieces: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                index = self.ids.get(prefix + word[start:end])
                if index is not None:
                    pieces.append(index)
                    start = end
                    break
            else:
                return [self.unknown]
        return pieces


def _is_punctuation(char: str) -> bool:
    """BERT's rule: every ASCII symbol that is no letter, digit or space, and Unicode's categories P*."""
    return (char.isascii() and char.isprintable() and not char.isalnum() and char != " ") or (
        unicodedata.category(char).startswith("P")
    )
