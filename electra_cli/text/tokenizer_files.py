"""The three files of a tokenizer artifact: `tokenizer.json`, `vocab.txt`, `tokenizer_config.json`.

They are the files that `transformers` loads as `ElectraTokenizer`. Writing is a pure function of the parts, to the byte
(the library's own serialisation may change with its version). Reading trusts nothing: the file must be, part for part,
what this module writes, so that no regular expression or script of a stranger gets into the process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from electra_cli.errors import ArtifactError

FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PREFIX = "##"
LONGEST_WORD = 100
"""Characters; longer words become `[UNK]`, as in BERT (`max_input_chars_per_word`)."""

MAX_VOCABULARY = 1_000_000
MAX_FILE_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True)
class TokenizerParts:
    """Everything that makes one of our tokenizers.

    Attributes:
        tokens: the vocabulary; position is id.
        lowercase: whether text is lower-cased.
        strip_accents: whether combining marks are removed; always said outright, since the library's default follows
            `lowercase` and German or Korean text is ruined by it unnoticed.
        split_cjk: whether each CJK ideograph is a word of its own.
        model_max_length: longest row that a model of this tokenizer takes, for `transformers`.
    """

    tokens: tuple[str, ...]
    lowercase: bool
    strip_accents: bool
    split_cjk: bool
    model_max_length: int = 512


def write_parts(parts: TokenizerParts) -> dict[str, bytes]:
    """Return the contents of the three files by name."""
    config = {
        "tokenizer_class": "ElectraTokenizer",
        "do_lower_case": parts.lowercase,
        "strip_accents": parts.strip_accents,
        "tokenize_chinese_chars": parts.split_cjk,
        "model_max_length": parts.model_max_length,
        **{f"{name[1:-1].lower()}_token": name for name in SPECIALS},
    }
    return {
        "tokenizer.json": _json(_tokenizer_json(parts)),
        "vocab.txt": "".join(token + "\n" for token in parts.tokens).encode("utf-8"),
        "tokenizer_config.json": _json(config),
    }


def read_parts(folder: Path) -> TokenizerParts:
    """Read and check the files of `folder`.

    Raises:
        ArtifactError: a file is missing, is not what we write, or the three disagree.
    """
    path = folder / "tokenizer.json"
    body = _read_json(path)
    model, normalizer = _table(body, "model", path), _table(body, "normalizer", path)
    vocabulary = _table(model, "vocab", path)
    lowercase, split_cjk = _flag(normalizer, "lowercase", path), _flag(normalizer, "handle_chinese_chars", path)
    config_path = folder / "tokenizer_config.json"
    config = _read_json(config_path)
    length = config.get("model_max_length")
    if type(length) is not int or not 1 <= length <= 10**30:  # 10**30: what `transformers` writes for "no limit"
        _refuse(config_path, "model_max_length is not a length")
    parts = TokenizerParts(
        tokens=_ordered(vocabulary, path),
        lowercase=lowercase,
        strip_accents=_flag(normalizer, "strip_accents", path),
        split_cjk=split_cjk,
        model_max_length=length,
    )
    expected = _tokenizer_json(parts)
    for key in sorted(expected.keys() | body.keys()):
        if body.get(key) != expected.get(key):
            _refuse(path, f"its {key} is not what electra writes")
    wanted = write_parts(parts)
    for name in ("vocab.txt", "tokenizer_config.json"):
        if _read(folder / name) != wanted[name]:
            _refuse(folder / name, "it disagrees with tokenizer.json")
    return parts


def _tokenizer_json(parts: TokenizerParts) -> dict[str, Any]:
    ids = {token: position for position, token in enumerate(parts.tokens)}
    added = [
        {
            "id": ids[name],
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for name in sorted(SPECIALS, key=ids.__getitem__)
    ]
    cls, first, sep = _template("[CLS]", 0), {"Sequence": {"id": "A", "type_id": 0}}, _template("[SEP]", 0)
    second, last = {"Sequence": {"id": "B", "type_id": 1}}, _template("[SEP]", 1)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": parts.split_cjk,
            "strip_accents": parts.strip_accents,
            "lowercase": parts.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [cls, first, sep],
            "pair": [cls, first, sep, second, last],
            "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": PREFIX, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": PREFIX,
            "max_input_chars_per_word": LONGEST_WORD,
            "vocab": ids,
        },
    }


def _template(name: str, kind: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": name, "type_id": kind}}


def _ordered(vocabulary: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Return the tokens by id; ids must be 0, 1, 2, … and the special tokens among them, `[PAD]` first."""
    size = len(vocabulary)
    if not len(SPECIALS) < size <= MAX_VOCABULARY:
        _refuse(path, f"its vocabulary has {size} entries")
    tokens: list[str | None] = [None] * size
    for token, position in vocabulary.items():
        if type(position) is not int or not 0 <= position < size or tokens[position] is not None:
            _refuse(path, f"the ids of its vocabulary are not 0 to {size - 1}")
        if token.split() != [token]:
            _refuse(path, f"token {token!r} holds white space")
        tokens[position] = token
    if missing := [name for name in SPECIALS if name not in vocabulary]:
        _refuse(path, f"its vocabulary lacks {' '.join(missing)}")
    if vocabulary["[PAD]"] != 0:
        _refuse(path, "the id of [PAD] is not 0")
    return tuple(token for token in tokens if token is not None)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ArtifactError("no such file", code="MISSING_FILE", where=str(path)) from None
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", code="MISSING_FILE", where=str(path)) from error
    if len(data) > MAX_FILE_BYTES:
        _refuse(path, "it is larger than any tokenizer of electra")
    return data


def _read_json(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(_read(path), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"it is not JSON ({error})")
    if not isinstance(body, dict):
        _refuse(path, "it is not a JSON object")
    return body


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a key stands twice")
    return body


def _table(body: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = body.get(key)
    if not isinstance(value, dict):
        _refuse(path, f"it has no {key}")
    return value


def _flag(body: Mapping[str, Any], key: str, path: Path) -> bool:
    value = body.get(key)
    if not isinstance(value, bool):
        _refuse(path, f"its {key} is not true or false")
    return value


def _refuse(path: Path, why: str) -> NoReturn:
    raise ArtifactError(
        f"not a tokenizer of electra: {why}",
        code="BAD_TOKENIZER",
        where=str(path),
        hint="build one with: electra tokenize TEXT -o DIR",
    )
