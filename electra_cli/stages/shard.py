"""Raw text and a tokenizer → shards: rows of token ids, by default the paper's two-segment examples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from electra_cli.artifacts import (
    Artifact,
    Draft,
    InputRef,
    Recipe,
    check_output,
    claim,
    need_space,
    open_artifact,
)
from electra_cli.config import Settings, execution, setting, shaping, table
from electra_cli.data.sources import CorpusSettings, Source, content_of_sources, gathered
from electra_cli.errors import DataError
from electra_cli.reporting import Reporter
from electra_cli.stages.outcome import Outcome

if TYPE_CHECKING:
    from electra_cli.data.pieces import Piece
    from electra_cli.data.units import PieceRecord, UnitPlan

STAGE = "shard"
STAGE_VERSION = 2
SPLITS = ("train", "val")
LONG_WORD = 8
"""Tokens; more than that on average are sentences rather than words. Chinese Wikipedia has 1.7, and 36 unsegmented."""


class ShardSettings(Settings):
    """How documents become rows, and rows files."""

    recipe: Literal["pairs", "packed", "stream"] = setting(
        "pairs",
        "How documents become rows: pairs, the paper's two segments a row; packed, whole documents side by side that "
        "do not see each other (long ones in pieces); stream, one document after the other with [SEP] between them, "
        "cut into full rows (RoBERTa's FULL-SENTENCES).",
    )
    length: int = setting(
        128,
        "Tokens of a row, special tokens included. The paper: 128 for small, 512 for base and large; pretraining takes "
        "it from here.",
        ge=8,
        le=8192,
    )
    val_fraction: float = setting(
        0.01,
        "Share of the documents held out for evaluation, chosen by a hash of their text. The released code holds out "
        "none.",
        ge=0.0,
        le=0.5,
    )
    seed: int = setting(0, "Fixes the segments' randomness and the held-out documents.", ge=0, lt=2**63)
    min_row_tokens: int = setting(
        5,
        "Rows (packed: pieces) with fewer tokens from the text are left out, and counted in the manifest.",
        ge=1,
        le=1000,
    )
    carry_over: bool = setting(
        True,
        "Begin the next row with what does not fit a row. The released code loses it, most of a long line. Only recipe "
        "pairs leaves the choice.",
    )
    word_starts: bool = setting(
        False,
        "Store which tokens begin a word between white space, for objective.whole_words: for text that a segmenter has "
        "put spaces into (Chinese, Japanese). The ids are the same.",
    )
    unit_bytes: int = setting(
        0,
        "Bytes of the files that one process reads at a time, and of text in one shard file. 0: 8 MiB, and for corpora "
        "above 32 GiB so much that there are about 4,096 pieces, at most 512 MiB each.",
        ge=0,
        le=2**29,
    )
    corpus: CorpusSettings = table(CorpusSettings, "How the text is read.")
    workers: int = setting(0, "Processes; 0 for one on each core. The result is the same.", shapes=False, ge=0, le=1024)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = []
        if self.recipe != "pairs" and not self.carry_over:
            problems.append(
                f"carry_over = false is for recipe = pairs only: {self.recipe} loses nothing at a row's end"
            )
        if self.min_row_tokens > self.length - 2:
            problems.append(f"min_row_tokens {self.min_row_tokens} is more than a row of length {self.length} can hold")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def run(
    texts: Sequence[Path | str], tokenizer: Path | str, out: Path, *, settings: ShardSettings, report: Reporter
) -> Outcome:
    """Tokenize text, lay it out as rows, by default the paper's two-segment examples, and write shards.

    An interrupted run leaves its finished units behind; the same call continues with the rest.

    Args:
        texts: files, folders, glob patterns, or `-` for standard input; rows come in their order.
        tokenizer: a tokenizer artifact.
        out: folder for the versions of the shards.
        settings: see `ShardSettings`.
        report: where progress and warnings go.

    Raises:
        DataError: the text cannot be read, there is none, or it is too short for a single row.
        UsageError: an archive was given.
        ArtifactError: the tokenizer is damaged or none.
        WorkerError: a worker process died; the finished units are kept.
        ResourceError, BusyError: the output cannot be written.
    """
    settings.corpus.check()
    source = open_artifact(tokenizer, kinds={"tokenizer"})
    check_output(out)
    with gathered(texts, out, report=report) as sources:
        content = content_of_sources(sources, ordered=True, report=report)
        recipe = Recipe(
            kind="shards",
            stage=STAGE,
            stage_version=STAGE_VERSION,
            config=shaping(settings),
            inputs=(InputRef(role="text", kind="text", content_id=content), source.ref("tokenizer")),
            execution=execution(settings),
        )
        with claim(out, recipe, report=report) as claimed:
            if claimed.done is not None:
                return Outcome(claimed.done, "up to date", _summary(claimed.done.spec))
            assert claimed.draft is not None
            return _build(sources, source, claimed.draft, settings, report)


def _build(
    sources: Sequence[Source], tokenizer: Artifact, draft: Draft, settings: ShardSettings, report: Reporter
) -> Outcome:
    from electra_cli.data.corpus import Tally, nothing_found, splittable
    from electra_cli.data.layouts import RowRule
    from electra_cli.data.pieces import plan_pieces, unit_size
    from electra_cli.data.units import UnitPlan

    if not draft.resumed:
        # A token of English is 4.5 bytes of text, of Chinese 3, and takes 2: a first look, before hours of work.
        need_space(draft.path, bytes=sum(file.bytes for file in sources) * 2 // 3, what="a corpus of this size")
    for part in tokenizer.manifest.files:
        draft.write_bytes(f"tokenizer/{part.path}", tokenizer.file(part.path).read_bytes())
    plan = UnitPlan(
        folder=draft.path,
        tokenizer=draft.path / "tokenizer",
        recipe_id=draft.recipe.recipe_id,
        corpus=settings.corpus,
        rule=RowRule(
            length=settings.length,
            min_row_tokens=settings.min_row_tokens,
            seed=settings.seed,
            carry_over=settings.carry_over,
            word_starts=settings.word_starts,
            recipe=settings.recipe,
        ),
        unit_bytes=settings.unit_bytes or unit_size(sources),
        val_fraction=settings.val_fraction,
        seed=settings.seed,
    )
    pieces = plan_pieces(sources, piece_bytes=plan.unit_bytes, splittable=partial(splittable, settings=settings.corpus))
    records, reused = _write(pieces, plan, settings, report)
    if reused:
        report.note(f"{reused} of {len(pieces)} pieces reused from the interrupted run")
    tally = Tally()
    for record in records:
        tally.add(record.tally())
        for file in record.files:
            draft.add(file.name, rows=file.rows, tokens=file.tokens, sha256=file.sha256)
    if not tally.documents:
        raise nothing_found(sources, tally)
    spec = {
        "tokenizer": tokenizer.content_id,
        "recipe": settings.recipe,
        "length": settings.length,
        "vocab_size": tokenizer.spec["vocab_size"],
        "special_ids": tokenizer.spec["special_ids"],
        "splits": {split: _counts(records, split) for split in SPLITS},
        "documents": tally.documents,
        "dropped": dict(sorted(tally.dropped.items())),
        "unknown": sum(file.unknown for record in records for file in record.files),
    }
    if settings.recipe == "packed":
        spec |= {"piece_starts": True}
    if settings.word_starts:
        spec |= {"word_starts": True, "words": sum(file.words for record in records for file in record.files)}
    _check(spec, settings, report)
    artifact = draft.publish(spec=spec, provenance={"corpus": {"files": len(sources), "characters": tally.characters}})
    return Outcome(artifact, "resumed" if draft.resumed else "built", {**_summary(spec), "pieces_reused": reused})


def _write(
    pieces: Sequence[Piece], plan: UnitPlan, settings: ShardSettings, report: Reporter
) -> tuple[list[PieceRecord], int]:
    """Write the units of the pieces that are not done yet; return the records of all in order, and how many were."""
    from electra_cli.data.units import finished_piece
    from electra_cli.data.workers import available_cores, work_through

    records = {piece.number: record for piece in pieces if (record := finished_piece(plan, piece))}
    reused = len(records)
    missing = [piece for piece in pieces if piece.number not in records]
    workers = min(settings.workers or available_cores(), max(len(missing), 1))
    total, left = sum(piece.bytes for piece in pieces), sum(piece.bytes for piece in missing)
    with report.progress("sharding", total=total, unit="bytes", done=total - left) as meter:
        for piece, record in work_through(plan, missing, workers=workers):
            records[piece.number] = record
            meter.advance(piece.bytes)
    return [records[piece.number] for piece in pieces], reused


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


def _summary(spec: dict[str, Any]) -> dict[str, Any]:
    counts = {f"{split}_{what}": spec["splits"][split][what] for split in SPLITS for what in ("rows", "tokens")}
    return {**counts, "documents": spec["documents"], "dropped": spec["dropped"]}
