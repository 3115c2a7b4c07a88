"""Everything that can be checked of an artifact: its bytes, and of shards the rows that the bytes mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from electra_cli.artifacts import ROW_KINDS, Verified, open_artifact, verify
from electra_cli.errors import ArtifactError
from electra_cli.reporting import Reporter


def run(where: Path | str, *, fast: bool, report: Reporter) -> Iterator[Verified]:
    """Yield one result per artifact at `where`, nested ones included.

    With `fast` names and sizes are compared and nothing is read. Raises ArtifactError where there is nothing to verify.
    """
    for result in verify(where, deep=not fast, report=report):
        if result.kind in ROW_KINDS and result.status == "ok" and not fast:
            yield _with_rows(result)
        else:
            yield result


def _with_rows(result: Verified) -> Verified:
    """Check every row of shards or of a part: a hash says that bytes are those that were written, not that they fit."""
    from electra_cli.data.shards import ShardSet

    artifact = open_artifact(result.path)
    try:
        ShardSet(artifact, "train").check()
        ShardSet(artifact, "val").check()
    except ArtifactError as error:
        return replace(result, status="damaged", problems=(error,))
    return result
