"""`electra inspect`: what an artifact says about itself."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Any

from electra_cli.cli.options import Json, Where
from electra_cli.cli.ui import figure, session

if TYPE_CHECKING:
    from electra_cli.artifacts import Artifact


def inspect(where: Where, *, json: Json = False) -> None:
    """Show what an artifact is: ids, settings, inputs, files.

    Names and sizes are checked, contents are not: `electra verify` does that.
    """
    with session("inspect", json=json) as ui:
        from electra_cli.artifacts import open_artifact

        artifact = open_artifact(where, hashes=False)
        ui.page(page(artifact), summary=artifact.manifest.to_json(), artifact=artifact)


def page(artifact: Artifact) -> str:
    """Return the manifest of `artifact` as a page for people."""
    from electra_cli.config import flatten

    manifest = artifact.manifest
    made = manifest.provenance
    lines = [
        f"{artifact.kind}  {artifact.path}",
        "",
        f"content   {manifest.content_id}",
        f"recipe    {manifest.recipe_id}",
        f"format    {manifest.format_version}",
        f"stage     {manifest.stage}, version {manifest.stage_version}",
        f"made      {made.get('created', '?')} by electra {made.get('electra', '?')}, Python {made.get('python', '?')}",
    ]
    if manifest.inputs:
        lines += ["", "inputs"]
        lines += [f"  {item.role:<12}{item.kind:<12}{item.content_id}" for item in manifest.inputs]
    for title, tree in (("settings", manifest.config), ("spec", manifest.spec)):
        rows = [(key, _brief(value)) for key, value in flatten(tree)]
        width = max((len(key) for key, _ in rows), default=0)
        lines += ["", title, *(f"  {key:<{width}}  {value}" for key, value in rows)] if rows else []
    lines += ["", "files"]
    width = max((len(record.path) for record in manifest.files), default=0)
    for record in manifest.files:
        counts = "".join(
            f"  {figure(count)} {name}" for name, count in (("rows", record.rows), ("tokens", record.tokens)) if count
        )
        lines.append(f"  {record.path:<{width}}  {figure(record.bytes, 'bytes'):>10}  {record.sha256[:12]}{counts}")
    total = sum(record.bytes for record in manifest.files)
    return "\n".join([*lines, f"  {len(manifest.files)} files, {figure(total, 'bytes')}"])


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json_text.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "..."
