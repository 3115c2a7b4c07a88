"""From the JSON of a `tokenizer.json` to the parts that it says; whoever reads says what is made of what is unfit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from electra_cli.text.parts import MAX_VOCABULARY, SPECIALS, Model, WordRules
from electra_cli.text.tokenizer_json import pre_tokenizer_json

_MODELS: Mapping[str, Model] = {"WordPiece": "wordpiece", "BPE": "bpe", "Unigram": "unigram"}
# Not U+2028 and its like: they stand in BERT's own Chinese vocabulary, and no text becomes them.
_SPACE = re.compile(r"[\t\n\v\f\r ]")


class Unfit(ValueError):
    """Something that is not, or not quite, a tokenizer of ours; the message says what."""


def parse(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; raises Unfit, also for a key that stands twice."""
    try:
        body = json.loads(data, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"it is not JSON ({error})") from error
    if not isinstance(body, dict):
        raise Unfit("it is not a JSON object")
    return body


def rules_of(body: Mapping[str, Any]) -> WordRules:
    """Return the rules of a `tokenizer.json`, without placeholders; Unfit where its components are not ours."""
    model, normalizer = table_of(body, "model"), body.get("normalizer")
    if model.get("type") not in _MODELS:
        raise Unfit(f"its model is {name_of(model)}; electra knows {', '.join(_MODELS)}")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        raise Unfit(f"its normalizer is {name_of(normalizer)}; electra knows BertNormalizer")
    split_cjk = flag_of(normalizer, "handle_chinese_chars")
    plain = WordRules(
        model=_MODELS[model["type"]],
        lowercase=flag_of(normalizer, "lowercase"),
        strip_accents=flag_of(normalizer, "strip_accents"),
        split_cjk=split_cjk,
    )
    candidates = [plain, replace(plain, split_digits=True)]
    if not split_cjk:
        candidates.append(replace(plain, pre_segmented=True))
    for rules in candidates:
        if body.get("pre_tokenizer") == pre_tokenizer_json(rules):
            return rules
    raise Unfit(f"its pre_tokenizer is {name_of(body.get('pre_tokenizer'))}, which is not what electra writes")


def placeholders_of(body: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the special tokens beside ours and the placeholders of a `tokenizer.json`, by id."""
    added = body.get("added_tokens")
    if not isinstance(added, list) or not all(isinstance(entry, dict) for entry in added):
        raise Unfit("its added_tokens is not a list of tokens")
    for entry in added:
        if not isinstance(entry.get("content"), str) or type(entry.get("id")) is not int:
            raise Unfit("an entry of its added_tokens has no content or id")
    ordered = sorted(added, key=lambda entry: int(entry["id"]))
    special = tuple(entry["content"] for entry in ordered if entry.get("special") and entry["content"] not in SPECIALS)
    return special, tuple(entry["content"] for entry in ordered if not entry.get("special"))


def vocabulary_of(model: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the tokens by id and, of a Unigram model, their scores."""
    vocabulary = model.get("vocab")
    scores: list[float] = []
    if model.get("type") == "Unigram":
        if not isinstance(vocabulary, list) or not all(isinstance(e, list) and len(e) == 2 for e in vocabulary):
            raise Unfit("its vocabulary is not a list of tokens and scores")
        scores = [score for _, score in vocabulary]
        if not all(isinstance(score, float) and math.isfinite(score) for score in scores):
            raise Unfit("a score of its vocabulary is not a number")
        pairs = [(token, position) for position, (token, _) in enumerate(vocabulary)]
        if len({token for token, _ in pairs if isinstance(token, str)}) < len(pairs):
            raise Unfit("a token stands twice in its vocabulary")
        vocabulary = dict(pairs)
    if not isinstance(vocabulary, dict):
        raise Unfit("it has no vocab")
    return ordered(vocabulary), tuple(scores)


def merges_of(model: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the merges of a BPE model, checked against its vocabulary; none of any other model."""
    merges = model.get("merges", [])
    known = model["vocab"]
    found = []
    for pair in merges if isinstance(merges, list) else [None]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise Unfit("its merges are not pairs of tokens")
        if not (pair[0] in known and pair[1] in known and pair[0] + pair[1] in known):
            raise Unfit(f"its merge of {pair[0]!r} and {pair[1]!r} is not in its vocabulary")
        found.append((pair[0], pair[1]))
    return tuple(found)


def ordered(vocabulary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tokens by id; ids must be 0, 1, 2, … and the special tokens among them."""
    size = len(vocabulary)
    if not len(SPECIALS) < size <= MAX_VOCABULARY:
        raise Unfit(f"its vocabulary has {size} entries; {len(SPECIALS) + 1} to {MAX_VOCABULARY} are possible")
    tokens: list[str | None] = [None] * size
    for token, position in vocabulary.items():
        if type(position) is not int or not 0 <= position < size or tokens[position] is not None:
            raise Unfit(f"the ids of its vocabulary are not 0 to {size - 1}")
        if problem := problem_of_token(token):
            raise Unfit(f"token {position} of its vocabulary {problem}")
        tokens[position] = token
    if missing := [name for name in SPECIALS if name not in vocabulary]:
        raise Unfit(f"its vocabulary lacks {' '.join(missing)}")
    return tuple(token for token in tokens if token is not None)


def problem_of_token(token: str) -> str | None:
    """Say what is wrong with an entry of a vocabulary, None if nothing."""
    if not token:
        return "is empty"
    if _SPACE.search(token):
        return f"holds white space: {token[:40]!r}"
    if any("\ud800" <= char <= "\udfff" for char in token):
        return f"holds half of a surrogate pair: {token[:40]!r}"
    return None


def table_of(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the object `key` of `body`; Unfit if it has none."""
    value = body.get(key)
    if not isinstance(value, dict):
        raise Unfit(f"it has no {key}")
    return value


def flag_of(body: Mapping[str, Any], key: str) -> bool:
    """Return the flag `key` of `body`; Unfit if it has none."""
    value = body.get(key)
    if not isinstance(value, bool):
        raise Unfit(f"its {key} is not true or false")
    return value


def name_of(component: Any) -> str:
    """Name a component of a `tokenizer.json` for a message: its type, and those of its parts."""
    if not isinstance(component, dict):
        return "none" if component is None else "not a component"
    kind = str(component.get("type"))[:40]
    inner = component.get("pretokenizers")
    names = [name_of(part) for part in inner[:8]] if isinstance(inner, list) else []
    named = f"{kind} of {', '.join(names)}" if names else kind
    pattern = component.get("pattern")
    return f"{named} with a pattern of its own" if isinstance(pattern, dict) and not names else named


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a key stands twice")
    return body
