"""What one needs to know of a tokenizer to choose it: its vocabulary, and what it makes of a text of the user's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra_cli.artifacts import Artifact
from electra_cli.config import Settings, setting, table
from electra_cli.data.sources import CorpusSettings, Source, find_sources
from electra_cli.reporting import Reporter
from electra_cli.text.anatomy import Anatomy, anatomy_of
from electra_cli.text.parts import TokenizerParts
from electra_cli.text.tokenizer_files import read_parts

if TYPE_CHECKING:
    from electra_cli.data.corpus import Tally
    from electra_cli.text.differences import Difference
    from electra_cli.text.tokenizer import Tokenizer
    from electra_cli.text.usage import Usage

GIGABYTE = 1_000_000_000
ROW_LENGTHS = (128, 512)
"""Tokens a row in the paper: of small, of base and large."""
_SPECIALS_A_ROW = 3  # [CLS] A [SEP] B [SEP]
_BATCH = 100_000  # words encoded at once: some ten megabytes


class InspectSettings(Settings):
    """What is shown of a tokenizer, and how the text is read."""

    examples: int = setting(10, "Entries of each list: longest and rarest pieces, missing characters.", ge=1, le=1000)
    corpus: CorpusSettings = table(CorpusSettings, "How the text is read.")


@dataclass(frozen=True)
class TextFigures:
    """What was read, in numbers; bytes are UTF-8 with a line end each, `dropped` says what was left out and why."""

    files: int
    documents: int
    lines: int
    characters: int
    bytes: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class Inspected:
    """One tokenizer: its artifact, its parts, its vocabulary taken apart, and the usage of a text if one was named."""

    artifact: Artifact
    parts: TokenizerParts
    anatomy: Anatomy
    usage: Usage | None

    def expected(self, bytes_read: int) -> dict[str, int]:
        """Return the tokens, and the full rows of each length, that a gigabyte of such text would give."""
        assert self.usage is not None
        tokens = self.usage.tokens * GIGABYTE // max(bytes_read, 1)
        rows = {f"rows_of_{length}": tokens // (length - _SPECIALS_A_ROW) for length in ROW_LENGTHS}
        return {"tokens": tokens, **rows}


@dataclass(frozen=True)
class Inspection:
    """Everything found out: of each tokenizer, of the text (if one was named), and of two tokenizers on it.

    Attributes:
        tokenizers: one or two.
        text: None where no text was named.
        words_apart: words of the text that the two cut differently.
        differences: the most frequent of them.
    """

    tokenizers: tuple[Inspected, ...]
    text: TextFigures | None = None
    words_apart: int = 0
    differences: tuple[Difference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all of it, the unused entries whole, as one object for programs."""
        found: dict[str, Any] = {"tokenizers": [self._one(item) for item in self.tokenizers]}
        if self.text is not None:
            found["text"] = asdict(self.text)
            if len(self.tokenizers) == 2:
                examples = [asdict(item) for item in self.differences]
                found["differences"] = {"words": self.words_apart, "examples": examples}
        return found

    def _one(self, item: Inspected) -> dict[str, Any]:
        body = {
            "path": str(item.artifact.path),
            "content_id": item.artifact.content_id,
            "spec": dict(item.artifact.spec),
            "vocabulary": asdict(item.anatomy),
        }
        if item.usage is not None and self.text is not None:
            body |= {"usage": asdict(item.usage), "per_gigabyte": item.expected(self.text.bytes)}
        return body


def inspect(
    tokenizers: Sequence[Artifact], texts: Sequence[Path | str], *, settings: InspectSettings, report: Reporter
) -> Inspection:
    """Look at one or two tokenizers, and at what they make of `texts` if any are named.

    Memory grows with the distinct words of the text, not with its size.

    Args:
        tokenizers: one or two artifacts of that kind.
        texts: files, folders or glob patterns; none: only the vocabularies are looked at.
        settings: see `InspectSettings`.
        report: where progress and warnings go.

    Raises:
        ArtifactError: a tokenizer's files are damaged.
        DataError: the text cannot be read or there is none.
        UsageError: an archive was given.
    """
    settings.corpus.check()
    parts = [read_parts(artifact.path) for artifact in tokenizers]
    anatomies = [anatomy_of(each, examples=settings.examples) for each in parts]
    if not texts:
        found = zip(tokenizers, parts, anatomies, strict=True)
        return Inspection(tuple(Inspected(*each, usage=None) for each in found))
    return _on_text(tokenizers, parts, anatomies, find_sources(texts, report=report), settings, report)


def _on_text(
    artifacts: Sequence[Artifact],
    parts: Sequence[TokenizerParts],
    anatomies: Sequence[Anatomy],
    sources: Sequence[Source],
    settings: InspectSettings,
    report: Reporter,
) -> Inspection:
    from electra_cli.data.corpus import Tally
    from electra_cli.text.differences import Differences
    from electra_cli.text.tokenizer import Tokenizer
    from electra_cli.text.usage import UsageCounter

    loaded = [Tokenizer(each) for each in parts]
    tally = Tally()
    counts, size = _counted(sources, loaded, settings, tally, report)
    counters = [UsageCounter(each) for each in loaded]
    apart = Differences(loaded[0], loaded[-1], examples=settings.examples)
    with report.progress("encoding words", total=len(counts), unit="words") as meter:
        for words, times in _batches(counts):
            encoded = [counter.add(words, times) for counter in counters]
            if len(loaded) == 2:
                apart.add(words, times, *encoded)
            meter.advance(len(words))
    usages = [counter.usage(examples=settings.examples) for counter in counters]
    return Inspection(
        tuple(Inspected(*each) for each in zip(artifacts, parts, anatomies, usages, strict=True)),
        TextFigures(
            len(sources), tally.documents, tally.lines, tally.characters, size, dict(sorted(tally.dropped.items()))
        ),
        apart.words,
        tuple(apart.examples),
    )


def _counted(
    sources: Sequence[Source],
    tokenizers: Sequence[Tokenizer],
    settings: InspectSettings,
    tally: Tally,
    report: Reporter,
) -> tuple[dict[str, int], int]:
    """Return the distinct words of the text with their counts, cut only where every tokenizer cuts, and its bytes."""
    from electra_cli.data.corpus import read_documents
    from electra_cli.data.words import ChunkCounter
    from electra_cli.text.boundaries import CutRule

    rules = [tokenizer.cut_rule for tokenizer in tokenizers]
    common = CutRule(all(rule.punctuation for rule in rules), all(rule.ideographs for rule in rules))
    counter = ChunkCounter(rule=common)
    size = 0
    for document in read_documents(sources, settings.corpus, tally=tally, report=report):
        counter.add(document.lines)
        size += sum(len(line) if line.isascii() else len(line.encode()) for line in document.lines) + len(
            document.lines
        )
    return counter.total(), size


def _batches(counts: dict[str, int]) -> Iterator[tuple[list[str], Any]]:
    """Yield words and counts, the most frequent first, so that the first difference found is the most frequent."""
    import numpy as np

    words = sorted(counts, key=lambda word: (-counts[word], word))
    for start in range(0, len(words), _BATCH):
        batch = words[start : start + _BATCH]
        yield batch, np.array([counts[word] for word in batch], dtype=np.int64)
