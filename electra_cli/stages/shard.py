"""Raw text and a tokenizer → shards: rows of token ids, by default the paper's two-segment examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from electra_cli.artifacts import (
    Artifact,
    Draft,
    InputRef,
    Recipe,
    check_output,
    claim,
    content_of_hashes,
    need_space,
    open_artifact,
)
from electra_cli.config import Settings, execution, setting, shaping, table
from electra_cli.data import ray_engine, workers
from electra_cli.data.dedup_settings import DedupSettings
from electra_cli.data.parts import Part, Share, share_of
from electra_cli.data.pieces import plan_pieces, unit_size
from electra_cli.data.sources import STDIN, CorpusSettings, Source, gathered, hashes_of_sources
from electra_cli.errors import UsageError
from electra_cli.reporting import Reporter
from electra_cli.stages.outcome import Outcome
from electra_cli.stages.shard_parts import part_recipe, publish_part
from electra_cli.stages.shard_rows import publish, spec_of, summary_of

if TYPE_CHECKING:
    from electra_cli.data.pieces import Piece
    from electra_cli.data.units import PieceRecord, UnitPlan

STAGE = "shard"
STAGE_VERSION = 2


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
        "above 32 GiB so much that there are about 4,096 pieces, at most 128 MiB each.",
        ge=0,
        le=2**27,
    )
    corpus: CorpusSettings = table(CorpusSettings, "How the text is read.")
    dedup: DedupSettings = table(DedupSettings, "Which documents are left out because the corpus had them before.")
    workers: int = setting(
        0,
        "Processes; 0 for one on each core, of this machine or of the Ray cluster. The result is the same.",
        shapes=False,
        ge=0,
        le=65536,
    )
    engine: Literal["local", "ray"] = setting(
        "local",
        "Where the processes run: on this machine, or on a Ray cluster (the one that RAY_ADDRESS names, else one "
        "started here), whose machines see text and output under the same paths. The result is the same.",
        shapes=False,
    )

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
    texts: Sequence[Path | str],
    tokenizer: Path | str,
    out: Path,
    *,
    settings: ShardSettings,
    report: Reporter,
    part: Part | None = None,
) -> Outcome:
    """Tokenize text, lay it out as rows, by default the paper's two-segment examples, and write shards.

    An interrupted run leaves its finished units behind; the same call continues with the rest.

    Args:
        texts: files, folders, glob patterns, or `-` for standard input; rows come in their order.
        tokenizer: a tokenizer artifact.
        out: folder for the versions of the shards.
        settings: see `ShardSettings`.
        report: where progress and warnings go.
        part: do only this part of the work and publish that, for `merge`; None for all of it.

    Raises:
        DataError: the text cannot be read, there is none, or it is too short for a single row.
        UsageError: an archive was given, a part of standard input or without duplicates was asked for, or a library is
            missing.
        ArtifactError: the tokenizer is damaged or none.
        WorkerError: a worker process died; the finished units are kept.
        ResourceError, BusyError: the output cannot be written.
    """
    _check_possible(texts, settings, part)
    source = open_artifact(tokenizer, kinds={"tokenizer"})
    check_output(out)
    with gathered(texts, out, report=report) as sources:
        share = None if part is None else share_of(sources, _pieces(sources, settings), part)
        # A part names its text by the files that it reads: what compares documents all over the corpus must name all.
        numbers = range(len(sources)) if share is None else share.numbers
        hashes = hashes_of_sources([sources[number] for number in numbers], report=report)
        recipe = recipe_of(settings, text=hashes, tokenizer=source.ref("tokenizer"))
        with claim(out, recipe if share is None else part_recipe(recipe, share), report=report) as claimed:
            if claimed.done is not None:
                return Outcome(claimed.done, "up to date", summary_of(claimed.done.spec))
            assert claimed.draft is not None
            draft = claimed.draft
            records, reused = _build(sources, source, draft, settings, report, share=share)
            facts = {"tokenizer": source.content_id} | {key: source.spec[key] for key in ("vocab_size", "special_ids")}
            if share is None:
                outcome = publish(draft, records, settings=settings, facts=facts, sources=len(sources), report=report)
            else:
                files = dict(zip(numbers, hashes, strict=True))
                artifact = publish_part(draft, share, records, spec=spec_of(records, settings, facts), files=files)
                outcome = Outcome(artifact, "resumed" if draft.resumed else "built", summary_of(artifact.spec))
            return replace(outcome, summary={**outcome.summary, "pieces_reused": reused})


def _check_possible(texts: Sequence[Path | str], settings: ShardSettings, part: Part | None) -> None:
    """Raise UsageError where what is asked for cannot be done, or not here."""
    settings.corpus.check()
    if settings.engine == "ray":
        ray_engine.check_installed()
    settings.dedup.check_installed()
    if part is not None and settings.dedup.match != "none":
        raise UsageError(
            "a part cannot leave out duplicates: it reads its own files, and does not know the others' documents",
            code="BAD_PART",
            where="--dedup",
            hint="without --part, on several machines with --engine ray",
        )
    if part is not None and STDIN in map(str, texts):
        raise UsageError(
            "a part of standard input cannot be taken: every part reads its own files",
            code="BAD_INPUT",
            where="--part",
            hint="write the text to files and name those",
        )


def recipe_of(settings: ShardSettings, *, text: Sequence[str], tokenizer: InputRef) -> Recipe:
    """Return the recipe of shards made of files with these hashes, in this order."""
    content = content_of_hashes(text, ordered=True)
    return Recipe(
        kind="shards",
        stage=STAGE,
        stage_version=STAGE_VERSION,
        config=shaping(settings),
        inputs=(InputRef(role="text", kind="text", content_id=content), tokenizer),
        execution=execution(settings),
    )


def _unit_bytes(sources: Sequence[Source], settings: ShardSettings) -> int:
    return settings.unit_bytes or unit_size(sources)


def _pieces(sources: Sequence[Source], settings: ShardSettings) -> list[Piece]:
    """Return the pieces of the whole corpus, the same in every process that is given the same files."""
    from electra_cli.data.corpus import splittable

    size = _unit_bytes(sources, settings)
    return plan_pieces(sources, piece_bytes=size, splittable=partial(splittable, settings=settings.corpus))


def _build(
    sources: Sequence[Source],
    tokenizer: Artifact,
    draft: Draft,
    settings: ShardSettings,
    report: Reporter,
    *,
    share: Share | None,
) -> tuple[list[PieceRecord], int]:
    """Write the units of the corpus, or of a share, into the draft; return their records and how many were there."""
    from electra_cli.data.corpus import nothing_found
    from electra_cli.data.dedup import find_duplicates
    from electra_cli.data.units import discard_torn, tally_of

    pieces = _pieces(sources, settings) if share is None else share.pieces
    if not draft.resumed:
        # A token of English is 4.5 bytes of text, of Chinese 3, and takes 2: a first look, before hours of work.
        need_space(draft.path, bytes=sum(piece.bytes for piece in pieces) * 2 // 3, what="a corpus of this size")
    for part in tokenizer.manifest.files:
        draft.write_bytes(f"tokenizer/{part.path}", tokenizer.file(part.path).read_bytes())
    plan = _plan(sources, draft, settings)
    discard_torn(plan)
    duplicates = find_duplicates(
        pieces,
        folder=draft.path / "dedup",
        corpus=settings.corpus,
        settings=settings.dedup,
        recipe_id=plan.recipe_id,
        engine=_engine(settings),
        workers=_workers(settings),
        report=report,
    )
    plan = replace(plan, duplicates=duplicates)
    records, reused = _write(pieces, plan, settings, report)
    if reused:
        report.note(f"{reused} of {len(pieces)} pieces reused from the interrupted run")
    for record in records:
        for file in record.files:
            draft.add(file.name, rows=file.rows, tokens=file.tokens, sha256=file.sha256)
    if share is None and not any(record.documents for record in records):
        raise nothing_found(sources, tally_of(records))
    return records, reused


def _plan(sources: Sequence[Source], draft: Draft, settings: ShardSettings) -> UnitPlan:
    from electra_cli.data.layouts import RowRule
    from electra_cli.data.units import UnitPlan

    return UnitPlan(
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
        unit_bytes=_unit_bytes(sources, settings),
        val_fraction=settings.val_fraction,
        seed=settings.seed,
    )


def _write(
    pieces: Sequence[Piece], plan: UnitPlan, settings: ShardSettings, report: Reporter
) -> tuple[list[PieceRecord], int]:
    """Write the units of the pieces that are not done yet; return the records of all in order, and how many were."""
    from electra_cli.data.units import finished_piece

    records = {piece.number: record for piece in pieces if (record := finished_piece(plan, piece))}
    reused = len(records)
    missing = [piece for piece in pieces if piece.number not in records]
    total, left = sum(piece.bytes for piece in pieces), sum(piece.bytes for piece in missing)
    with report.progress("sharding", total=total, unit="bytes", done=total - left) as meter:
        if missing:
            for piece, record in _engine(settings)(plan, missing, workers=min(_workers(settings), len(missing))):
                records[piece.number] = record
                meter.advance(piece.bytes)
    return [records[piece.number] for piece in pieces], reused


def _engine(settings: ShardSettings) -> workers.Engine:
    """Return what does the work; a scan of the corpus before it can use the same."""
    return ray_engine.work_through if settings.engine == "ray" else workers.work_through


def _workers(settings: ShardSettings) -> int:
    """Return the number of processes to start; 0 where the cluster decides."""
    return settings.workers or (0 if settings.engine == "ray" else workers.available_cores())
