"""The shards of a pretraining run: which artifacts are phases, which are parts of a mixture, and whether they fit.

Several artifacts are the parts of one mixture. With `phases.shares` they are as many mixtures as there are phases, one
behind the other, each of the same number of artifacts; mostly of one. Importing this loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from electra_cli.artifacts import Artifact, open_artifact
from electra_cli.errors import ArtifactError, UsageError
from electra_cli.stages.pretrain_settings import PretrainSettings

# Of a spec: the length of rows, and whether they have a column besides those that all have.
OF_ROWS = ("length", "word_starts", "piece_starts")


def open_sources(shards: Path | Sequence[Path], settings: PretrainSettings) -> list[Artifact]:
    """Open the shards and refuse those that do not fit each other, the phases or the weights, before any work.

    Raises:
        UsageError: there are too many or too few for the phases or the weights.
        ArtifactError: one is damaged or has no rows, or two do not belong together.
    """
    paths = [shards] if isinstance(shards, Path) else shards
    sources = [open_artifact(path, kinds={"shards"}) for path in paths]
    _check_counts(len(sources), settings)
    for source in sources:
        if not source.spec["splits"]["train"]["rows"]:
            raise ArtifactError("holds no rows to train on", code="NO_ROWS", where=str(source.path))
        _check_same(sources[0], source, "tokenizer", hint="shard all text with one tokenizer")
    for first, *others in groups_of(sources, settings):
        for other in others:
            for key in OF_ROWS:
                hint = "shard all parts of a mixture with the same settings"
                if key == "length":
                    hint += "; for short rows before long ones, --set 'phases.shares=[0.9,0.1]'"
                _check_same(first, other, key, hint=hint)
    return sources


def groups_of(sources: Sequence[Artifact], settings: PretrainSettings) -> list[Sequence[Artifact]]:
    """The artifacts of each phase, which are the parts of its mixture."""
    parts = len(sources) // len(settings.phases.shares or [1.0])
    return [sources[at : at + parts] for at in range(0, len(sources), parts)]


def _check_counts(found: int, settings: PretrainSettings) -> None:
    shares, weights = settings.phases.shares, settings.mixture.weights
    given = f"{found} shards artifacts are given" if found > 1 else "one shards artifact is given"
    count = len(shares or [1.0])
    if not found or found % count:
        raise UsageError(
            f"{given}, phases.shares has {count} shares",
            code="PHASES_UNFIT",
            where="phases.shares",
            hint="give one artifact for each of the shares, or as many for every one",
        )
    if weights is not None and len(weights) != found // count:
        raise UsageError(
            f"{given}{f' for {count} phases' if count > 1 else ''}, mixture.weights has {len(weights)} weights",
            code="WEIGHTS_UNFIT",
            where="mixture.weights",
            hint="give one weight for each artifact of a phase: --mix 0.7,0.3",
        )


def _check_same(first: Artifact, other: Artifact, key: str, *, hint: str) -> None:
    """Refuse two artifacts whose specs differ in `key`."""
    here, there = (artifact.spec.get(key, False) for artifact in (first, other))
    if here != there:
        raise ArtifactError(
            f"its {key.replace('_', ' ')} is {there}, that of {first.path} is {here}",
            code="TOKENIZER_MISMATCH" if key == "tokenizer" else "SHARDS_UNFIT",
            where=str(other.path),
            hint=hint,
        )
