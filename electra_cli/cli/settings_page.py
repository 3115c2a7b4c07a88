"""Settings as a page of TOML with the source of each value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from electra_cli.config import Resolved, Settings


def as_toml(resolved: Resolved[Settings]) -> str:
    """Return TOML that `--config` takes and that gives these settings again; a comment tells each value's source."""
    lines: list[str] = []
    _table(resolved.settings, resolved.sources, "", lines)
    return "\n".join(lines)


def _table(settings: Settings, sources: Mapping[str, str], prefix: str, lines: list[str]) -> None:
    dumped = settings.model_dump(mode="json")
    inner = {name: value for name in dumped if isinstance(value := getattr(settings, name), Settings)}
    plain = {name: value for name, value in dumped.items() if name not in inner}
    rows = [
        (f"{name} = {toml_value(value)}" if value is not None else f"# {name} =", sources.get(prefix + name, "default"))
        for name, value in plain.items()
    ]
    width = min(48, max((len(row) for row, _ in rows), default=0))
    lines += [f"{row:<{width}}  # {source}" for row, source in rows]
    for name, value in inner.items():
        lines += [*([""] if lines else []), f"[{prefix}{name}]"]
        _table(value, sources, f"{prefix}{name}.", lines)


def toml_value(value: Any) -> str:
    """Return a JSON value in TOML's notation."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)} = {toml_value(item)}" for key, item in value.items()) + "}"
    return str(value)


def _text(value: str) -> str:
    """Quote a text: JSON's escapes are TOML's, but for DEL, which JSON leaves bare and TOML forbids."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
