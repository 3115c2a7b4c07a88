"""Where an artifact came from: its inputs, their inputs, down to the raw text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from electra_cli.artifacts.manifest import InputRef, Manifest
from electra_cli.artifacts.opening import is_complete, open_artifact, read_manifest
from electra_cli.errors import ArtifactError

_DEEPEST = 64


@dataclass(frozen=True)
class Ancestor:
    """One node of the tree: an artifact or raw text, its role for the node above, and its own inputs.

    `path` is None where it was not found again; its content id is what counts. `stage` is None then too.
    """

    role: str
    kind: str
    content_id: str
    path: Path | None
    stage: str | None
    inputs: tuple[Ancestor, ...]


def lineage(where: Path | str) -> Ancestor:
    """Return the tree of what the artifact at `where` was made from.

    The manifests name inputs by content id. The places where they lay are hints, relative to the artifact, and
    believed only if an artifact with that very id lies there now. Raises ArtifactError if `where` cannot be opened.
    """
    artifact = open_artifact(where, hashes=False)
    manifest = artifact.manifest
    return _node("result", artifact.kind, artifact.content_id, artifact.path, manifest, frozenset())


def _node(
    role: str, kind: str, content_id: str, path: Path | None, manifest: Manifest | None, above: frozenset[str]
) -> Ancestor:
    inputs: tuple[Ancestor, ...] = ()
    if manifest is not None and path is not None and content_id not in above and len(above) < _DEEPEST:
        inputs = tuple(_input(reference, path, manifest, above | {content_id}) for reference in manifest.inputs)
    return Ancestor(role, kind, content_id, path, manifest.stage if manifest else None, inputs)


def _input(reference: InputRef, path: Path, manifest: Manifest, above: frozenset[str]) -> Ancestor:
    found, found_manifest = None, None
    locations = manifest.provenance.get("locations")
    hint = locations.get(reference.content_id) if isinstance(locations, dict) else None
    if isinstance(hint, str) and hint and "\0" not in hint and not os.path.isabs(hint):
        place = Path(os.path.normpath(path / hint))
        if is_complete(place):
            try:
                candidate = read_manifest(place)
            except ArtifactError:
                candidate = None
            if candidate is not None and candidate.content_id == reference.content_id:
                found, found_manifest = place, candidate
    return _node(reference.role, reference.kind, reference.content_id, found, found_manifest, above)
