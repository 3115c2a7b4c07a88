"""`electra inspect`: what an artifact says about itself."""

from __future__ import annotations

import json as json_text
import shutil
from typing import TYPE_CHECKING, Annotated, Any

import typer

from electra_cli.cli.options import Json, Sets, Where
from electra_cli.cli.ui import Ui, figure, session
from electra_cli.errors import UsageError

if TYPE_CHECKING:
    from electra_cli.artifacts import Artifact
    from electra_cli.stages.inspect_tokenizer import Inspection, InspectSettings

_TOKENIZER = "tokenizer.json"


def inspect(
    where: Where,
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="A second tokenizer, shown beside it.", show_default=False)
    ] = None,
    *,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="Text that a tokenizer is tried on: a file, a folder, a pattern, or a URL of such; repeatable.",
            show_default=False,
        ),
    ] = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Show what an artifact is: ids, settings, inputs, files; of tokenizers also what they are worth.

    Of a tokenizer: its vocabulary by kind, script and length; with --text what it makes of that text: tokens a word and
    a byte, [UNK], the scripts of the text, rare and unused pieces. Two tokenizers stand side by side.
    Names and sizes are checked, contents are not: `electra verify` does that.
    """
    with session("inspect", json=json) as ui:
        from electra_cli.artifacts import open_artifact
        from electra_cli.config import resolve
        from electra_cli.stages import inspect_tokenizer as stage

        settings = resolve(stage.InspectSettings, sets=sets or ()).settings
        artifact = open_artifact(where, hashes=False)
        second = None if other is None else open_artifact(other, hashes=False)
        found = _inspected(artifact, second, text or [], settings, ui)
        manifest = artifact.manifest.to_json()
        if found is None:
            ui.page(page(artifact), summary=manifest, artifact=artifact)
            return
        from electra_cli.cli.tokenizer_page import tokenizer_page

        shown = tokenizer_page(found, width=shutil.get_terminal_size().columns)
        if second is None and not text:
            shown = f"{page(artifact)}\n\n{shown}"
        ui.page(shown, summary={**manifest, **found.to_json()}, artifact=artifact)


def _inspected(
    artifact: Artifact, second: Artifact | None, texts: list[str], settings: InspectSettings, ui: Ui
) -> Inspection | None:
    """Look at tokenizers; None where the artifact is something else and nothing more was asked for."""
    from electra_cli.stages import inspect_tokenizer as stage

    artifacts = [each for each in (artifact, second) if each is not None]
    for each in artifacts:
        if not any(record.path == _TOKENIZER for record in each.manifest.files):
            if second is None and not texts:
                return None
            raise UsageError(
                f"is {each.kind}, not a tokenizer",
                code="NOT_A_TOKENIZER",
                where=str(each.path),
                hint="--text and a second artifact are for tokenizers",
            )
    return stage.inspect(artifacts, texts, settings=settings, report=ui)


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
