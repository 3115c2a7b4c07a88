"""Raw text → tokenizer: a vocabulary that is the same to the byte whenever the text is the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import model_validator

from electra_cli.artifacts import Draft, Recipe, check_output, claim
from electra_cli.config import Settings, execution, setting, shaping, table
from electra_cli.data.dedup_settings import DedupSettings
from electra_cli.data.sources import CorpusSettings
from electra_cli.reporting import Reporter
from electra_cli.stages.corpus_words import CorporaSettings, Corpus, CorpusWords, count_words, find_corpora, references
from electra_cli.stages.outcome import Outcome
from electra_cli.stages.tokenizer_spec import summary_of, tokenizer_spec
from electra_cli.text.parts import MAX_EXTRA, MAX_VOCABULARY, Model, WordRules, problem_of_extra

STAGE = "tokenize"
STAGE_VERSION = 1


class TokenizeSettings(Settings):
    """How text is normalised and cut into words, and how large the vocabulary becomes."""

    model: Model = setting(
        "wordpiece",
        "How words become pieces: wordpiece as in BERT and the paper; bpe over bytes, which has no [UNK]; unigram, the "
        "pieces that make the text most probable.",
    )
    vocab_size: int = setting(
        30_522,
        "Entries of the vocabulary, special tokens included. 30,522 is BERT's and ELECTRA's for English, 21,128 BERT's "
        "for Chinese. A text that does not fill it gives a smaller one, with a warning.",
        ge=8,
        le=MAX_VOCABULARY,
    )
    lowercase: bool = setting(True, "Lower-case the text.")
    strip_accents: bool | None = setting(
        None,
        "Remove combining marks after canonical decomposition (é → e, German ü → u; Korean syllables fall apart). "
        "Not given: as `lowercase`, which is BERT's rule.",
    )
    split_cjk: bool = setting(True, "Make every CJK ideograph a word of its own, as BERT does.")
    split_digits: bool = setting(
        False, "Make every digit a word of its own, so that 1945 is four tokens; BERT does not."
    )
    pre_segmented: bool = setting(
        False,
        "Let white space alone separate words, which a segmenter has put there (jieba, MeCab): no cut at punctuation, "
        "and none at ideographs whatever split_cjk says. All later text must be segmented alike.",
    )
    special_tokens: tuple[str, ...] = setting(
        (),
        'Entries after [MASK] that text never becomes, for use of your own, such as ["[DOC]"].',
        max_length=MAX_EXTRA,
    )
    placeholders: tuple[str, ...] = setting(
        (),
        'Strings that stand in the text and are one token each, whatever is around them, such as ["<URL>", "<USER>"]; '
        "matched before the text is lower-cased.",
        max_length=MAX_EXTRA,
    )
    coverage: float = setting(
        0.9999,
        "Share of the text's characters that the alphabet covers; a word with a character outside it is [UNK]. "
        "0.9999 is about 300 characters for English Wikipedia and 8,700 for Chinese, whose characters are words. Not "
        "for bpe, whose alphabet is the 256 bytes.",
        gt=0.0,
        le=1.0,
    )
    limit_alphabet: int | None = setting(
        None,
        "At most this many characters in the alphabet, the most frequent ones, whatever they cover. Not for bpe.",
        ge=1,
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
    dedup: DedupSettings = table(DedupSettings, "Which documents are left out because the corpus had them before.")
    corpora: CorporaSettings = table(CorporaSettings, "How much each of several corpora counts for.")
    workers: int = setting(
        0, "Processes that count words; 0 for one on each core. The result is the same.", shapes=False, ge=0, le=1024
    )

    @model_validator(mode="after")
    def _agree(self) -> TokenizeSettings:
        if self.pre_segmented and self.split_digits:
            raise ValueError("pre_segmented lets white space alone separate words: it cannot go with split_digits")
        if self.model == "bpe" and (self.limit_alphabet is not None or self.coverage != 0.9999):
            raise ValueError("bpe has the 256 bytes as its alphabet: it cannot go with limit_alphabet or coverage")
        seen: set[str] = set()
        for name in (*self.special_tokens, *self.placeholders):
            if problem := problem_of_extra(name, seen):
                raise ValueError(f"{name!r} among special_tokens and placeholders {problem}")
            seen.add(name)
        return self

    def rules(self) -> WordRules:
        """Return the rules by which text becomes words."""
        return WordRules(
            model=self.model,
            lowercase=self.lowercase,
            strip_accents=self.lowercase if self.strip_accents is None else self.strip_accents,
            split_cjk=self.split_cjk and not self.pre_segmented,
            split_digits=self.split_digits,
            pre_segmented=self.pre_segmented,
            placeholders=self.placeholders,
        )


def run(texts: Sequence[Path | str], out: Path, *, settings: TokenizeSettings, report: Reporter) -> Outcome:
    """Build a tokenizer from raw text.

    Args:
        texts: files, folders, glob patterns, or `-` for standard input; their order matters only to `dedup`. With
            weights or a temperature each is a corpus of its own.
        out: folder for the versions of the tokenizer.
        settings: see `TokenizeSettings`.
        report: where progress and warnings go.

    Raises:
        DataError: the text cannot be read or there is none.
        UsageError: an archive was given, the vocabulary is too small for the text's alphabet, weights do not fit, or a
            library is missing.
        WorkerError: a worker process died.
        ResourceError, BusyError: the output cannot be written.
    """
    settings.corpus.check()
    settings.dedup.check_installed()
    check_output(out)
    with find_corpora(texts, out, settings.corpora, report=report) as corpora:
        recipe = Recipe(
            kind="tokenizer",
            stage=STAGE,
            stage_version=STAGE_VERSION,
            config=shaping(settings),
            inputs=references(corpora, settings.corpora, dedup=settings.dedup, report=report),
            execution=execution(settings),
        )
        with claim(out, recipe, report=report) as claimed:
            if claimed.done is not None:
                return Outcome(claimed.done, "up to date", summary_of(claimed.done.spec))
            assert claimed.draft is not None
            return _build(corpora, claimed.draft, settings, report)


def _build(corpora: Sequence[Corpus], draft: Draft, settings: TokenizeSettings, report: Reporter) -> Outcome:
    from electra_cli.text.tokenizer import Tokenizer
    from electra_cli.text.training import assembled, train
    from electra_cli.text.vocabulary import Wanted

    rules = settings.rules()
    counted = _count(corpora, draft, settings, rules=rules, report=report)
    words, tally = counted.bounded.counts, counted.tally
    report.note(f"training on {len(words):,} distinct words from {tally.documents:,} documents")
    if counted.bounded.left_out:
        report.warn(
            f"{counted.bounded.left_out:,} distinct words are left out, each of which occurs less than "
            f"{counted.bounded.least} times (max_distinct_words {settings.max_distinct_words:,})"
        )
    wanted = Wanted(
        size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        coverage=settings.coverage,
        limit_alphabet=settings.limit_alphabet,
        unused=settings.unused,
        extra=(*settings.special_tokens, *settings.placeholders),
    )
    vocabulary = train(words, wanted, rules)
    if len(vocabulary.tokens) < settings.vocab_size:
        report.warn(
            f"the text gives only {len(vocabulary.tokens):,} of the {settings.vocab_size:,} entries wanted; "
            "the tokenizer has that many"
        )
    tokenizer = Tokenizer(
        assembled(
            vocabulary,
            rules,
            special_tokens=settings.special_tokens,
            model_max_length=settings.model_max_length,
        )
    )
    for name, data in tokenizer.files().items():
        draft.write_bytes(name, data)
    spec = tokenizer_spec(tokenizer, alphabet=vocabulary.alphabet)
    provenance: dict[str, Any] = {
        **_text_counts(corpora, counted),
        "alphabet_coverage": vocabulary.coverage,
        "unknown_words": vocabulary.unknown_words,
    }
    artifact = draft.publish(spec=spec, provenance=provenance)
    summary = {**summary_of(spec), "documents": tally.documents, "unknown_words": vocabulary.unknown_words}
    return Outcome(artifact, "resumed" if draft.resumed else "built", summary)


def _count(
    corpora: Sequence[Corpus], draft: Draft, settings: TokenizeSettings, *, rules: WordRules, report: Reporter
) -> CorpusWords:
    """Count the words of the corpora, without the documents that are to be left out."""
    from electra_cli.data.counting import CountJob
    from electra_cli.data.dedup import find_duplicates
    from electra_cli.data.workers import available_cores, work_through

    duplicates_in = partial(
        find_duplicates,
        folder=draft.path / "dedup",
        corpus=settings.corpus,
        settings=settings.dedup,
        recipe_id=draft.recipe.recipe_id,
        engine=work_through,
        workers=settings.workers or available_cores(),
        report=report,
    )
    return count_words(
        corpora,
        CountJob(draft.path / "words", settings.corpus, rules),
        settings.corpora,
        duplicates_in=duplicates_in,
        limit=settings.max_distinct_words,
        workers=settings.workers,
        report=report,
    )


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
