"""The words of one corpus, or of several that count for different shares, as training wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import field_validator, model_validator

from electra_cli.artifacts import InputRef
from electra_cli.config import Settings, setting
from electra_cli.data.dedup_settings import DedupSettings
from electra_cli.data.sources import STDIN, Source, content_of_sources, find_sources, gathered
from electra_cli.data.stores import without_secrets
from electra_cli.errors import UsageError
from electra_cli.reporting import Reporter

if TYPE_CHECKING:
    from electra_cli.data.corpus import Tally
    from electra_cli.data.counting import CountJob
    from electra_cli.data.dedup import Duplicates
    from electra_cli.data.pieces import Piece
    from electra_cli.data.word_tables import BoundedWords, WordTable

PIECE_BYTES = 16 * 1024 * 1024
"""Text of one piece of counting, at least, and for each process: for less it is not worth its start."""


class CorporaSettings(Settings):
    """How much each of several corpora counts for; each argument of the command is a corpus then."""

    weights: tuple[float, ...] | None = setting(
        None,
        "A weight for each corpus, in the order of the arguments: its share of the characters that the vocabulary is "
        "made from. Not given, and no temperature: everything is one corpus.",
        min_length=1,
    )
    temperature: float | None = setting(
        None,
        "Weigh each corpus by its characters to the power of 1/temperature: 1 leaves them as they are, more helps the "
        "small ones. Multilingual BERT's exponent 0.7 is 1.43, XLM's 0.5 is 2, XLM-R's 0.3 is 3.33.",
        ge=1.0,
        le=1000.0,
    )
    names: tuple[str, ...] | None = setting(
        None, "Names of the corpora for the manifest; not given: those of the arguments.", shapes=False
    )

    @field_validator("weights")
    @classmethod
    def _positive(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights is not None and min(weights) <= 0:
            raise ValueError("every weight must be more than 0")
        return weights

    @model_validator(mode="after")
    def _one_rule(self) -> CorporaSettings:
        if self.weights is not None and self.temperature is not None:
            raise ValueError("weights and temperature exclude each other")
        if self.names is not None and not self.grouped:
            raise ValueError("names are for several corpora: give weights or a temperature too")
        return self

    @property
    def grouped(self) -> bool:
        """Whether each argument is a corpus of its own."""
        return self.weights is not None or self.temperature is not None


@dataclass(frozen=True)
class Corpus:
    """The files of one corpus; `name` is None where there is only one."""

    name: str | None
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class CorpusWords:
    """What training gets, and what the manifest says of where it came from.

    Attributes:
        bounded: words and their counts, weighed.
        tally: everything that was read.
        parts: of each of several corpora its name, files, documents, characters, share and factor; empty for one.
    """

    bounded: BoundedWords
    tally: Tally
    parts: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def find_corpora(
    texts: Sequence[Path | str], out: Path, settings: CorporaSettings, *, report: Reporter
) -> Iterator[list[Corpus]]:
    """Find the files of every corpus: of all arguments together, or of each where they are weighed.

    Raises:
        DataError: a file is not there or not readable.
        UsageError: numbers of corpora, weights and names differ, or a file belongs to two corpora.
    """
    if not settings.grouped:
        with gathered(texts, out, report=report) as sources:
            yield [Corpus(None, tuple(sources))]
        return
    for what, given in (("weights", settings.weights), ("names", settings.names)):
        if given is not None and len(given) != len(texts):
            raise UsageError(
                f"{len(given)} {what} for {len(texts)} corpora",
                code="BAD_WEIGHTS",
                where=f"corpora.{what}",
                hint="each argument is a corpus here: a file, a folder, or a glob pattern in quotes",
            )
    if STDIN in map(str, texts):
        raise UsageError("- (standard input) cannot be one of several corpora", code="BAD_INPUT", hint="name files")
    names = settings.names or tuple(_name(str(text)) for text in texts)
    found = [Corpus(name, tuple(find_sources([text], report=report))) for name, text in zip(names, texts, strict=True)]
    owner: dict[str, str | None] = {}
    for corpus in found:
        for source in corpus.sources:
            other = owner.setdefault(source.place, corpus.name)
            if other is not corpus.name:
                raise UsageError(
                    f"belongs to two corpora, {other} and {corpus.name}", code="BAD_WEIGHTS", where=source.label
                )
    yield found


def _name(text: str) -> str:
    shown = without_secrets(text)
    return Path(shown).name or shown


def references(
    corpora: Sequence[Corpus], settings: CorporaSettings, *, dedup: DedupSettings, report: Reporter
) -> tuple[InputRef, ...]:
    """Return what the recipe says of the text: the content of each corpus, in an order only where it matters.

    The first of exact duplicates says the same as the others, but may be in another corpus; of near ones it does not.
    """
    ordered = dedup.match == "near"
    contents = [content_of_sources(corpus.sources, ordered=ordered, report=report) for corpus in corpora]
    if settings.weights is None and dedup.match == "none":
        contents.sort()
    return tuple(InputRef(role="text", kind="text", content_id=content) for content in contents)


def count_words(
    corpora: Sequence[Corpus],
    job: CountJob,
    settings: CorporaSettings,
    *,
    duplicates_in: Callable[[Sequence[Piece]], Duplicates | None],
    limit: int,
    workers: int,
    report: Reporter,
) -> CorpusWords:
    """Count the words of all corpora in `workers` processes (0: one on each core), and weigh them.

    Args:
        corpora: see `find_corpora`.
        job: how the words of a piece are counted.
        settings: how the corpora are weighed.
        duplicates_in: finds the documents to leave out of all corpora together, in their order.
        limit: distinct words that are held in memory, and that training gets.
        workers: processes; the result is the same.
        report: where progress goes.

    Raises:
        DataError: the text is damaged, or a corpus holds no document.
        WorkerError: a worker process died.
        UsageError: `limit` is too small.
    """
    from electra_cli.data.corpus import Tally, nothing_found
    from electra_cli.data.word_tables import bounded, weighted

    pieces, owners = _pieces_of(corpora, job)
    job = replace(job, duplicates=duplicates_in(pieces))
    tables, tallies = _counted(pieces, owners, job, limit=limit, workers=workers, report=report)
    everything = Tally()
    for corpus, tally in zip(corpora, tallies, strict=True):
        if not tally.documents:
            raise nothing_found(corpus.sources, tally)
        everything.add(tally)
    if not settings.grouped:
        return CorpusWords(bounded(tables[0].items, limit), everything)
    shares, factors = _weights([tally.characters for tally in tallies], settings)
    parts = [
        {
            "name": corpus.name,
            "files": len(corpus.sources),
            "documents": tally.documents,
            "characters": tally.characters,
            "weight": float(share),
            "factor": float(factor),
        }
        for corpus, tally, share, factor in zip(corpora, tallies, shares, factors, strict=True)
    ]
    return CorpusWords(bounded(lambda: weighted(tables, factors), limit), everything, parts)


def _weights(characters: Sequence[int], settings: CorporaSettings) -> tuple[list[Fraction], list[Fraction]]:
    """Return the share of each corpus, and what its counts are multiplied by."""
    from electra_cli.data.corpus_weights import exact, factors, smoothed

    if settings.temperature is not None:
        weights = smoothed(characters, settings.temperature)
    else:
        assert settings.weights is not None
        weights = exact(settings.weights)
    whole = sum(weights)
    return [weight / whole for weight in weights], factors(characters, weights)


def _pieces_of(corpora: Sequence[Corpus], job: CountJob) -> tuple[list[Piece], list[int]]:
    """Return the pieces of all corpora, numbered through, and the number of the corpus of each."""
    from electra_cli.data.corpus import splittable
    from electra_cli.data.pieces import plan_pieces, unit_size

    pieces: list[Piece] = []
    owners: list[int] = []
    for owner, corpus in enumerate(corpora):
        size = max(PIECE_BYTES, unit_size(corpus.sources))
        for piece in plan_pieces(corpus.sources, piece_bytes=size, splittable=partial(splittable, settings=job.corpus)):
            pieces.append(replace(piece, number=len(pieces)))
            owners.append(owner)
    return pieces, owners


def _counted(
    pieces: Sequence[Piece], owners: Sequence[int], job: CountJob, *, limit: int, workers: int, report: Reporter
) -> tuple[list[WordTable], list[Tally]]:
    """Count the words of every corpus by itself."""
    from electra_cli.data.corpus import Tally
    from electra_cli.data.word_tables import WordTable
    from electra_cli.data.workers import available_cores, work_through

    corpora = max(owners) + 1  # none is without a piece
    tables = [WordTable(job.folder, f"corpus-{number}", limit=limit) for number in range(corpora)]
    tallies = [Tally() for _ in range(corpora)]
    total = sum(piece.bytes for piece in pieces)
    crew = min(workers or available_cores(), len(pieces), -(-total // PIECE_BYTES) or 1)
    with report.progress("counting words", total=total, unit="bytes") as meter:
        for piece, found in work_through(job, pieces, workers=crew):
            owner = owners[piece.number]
            tables[owner].add(found.items())
            tables[owner].adopt(found.runs)
            tallies[owner].add(found.tally)
            meter.advance(piece.bytes)
    return tables, tallies
