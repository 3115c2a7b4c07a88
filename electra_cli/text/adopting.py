"""Taking over a vocabulary that somebody else made: `vocab.txt`, `tokenizer.json`, or a folder of `transformers` files.

Every entry keeps its id. Nothing of a stranger's is run: a `tokenizer.json` may only hold the components that we write
ourselves, and what a file does not say is decided here and said (`Adopted.notes`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from electra_cli.errors import DataError
from electra_cli.text.parts import MAX_VOCABULARY, PREFIX, SPECIALS, TokenizerParts, WordRules, problem_of_extra
from electra_cli.text.tokenizer_files import MAX_FILE_BYTES, parts_of
from electra_cli.text.tokenizer_json import post_processor_json, pre_tokenizer_json
from electra_cli.text.tokenizer_reading import (
    Unfit,
    flag_of,
    name_of,
    ordered,
    parse,
    placeholders_of,
    problem_of_token,
    table_of,
)

Read = TypeVar("Read")

JSON, VOCABULARY, CONFIG, ADDED = "tokenizer.json", "vocab.txt", "tokenizer_config.json", "added_tokens.json"
_CASED = 0.001
"""A vocabulary of which more than this share changes when it is lower-cased is a cased one. BERT's uncased ones have no
such entry or two ("<S>"), cased ones one in forty and more."""
_CLASSES = ("Bert", "Electra", "DistilBert", "MobileBert", "ConvBert")
_LENGTH = 512


@dataclass(frozen=True)
class Said:
    """What the user says of the tokenizer; None: what its files say, and BERT's rule where they say nothing."""

    lowercase: bool | None = None
    strip_accents: bool | None = None
    split_cjk: bool | None = None
    model_max_length: int | None = None


@dataclass(frozen=True)
class Adopted:
    """A tokenizer of ours with a stranger's vocabulary, and what there is to say of how it came about."""

    parts: TokenizerParts
    notes: tuple[str, ...]


def files_of(path: Path) -> dict[str, Path]:
    """Return the files that make up the tokenizer at `path` by their usual names; DataError if there are none."""
    if path.is_dir():
        known = (JSON, VOCABULARY, CONFIG, ADDED)
        found = {name: path / name for name in known if (path / name).is_file()}
        if not found.keys() & {JSON, VOCABULARY}:
            _refuse(path, f"the folder holds neither {JSON} nor {VOCABULARY}", hint="name the folder of the files")
        if JSON in found:
            found.pop(VOCABULARY, None)  # the other says the same and more
            found.pop(ADDED, None)
        return found
    if not path.is_file():
        raise DataError("no such file or folder", code="MISSING_INPUT", where=str(path), hint="check the path")
    return {JSON if path.suffix == ".json" else VOCABULARY: path}


def adopt(path: Path, said: Said) -> Adopted:
    """Read the tokenizer at `path`.

    Args:
        path: a file with a token a line, a `tokenizer.json`, or a folder of them and `tokenizer_config.json`.
        said: what the user says.

    Raises:
        DataError: the files are missing or broken (with the line), or ask for what electra does not do.
    """
    files = files_of(path)
    notes: list[str] = []
    config: dict[str, Any] = _unfit(files[CONFIG], _config) if CONFIG in files else {}
    own = Said()
    if JSON in files:
        where = files[JSON]
        parts, own = _unfit(where, lambda body: _from_json(body, notes))
    else:
        where = files[VOCABULARY]
        parts = _from_lines(where, config, notes)
        if ADDED in files:
            _unfit(files[ADDED], lambda body: _nothing_else(body, parts))
    try:
        return Adopted(_with_rules(parts, said, config, own, notes), tuple(notes))
    except Unfit as problem:
        _foreign(where, problem)


def _from_lines(path: Path, config: Mapping[str, Any], notes: list[str]) -> TokenizerParts:
    """Read a token a line; special tokens and placeholders are those that the configuration tells of."""
    lines = _lines(path, notes)
    ids: dict[str, int] = {}
    for number, token in enumerate(lines, 1):
        if problem := problem_of_token(token):
            _refuse(path, f"the token {problem}", line=number, hint="a vocabulary has one token on each line")
        if token in ids:
            _refuse(path, f"token {token[:40]!r} stands on line {ids[token] + 1} too", line=number)
        ids[token] = number - 1
    try:
        parts = TokenizerParts(tokens=ordered(ids))
        added = config.get("added_tokens_decoder") or {}
        if not (isinstance(added, dict) and all(isinstance(e, dict) and key.isdecimal() for key, e in added.items())):
            raise Unfit("the added_tokens_decoder of its configuration is not a table of tokens")
        return _with_added(parts, [{**entry, "id": int(key)} for key, entry in added.items()])
    except Unfit as problem:
        _refuse(path, str(problem).replace("its vocabulary", "the vocabulary", 1))


