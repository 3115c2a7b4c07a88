"""Raw text → tokenizer: a WordPiece vocabulary that is the same to the byte whenever the text is the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electra_cli.artifacts import Draft, Recipe, check_output, claim
from electra_cli.config import Settings, execution, setting, shaping, table
from electra_cli.data.sources import CorpusSettings
from electra_cli.reporting import Reporter
from electra_cli.stages.corpus_words import CorporaSettings, Corpus, CorpusWords, count_words, find_corpora, references
from electra_cli.stages.outcome import Outcome

STAGE = "tokenize"
STAGE_VERSION = 1


class TokenizeSettings(Settings):
    """How text is normalised and how large the vocabulary becomes."""

    vocab_size: int = setting(
        30_522,
        "Entries of the vocabulary, special tokens included. 30,522 is BERT's and ELECTRA's for English, 21,128 BERT's "
        "for Chinese. A text that does not fill it gives a smaller one, with a warning.",
        ge=8,
        le=1_000_000,
    )
    lowercase: bool = setting(True, "Lower-case the text.")
    strip_accents: bool | None = setting(
        None,
        "Remove combining marks after canonical decomposition (é → e, German ü → u; Korean syllables fall apart). "
        "Not given: as `lowercase`, which is BERT's rule.",
    )
    split_cjk: bool = setting(True, "Make every CJK ideograph a word of its own, as BERT does.")
    coverage: float = setting(
        0.9999,
        "Share of the text's characters that the alphabet covers; a word with a character outside it is [UNK]. "
        "0.9999 is about 300 characters for English Wikipedia and 8,700 for Chinese, whose characters are words.",
        gt=0.0,
        le=1.0,
    )
    limit_alphabet: int | None = setting(
        None, "At most this many characters in the alphabet, the most frequent ones, whatever they cover.", ge=1
    )
    min_frequency: int = setting(2, "A piece of several characters must occur at least this often.", ge=1)
    unused: int = setting(
        0, "Number of [unusedN] slots after [PAD], for tokens of your own; BERT has 99.", ge=0, le=10_000
    )
    model_max_length: int = setting(
        512, "Longest input in tokens that `transformers` should allow with these files.", ge=8, le=2**16
    )
    max_distinct_words: int = setting(
        5_000_000,
        "Where the text has more distinct words, the rarest are left out, by their final counts: those that occur less "
        "than n times, for the smallest n that is enough. The manifest says so. One takes about 130 bytes of memory.",
        ge=1000,
        le=10**9,
    )
    corpus: CorpusSettings = table(CorpusSettings, "How the text is read.")
    corpora: CorporaSettings = table(CorporaSettings, "How much each of several corpora counts for.")
    workers: int = setting(
        0, "Processes that count words; 0 for one on each core. The result is the same.", shapes=False, ge=0, le=1024
    )


def run(texts: Sequence[Path | str], out: Path, *, settings: TokenizeSettings, report: Reporter) -> Outcome:
    """Build a tokenizer from raw text.

    Args:
        texts: files, folders, glob patterns, or `-` for standard input; their order does not matter. With weights or a
            temperature each is a corpus of its own.
        out: folder for the versions of the tokenizer.
        settings: see `TokenizeSettings`.
        report: where progress and warnings go.

    Raises:
        DataError: the text cannot be read or there is none.
        UsageError: an archive was given, or the vocabulary is too small for the text's alphabet, or weights do not fit.
        WorkerError: a worker process died.
        ResourceError, BusyError: the output cannot be written.
    """
    settings.corpus.check()
    check_output(out)
    with find_corpora(texts, out, settings.corpora, report=report) as corpora:
        recipe = Recipe(
            kind="tokenizer",
            stage=STAGE,
            stage_version=STAGE_VERSION,
            config=shaping(settings),
            inputs=references(corpora, settings.corpora, report=report),
            execution=execution(settings),
        )
        with claim(out, recipe, report=report) as claimed:
            if claimed.done is not None:
                return Outcome(claimed.done, "up to date", _summary(claimed.done.spec))
            assert claimed.draft is not None
            return _build(corpora, claimed.draft, settings, report)


def _build(corpora: Sequence[Corpus], draft: Draft, settings: TokenizeSettings, report: Reporter) -> Outcome:
    from electra_cli.data.counting import CountJob
    from electra_cli.text.tokenizer import Tokenizer
    from electra_cli.text.wordpiece import train

    strip_accents = settings.lowercase if settings.strip_accents is None else settings.strip_accents
    job = CountJob(
        folder=draft.path / "words",
        corpus=settings.corpus,
        lowercase=settings.lowercase,
        strip_accents=strip_accents,
        split_cjk=settings.split_cjk,
    )
    limit, workers = settings.max_distinct_words, settings.workers
    counted = count_words(corpora, job, settings.corpora, limit=limit, workers=workers, report=report)
    words, tally = counted.bounded.counts, counted.tally
    report.note(f"training on {len(words):,} distinct words from {tally.documents:,} documents")
    if counted.bounded.left_out:
        report.warn(
            f"{counted.bounded.left_out:,} distinct words are left out, each of which occurs less than "
            f"{counted.bounded.least} times (max_distinct_words {limit:,})"
        )
    vocabulary = train(
        words,
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        coverage=settings.coverage,
        limit_alphabet=settings.limit_alphabet,
        unused=settings.unused,
    )
    if len(vocabulary.tokens) < settings.vocab_size:
        report.warn(
            f"the text gives only {len(vocabulary.tokens):,} of the {settings.vocab_size:,} entries wanted; "
            "the tokenizer has that many"
        )
    tokenizer = Tokenizer.from_vocab(
        vocabulary.tokens,
        lowercase=settings.lowercase,
        strip_accents=strip_accents,
        split_cjk=settings.split_cjk,
        model_max_length=settings.model_max_length,
    )
    for name, data in tokenizer.files().items():
        draft.write_bytes(name, data)
    spec = {
        "vocab_size": tokenizer.vocab_size,
        "special_ids": tokenizer.special_table(),
        "lowercase": settings.lowercase,
        "strip_accents": strip_accents,
        "split_cjk": settings.split_cjk,
        "alphabet": vocabulary.alphabet,
    }
    provenance: dict[str, Any] = {
        **_text_counts(corpora, counted),
        "alphabet_coverage": vocabulary.coverage,
        "unknown_words": vocabulary.unknown_words,
    }
    artifact = draft.publish(spec=spec, provenance=provenance)
    summary = {**_summary(spec), "documents": tally.documents, "unknown_words": vocabulary.unknown_words}
    return Outcome(artifact, "resumed" if draft.resumed else "built", summary)


def _text_counts(corpora: Sequence[Corpus], counted: CorpusWords) -> dict[str, Any]:
    """What was read and counted, for the manifest."""
    tally, words = counted.tally, counted.bounded
    found: dict[str, Any] = {
        "corpus": {
            "files": sum(len(corpus.sources) for corpus in corpora),
            "documents": tally.documents,
            "lines": tally.lines,
            "characters": tally.characters,
            "dropped": dict(sorted(tally.dropped.items())),
        },
        "words": sum(words.counts.values()),
        "distinct_words": len(words.counts),
    }
    if counted.parts:
        found["corpora"] = counted.parts
    if words.left_out:
        left_out = {"less_than": words.least, "distinct": words.left_out, "occurrences": words.occurrences_left_out}
        found["rare_words_left_out"] = left_out
    return found


def _summary(spec: dict[str, Any]) -> dict[str, Any]:
    return {name: spec[name] for name in ("vocab_size", "alphabet")}
