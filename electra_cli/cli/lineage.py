"""`electra lineage`: what an artifact was made from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from electra_cli.cli.options import Json, Where
from electra_cli.cli.ui import session

if TYPE_CHECKING:
    from electra_cli.artifacts import Ancestor


def lineage(where: Where, *, json: Json = False) -> None:
    """Show what an artifact was made from.

    The tree of its inputs, down to the raw text. An input is known by its content id; its path is shown where it still
    lies as it did.
    """
    with session("lineage", json=json) as ui:
        from electra_cli.artifacts import lineage as trace

        tree = trace(where)
        ui.page("\n".join(_lines(tree)), summary=_summary(tree))


def _lines(node: Ancestor, head: str = "", tail: str = "") -> list[str]:
    place = f"  {os.fspath(node.path)}" if node.path is not None else ""
    role = f"{node.role}: " if head else ""
    lines = [f"{head}{role}{node.kind} {node.content_id[:19]}{place}"]
    for number, inner in enumerate(node.inputs):
        last = number == len(node.inputs) - 1
        lines += _lines(inner, tail + ("└─ " if last else "├─ "), tail + ("   " if last else "│  "))
    return lines


def _summary(node: Ancestor) -> dict[str, Any]:
    return {
        "role": node.role,
        "kind": node.kind,
        "content_id": node.content_id,
        "stage": node.stage,
        "path": os.fspath(node.path) if node.path is not None else None,
        "inputs": [_summary(inner) for inner in node.inputs],
    }
