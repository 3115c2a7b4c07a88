"""`tokenizer.json`: what each component of our tokenizers is, in the library's own form.

The same tables make the tokenizer that encodes and are compared with what a file says, so that only what is written
here ever runs: no regular expression of a stranger's does.
"""

from __future__ import annotations

from typing import Any

from electra_cli.text.parts import LONGEST_WORD, MARKS, PREFIX, SPECIALS, TokenizerParts, WordRules

_Table = dict[str, Any]


def tokenizer_json(parts: TokenizerParts) -> _Table:
    """Return the whole of `tokenizer.json`."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(parts),
        "normalizer": normalizer_json(parts.rules),
        "pre_tokenizer": pre_tokenizer_json(parts.rules),
        "post_processor": post_processor_json(parts),
        "decoder": decoder_json(parts.rules),
        "model": _model(parts),
    }


def normalizer_json(rules: WordRules) -> _Table:
    """Return BERT's normalizer, which all models have."""
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": rules.split_cjk,
        "strip_accents": rules.strip_accents,
        "lowercase": rules.lowercase,
    }


def pre_tokenizer_json(rules: WordRules) -> _Table:
    """Return what cuts normalised text into words, and for BPE turns them into bytes."""
    spaces = {"type": "WhitespaceSplit"}
    if rules.model == "wordpiece":
        if rules.pre_segmented:
            return spaces
        bert = {"type": "BertPreTokenizer"}
        return _sequence(bert, {"type": "Digits", "individual_digits": True}) if rules.split_digits else bert
    last = [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
    return _sequence(*_marked_words(rules), *(last if rules.model == "bpe" else []))


def words_json(rules: WordRules) -> _Table:
    """Return the part of it that cuts words, which are characters still."""
    return pre_tokenizer_json(rules) if rules.model == "wordpiece" else _sequence(*_marked_words(rules))


def _marked_words(rules: WordRules) -> list[_Table]:
    mark = MARKS[rules.model]
    found: list[_Table] = [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": mark, "prepend_scheme": "always", "split": False},
    ]
    if not rules.pre_segmented:
        # ByteLevel's own rule ends words at combining marks, of which the scripts of India and Thailand are full.
        numbers = r"\p{N}" if rules.split_digits else r"\p{N}+"
        regex = rf"{mark}?[\p{{L}}\p{{M}}]+|{mark}?{numbers}|{mark}?[^{mark}\p{{L}}\p{{M}}\p{{N}}]+|{mark}"
        found.append({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False})
    return found


def decoder_json(rules: WordRules) -> _Table:
    """Return what makes readable text of pieces."""
    if rules.model == "wordpiece":
        return {"type": "WordPiece", "prefix": PREFIX, "cleanup": True}
    if rules.model == "unigram":
        return {"type": "Metaspace", "replacement": MARKS["unigram"], "prepend_scheme": "always", "split": False}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return {"type": "Sequence", "decoders": [bytes_, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}


def post_processor_json(parts: TokenizerParts) -> _Table:
    """Return what puts `[CLS]` and `[SEP]` around one text or two."""
    cls, first, sep = _special("[CLS]", 0), {"Sequence": {"id": "A", "type_id": 0}}, _special("[SEP]", 0)
    second, last = {"Sequence": {"id": "B", "type_id": 1}}, _special("[SEP]", 1)
    names = ("[CLS]", "[SEP]")
    return {
        "type": "TemplateProcessing",
        "single": [cls, first, sep],
        "pair": [cls, first, sep, second, last],
        "special_tokens": {name: {"id": name, "ids": [parts.ids[name]], "tokens": [name]} for name in names},
    }


def _added(parts: TokenizerParts) -> list[_Table]:
    names = [*SPECIALS, *parts.special_tokens, *parts.rules.placeholders]
    return [
        {
            "id": parts.ids[name],
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": name not in parts.rules.placeholders,
        }
        for name in sorted(names, key=parts.ids.__getitem__)
    ]


def _model(parts: TokenizerParts) -> _Table:
    if parts.rules.model == "wordpiece":
        return {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": PREFIX,
            "max_input_chars_per_word": LONGEST_WORD,
            "vocab": parts.ids,
        }
    if parts.rules.model == "unigram":
        return {
            "type": "Unigram",
            "unk_id": parts.ids["[UNK]"],
            "vocab": [[token, score] for token, score in zip(parts.tokens, parts.scores, strict=True)],
            "byte_fallback": False,
        }
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": parts.ids,
        "merges": [list(pair) for pair in parts.merges],
    }


def _sequence(*parts: _Table) -> _Table:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def _special(name: str, kind: int) -> _Table:
    return {"SpecialToken": {"id": name, "type_id": kind}}


def library_json(parts: TokenizerParts) -> _Table:
    """Return the tokenizer that encodes: the same without special tokens, which text then never becomes.

    Where a word can hold brackets, the model itself would find them in text; it gets names that no text has.
    """
    brackets_are_words = parts.rules.cut_rule_between_placeholders.punctuation
    hidden = set() if brackets_are_words else {*SPECIALS, *parts.special_tokens}
    model = _model(parts)
    if parts.rules.model == "wordpiece":
        model["vocab"] = {_hidden(t) if t in hidden - {"[UNK]"} else t: i for t, i in model["vocab"].items()}
    elif parts.rules.model == "unigram":
        model["vocab"] = [[_hidden(token) if token in hidden else token, score] for token, score in model["vocab"]]
    return {
        **tokenizer_json(parts),
        "added_tokens": [entry for entry in _added(parts) if not entry["special"]],
        "post_processor": None,
        "model": model,
    }


def _hidden(name: str) -> str:
    return "\0" + name  # the normalizer deletes NUL
