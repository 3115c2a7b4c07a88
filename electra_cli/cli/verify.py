"""`electra verify`: read everything again and compare."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from electra_cli.cli.options import Json, Quiet, Where
from electra_cli.cli.ui import error_json, figure, session
from electra_cli.errors import ArtifactError

if TYPE_CHECKING:
    from electra_cli.artifacts import Verified


def verify(
    where: Where,
    *,
    fast: Annotated[bool, typer.Option("--fast", help="Compare names and sizes only, hash nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check every file of an artifact against its hash.

    Of shards every row is checked too. All versions of a line and the checkpoints inside a run are included. Exit code
    4 if anything is damaged; files that the manifest does not list are a warning.
    """
    with session("verify", json=json, quiet=quiet) as ui:
        from electra_cli.stages import verify as stage

        results = []
        for result in stage.run(where, fast=fast, report=ui):
            results.append(result)
            for warning in result.warnings:
                ui.warn(warning)
            for problem in result.problems:
                ui.warn(f"{problem} ({problem.code})")
        damaged = [result for result in results if result.status == "damaged"]
        if damaged:
            first = damaged[0].problems[0]
            more = sum(len(result.problems) for result in damaged) - 1
            raise ArtifactError(
                first.message + (f" (and {more} more problems)" if more else ""),
                code=first.code,
                where=first.where,
                hint=first.hint,
            )
        page = "\n".join(_line(result) for result in results)
        ui.page(page, summary={"artifacts": [_summary(result) for result in results]})


def _line(result: Verified) -> str:
    if result.status == "unfinished":
        return f"unfinished  {result.path}"
    size = figure(result.bytes, "bytes")
    return f"ok  {result.kind}  {result.path}  {result.files} files, {size}  {result.content_id}"


def _summary(result: Verified) -> dict[str, Any]:
    return {
        "path": os.fspath(result.path),
        "status": result.status,
        "kind": result.kind,
        "content_id": result.content_id,
        "files": result.files,
        "bytes": result.bytes,
        "problems": [error_json(problem)["error"] for problem in result.problems],
        "warnings": list(result.warnings),
    }
