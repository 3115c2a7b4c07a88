"""What a manifest says about rows, and publishing them: the same for one run and for parts brought together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from electra_cli.artifacts import Draft
from electra_cli.errors import DataError
from electra_cli.reporting import Reporter
from electra_cli.stages.outcome import Outcome

if TYPE_CHECKING:
    from electra_cli.data.units import PieceRecord
    from electra_cli.stages.shard import ShardSettings

SPLITS = ("train", "val")
LONG_WORD = 8
"""Tokens; more than that on average are sentences rather than words. Chinese Wikipedia has 1.7, and 36 unsegmented."""


def publish(
    draft: Draft,
    records: Sequence[PieceRecord],
    *,
    settings: ShardSettings,
    facts: Mapping[str, Any],
    sources: int,
    report: Reporter,
) -> Outcome:
    """Publish shards whose files are in the draft.

    Args:
        draft: holds the tokenizer and the files of all pieces, added to it.
        records: of all pieces, in order.
        settings: what they were made with.
        facts: `tokenizer` (its content id), `vocab_size` and `special_ids`.
        sources: files of the corpus, for the provenance.
        report: where warnings go.

    Raises:
        DataError: there is no row.
    """
    spec = spec_of(records, settings, facts)
    _check(spec, settings, report)
    characters = sum(record.characters for record in records)
    artifact = draft.publish(spec=spec, provenance={"corpus": {"files": sources, "characters": characters}})
    return Outcome(artifact, "resumed" if draft.resumed else "built", summary_of(spec))


def spec_of(records: Sequence[PieceRecord], settings: ShardSettings, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says about the rows of these pieces; `facts` as for `publish`."""
    from electra_cli.data.units import tally_of

    tally = tally_of(records)
    spec = {
        "tokenizer": facts["tokenizer"],
        "recipe": settings.recipe,
        "length": settings.length,
        "vocab_size": facts["vocab_size"],
        "special_ids": facts["special_ids"],
        "splits": {split: _counts(records, split) for split in SPLITS},
        "documents": tally.documents,
        "dropped": dict(sorted(tally.dropped.items())),
        "unknown": sum(file.unknown for record in records for file in record.files),
    }
    if settings.recipe == "packed":
        spec |= {"piece_starts": True}
    if settings.word_starts:
        spec |= {"word_starts": True, "words": sum(file.words for record in records for file in record.files)}
    return spec


def _counts(records: Sequence[PieceRecord], split: str) -> dict[str, int]:
    files = [file for record in records for file in record.files if file.name.startswith(f"{split}-")]
    counts = {"rows": sum(file.rows for file in files), "tokens": sum(file.tokens for file in files)}
    pieces = sum(file.pieces for file in files)
    return counts | ({"pieces": pieces} if pieces else {})  # packed rows have them, others do not


def _check(spec: dict[str, Any], settings: ShardSettings, report: Reporter) -> None:
    if not spec["splits"]["train"]["rows"]:
        raise DataError(
            f"no rows: none of the {spec['documents']} documents gives one for training"
            f" ({sum(spec['dropped'].get(short, 0) for short in ('short_rows', 'short_pieces'))} rows were too short)",
            code="NO_DOCUMENTS",
            hint="give more text, or lower min_row_tokens or val_fraction",
        )
    if settings.val_fraction and not spec["splits"]["val"]["rows"]:
        report.warn(
            f"no document fell into the held-out part ({spec['documents']} documents, val_fraction "
            f"{settings.val_fraction}): there is nothing to evaluate on; raise --val-fraction"
        )
    if settings.word_starts:
        tokens = sum(spec["splits"][split]["tokens"] for split in SPLITS) / max(spec["words"], 1)
        if tokens > LONG_WORD:
            report.warn(
                f"a word of this text has {tokens:.0f} tokens on average, too many to be masked together: has a "
                "segmenter put spaces into it?"
            )


def summary_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a manifest's spec that are worth a line."""
    counts = {f"{split}_{what}": spec["splits"][split][what] for split in SPLITS for what in ("rows", "tokens")}
    return {**counts, "documents": spec["documents"], "dropped": spec["dropped"]}
