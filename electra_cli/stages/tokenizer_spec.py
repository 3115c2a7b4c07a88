"""What the manifest of a tokenizer says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electra_cli.text.tokenizer import Tokenizer


def tokenizer_spec(tokenizer: Tokenizer, **more: Any) -> dict[str, Any]:
    """Return the spec of a tokenizer artifact.

    What is as in BERT is left out but for the flags of its normalizer, so that a tokenizer of the first `electra` has
    the same content id as the same one made today: no `model` means WordPiece.

    Args:
        tokenizer: the tokenizer.
        more: further entries, which come last.
    """
    rules = tokenizer.parts.rules
    spec: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size,
        "special_ids": tokenizer.special_table(),
        "lowercase": rules.lowercase,
        "strip_accents": rules.strip_accents,
        "split_cjk": rules.split_cjk,
    }
    options = {
        "model": rules.model if rules.model != "wordpiece" else "",
        "split_digits": rules.split_digits,
        "pre_segmented": rules.pre_segmented,
        "placeholders": list(rules.placeholders),
    }
    return spec | {name: value for name, value in options.items() if value} | more


def summary_of(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a spec that are worth a line."""
    return {name: spec[name] for name in ("model", "vocab_size", "alphabet") if name in spec}
