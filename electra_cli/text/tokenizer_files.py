"""The files of a tokenizer artifact: `tokenizer.json`, `tokenizer_config.json` and, as far as it says all, `vocab.txt`.

They are the files that `transformers` loads: as `ElectraTokenizer` where BERT's rules hold, which is made from the
vocabulary alone, and as `PreTrainedTokenizerFast` from `tokenizer.json` with other rules or models. Writing is a pure
function of the parts, to the byte (the library's own serialisation may change with its version). Reading trusts
nothing: the file must be, part for part, what this module writes, so that no regular expression or script of a stranger
gets into the process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from electra_cli.errors import ArtifactError
from electra_cli.text.parts import SPECIALS, TokenizerParts, problem_of_extra
from electra_cli.text.tokenizer_json import tokenizer_json
from electra_cli.text.tokenizer_reading import (
    Unfit,
    merges_of,
    parse,
    placeholders_of,
    rules_of,
    table_of,
    vocabulary_of,
)

MAX_FILE_BYTES = 128 * 1024 * 1024


def write_parts(parts: TokenizerParts) -> dict[str, bytes]:
    """Return the contents of the files by name."""
    names = {f"{name[1:-1].lower()}_token": name for name in SPECIALS}
    rules = parts.rules
    if not rules.as_bert:
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "model_max_length": parts.model_max_length,
            **names,
        }
        return {"tokenizer.json": _json(tokenizer_json(parts)), "tokenizer_config.json": _json(config)}
    config = {
        "tokenizer_class": "ElectraTokenizer",
        "do_lower_case": rules.lowercase,
        "strip_accents": rules.strip_accents,
        "tokenize_chinese_chars": rules.split_cjk,
        "model_max_length": parts.model_max_length,
        **names,
    }
    if parts.special_tokens:
        config["additional_special_tokens"] = list(parts.special_tokens)
    return {
        "tokenizer.json": _json(tokenizer_json(parts)),
        "vocab.txt": "".join(token + "\n" for token in parts.tokens).encode("utf-8"),
        "tokenizer_config.json": _json(config),
    }


def read_parts(folder: Path) -> TokenizerParts:
    """Read and check the files of `folder`.

    Raises:
        ArtifactError: a file is missing, is not what we write, or they disagree.
    """
    path, config_path = folder / "tokenizer.json", folder / "tokenizer_config.json"
    body = _read_json(path)
    length = _read_json(config_path).get("model_max_length")
    if type(length) is not int or not 1 <= length <= 10**30:  # 10**30: what `transformers` writes for "no limit"
        _refuse(config_path, "model_max_length is not a length")
    try:
        parts = parts_of(body, model_max_length=length)
    except Unfit as problem:
        _refuse(path, str(problem))
    wanted = write_parts(parts)
    for name in wanted.keys() - {"tokenizer.json"}:
        if read_file(folder / name) != wanted[name]:
            _refuse(folder / name, "it disagrees with tokenizer.json")
    return parts


def parts_of(body: dict[str, Any], *, model_max_length: int) -> TokenizerParts:
    """Return the parts of a `tokenizer.json` that we wrote; Unfit if it is anything else."""
    rules, model = rules_of(body), table_of(body, "model")
    special, placeholders = placeholders_of(body)
    tokens, scores = vocabulary_of(model)
    known = set(tokens)
    for name in (*special, *placeholders):
        if name not in known or problem_of_extra(name, set()):
            raise Unfit(f"its added token {name[:40]!r} is none that electra adds")
    parts = TokenizerParts(
        tokens=tokens,
        rules=rules.with_placeholders(placeholders),
        merges=merges_of(model),
        scores=scores,
        special_tokens=special,
        model_max_length=model_max_length,
    )
    expected = tokenizer_json(parts)
    for key in sorted(expected.keys() | body.keys()):
        if body.get(key) != expected.get(key):
            raise Unfit(f"its {key} is not what electra writes")
    return parts


def read_file(path: Path) -> bytes:
    """Return the contents of a file of a tokenizer; ArtifactError if it is missing or larger than any."""
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


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parse(read_file(path))
    except Unfit as problem:
        _refuse(path, str(problem))


def _refuse(path: Path, why: str) -> NoReturn:
    raise ArtifactError(
        f"not a tokenizer of electra: {why}",
        code="BAD_TOKENIZER",
        where=str(path),
        hint="build one with: electra tokenize TEXT -o DIR",
    )