def _lines(path: Path, notes: list[str]) -> list[str]:
    data = _read(path)
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        _refuse(path, "the file begins with a byte order mark", line=1, hint="save it as UTF-8 without one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse(path, f"not UTF-8 (byte {error.start})", line=line, hint="convert it: iconv -t UTF-8")
    if "\r\n" in text:
        notes.append(f"{path.name} has Windows line ends, which are no part of its tokens")
        text = text.replace("\r\n", "\n")
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > MAX_VOCABULARY:
        _refuse(path, f"{len(lines)} tokens; {len(SPECIALS) + 1} to {MAX_VOCABULARY} are possible")
    return lines


def _from_json(body: dict[str, Any], notes: list[str]) -> tuple[TokenizerParts, Said]:
    """Read a `tokenizer.json`, of WordPiece also as others write it, and what it says of the options."""
    model = table_of(body, "model")
    if model.get("type") != "WordPiece":
        return parts_of(body, model_max_length=_LENGTH), Said()
    _check(model, "model", unk_token="[UNK]", continuing_subword_prefix=PREFIX, max_input_chars_per_word=100)
    normalizer = table_of(body, "normalizer")
    _check(normalizer, "normalizer", type="BertNormalizer", clean_text=True)
    lowercase, split_cjk = flag_of(normalizer, "lowercase"), flag_of(normalizer, "handle_chinese_chars")
    strip_accents = None if normalizer.get("strip_accents") is None else flag_of(normalizer, "strip_accents")
    plain = WordRules(
        lowercase=lowercase, strip_accents=lowercase if strip_accents is None else strip_accents, split_cjk=split_cjk
    )
    choices = [plain, replace(plain, split_digits=True)]
    choices += [] if split_cjk else [replace(plain, pre_segmented=True)]
    given = body.get("pre_tokenizer")
    rules = next((rules for rules in choices if given == pre_tokenizer_json(rules)), None)
    if rules is None:
        raise Unfit(f"its pre_tokenizer is {name_of(given)}, which electra neither writes nor runs")
    _check(table_of(body, "decoder"), "decoder", type="WordPiece", prefix=PREFIX)
    for key in ("truncation", "padding"):
        if body.get(key) is not None:
            notes.append(f"the {key} of {JSON} is left out: lengths are the model's business")
    placeholders_of(body)  # for the check that they are a list of tokens
    vocabulary = dict(table_of(model, "vocab"))
    for entry in body["added_tokens"]:
        if entry["content"] not in vocabulary:
            if problem := problem_of_extra(entry["content"], set()):
                raise Unfit(f"its added token {entry['content'][:40]!r} {problem}")
            vocabulary[entry["content"]] = entry["id"]
    parts = _with_added(TokenizerParts(tokens=ordered(vocabulary), rules=rules), body["added_tokens"])
    ends = {f"{name}": [f"[{name.upper()}]", parts.ids[f"[{name.upper()}]"]] for name in ("sep", "cls")}
    if body.get("post_processor") not in (post_processor_json(parts), {"type": "BertProcessing", **ends}):
        found = name_of(body.get("post_processor"))
        raise Unfit(f"its post_processor is {found} and does not put [CLS] and [SEP] around texts as BERT does")
    return parts, Said(lowercase, strip_accents, split_cjk)


def _with_added(parts: TokenizerParts, added: list[dict[str, Any]]) -> TokenizerParts:
    """Return `parts` with the added tokens of a file as special tokens and placeholders; they must be entries."""
    for entry in added:
        name = entry.get("content")
        if not isinstance(name, str) or parts.ids.get(name) != entry["id"]:
            raise Unfit(f"its added token {entry['id']} is not that entry of its vocabulary")
        if name in SPECIALS or entry.get("special"):
            continue
        if problem := problem_of_extra(name, set()):
            raise Unfit(f"its added token {name[:40]!r} {problem}")
        if any(entry.get(flag) for flag in ("single_word", "lstrip", "rstrip")) or entry.get("normalized") is not False:
            raise Unfit(
                f"its added token {name[:40]!r} is not matched as it stands (single_word, lstrip, rstrip or normalized)"
            )
    special, placeholders = placeholders_of({"added_tokens": added})
    usable = tuple(name for name in special if problem_of_extra(name, set()) is None)
    return replace(parts, special_tokens=usable, rules=parts.rules.with_placeholders(placeholders))


def _config(body: dict[str, Any]) -> dict[str, Any]:
    """Check what a `tokenizer_config.json` asks for that could change ids; return it."""
    kind = body.get("tokenizer_class") or "BertTokenizer"
    stem = str(kind).removesuffix("Fast").removesuffix("Tokenizer")
    if kind not in ("PreTrainedTokenizerFast", "TokenizersBackend") and stem not in _CLASSES:
        raise Unfit(f"its tokenizer_class is {str(kind)[:60]!r}")
    if body.get("auto_map"):
        raise Unfit("it has code of its own (auto_map), which electra does not run")
    if body.get("do_basic_tokenize", True) is not True or body.get("never_split"):
        raise Unfit("it sets do_basic_tokenize or never_split, which electra does not know")
    for name in SPECIALS:
        key = f"{name[1:-1].lower()}_token"
        value = body.get(key, name)
        value = value.get("content") if isinstance(value, dict) else value
        if value != name:
            raise Unfit(f"its {key} is {str(value)[:40]!r}; electra needs {name}")
    return body


def _nothing_else(body: Mapping[str, Any], parts: TokenizerParts) -> None:
    if unknown := [name for name in body if name not in {*SPECIALS, *parts.special_tokens, *parts.rules.placeholders}]:
        raise Unfit(f"it adds {unknown[0][:40]!r} and does not say how; save it with transformers 4.34 or newer")


def _with_rules(
    parts: TokenizerParts, said: Said, config: Mapping[str, Any], own: Said, notes: list[str]
) -> TokenizerParts:
    """Settle the options: what the user says, else the configuration, else `tokenizer.json`, else BERT's rule."""

    def stated(name: str, key: str) -> bool | None:
        sources = (getattr(said, name), config.get(key), getattr(own, name))
        if sources[0] is None and isinstance(sources[1], bool) and sources[2] not in (None, sources[1]):
            notes.append(
                f"{CONFIG} says {key} = {str(sources[1]).lower()} and {JSON} the contrary: the former holds, as in "
                "transformers"
            )
        return next((value for value in sources if isinstance(value, bool)), None)

    rules = parts.rules
    if rules.model == "wordpiece" and not rules.pre_segmented:
        lowercase = stated("lowercase", "do_lower_case")
        strip_accents, split_cjk = (
            stated("strip_accents", "strip_accents"),
            stated("split_cjk", "tokenize_chinese_chars"),
        )
        undecided = lowercase is None
        if lowercase is None:
            lowercase = not _looks_cased(parts.tokens)
        rules = replace(
            rules,
            lowercase=lowercase,
            strip_accents=lowercase if strip_accents is None else strip_accents,
            split_cjk=True if split_cjk is None else split_cjk,
        )
        if undecided:
            notes.append(
                f"no file says how text is normalised: lowercase = {str(lowercase).lower()} (the vocabulary has "
                f"{'no ' if lowercase else ''}upper-case pieces), strip_accents = {str(rules.strip_accents).lower()}, "
                f"split_cjk = {str(rules.split_cjk).lower()}"
            )
    elif (said.lowercase, said.strip_accents, said.split_cjk) != (None, None, None):
        raise Unfit("lowercase, strip_accents and split_cjk of such a tokenizer cannot be changed")
    length = said.model_max_length or config.get("model_max_length")
    if type(length) is not int or not 8 <= length <= 2**16:  # transformers writes 10**30 where it does not know
        length = _LENGTH
    return replace(parts, rules=rules, model_max_length=length)


def _looks_cased(tokens: tuple[str, ...]) -> bool:
    changed = sum(token != token.lower() for token in tokens if not (token.startswith("[") and token.endswith("]")))
    return changed > _CASED * len(tokens)


def _check(table: Mapping[str, Any], what: str, **wanted: Any) -> None:
    for key, value in wanted.items():
        if table.get(key) != value:
            given = str(table.get(key))[:40]
            raise Unfit(f"its {what} ({name_of(table)}) has {key} = {given}; electra knows {value} alone")


def _unfit(path: Path, read: Callable[[dict[str, Any]], Read]) -> Read:
    """Read the JSON of `path`; what is unfit in it becomes an error with the file's name."""
    try:
        return read(parse(_read(path)))
    except Unfit as problem:
        _foreign(path, problem)


def _foreign(path: Path, problem: Unfit) -> NoReturn:
    raise DataError(
        f"cannot be adopted: {problem}",
        code="FOREIGN_TOKENIZER",
        where=str(path),
        hint="only WordPiece tokenizers that cut text as BERT does can be, and electra's own",
    ) from problem


def _read(path: Path) -> bytes:
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            _refuse(path, f"the file is larger than {MAX_FILE_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", code="UNREADABLE", where=str(path)) from error


def _refuse(path: Path, why: str, *, line: int | None = None, hint: str | None = None) -> NoReturn:
    where = str(path) if line is None else f"{path}:{line}"
    raise DataError(why, code="BAD_VOCABULARY", where=where, hint=hint)
