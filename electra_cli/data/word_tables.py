"""Counts of distinct words in bounded memory: what does not fit is written to disk in sorted runs and merged exactly.

Counts are only ever added up, so that it does not matter who counted what, when, and what was written in between.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from math import lcm
from operator import itemgetter
from pathlib import Path

from electra_cli.artifacts.storage import storage_errors
from electra_cli.errors import UsageError

_OPEN_RUNS = 64  # merged at a time: few enough for any limit of open files

Item = tuple[str, int]


class WordTable:
    """Words and their counts; more than `limit` distinct words are kept in files.

    Args:
        folder: where runs are written; it is made when there is one.
        name: what the names of its runs begin with; no other table may have it.
        limit: distinct words held in memory.
    """

    def __init__(self, folder: Path, name: str, *, limit: int) -> None:
        self._folder, self._name, self._limit = folder, name, limit
        self._held: dict[str, int] = {}
        self._runs: list[Path] = []
        self._written = 0

    @property
    def in_memory(self) -> bool:
        """Whether nothing was written."""
        return not self._runs

    def add(self, words: Iterable[Item]) -> None:
        """Add counts."""
        held = self._held
        count_of = held.get
        for word, count in words:
            held[word] = count_of(word, 0) + count
        if len(held) > self._limit:
            self.write()

    def adopt(self, runs: Iterable[Path]) -> None:
        """Add the counts of runs that another table wrote; they belong to this one now."""
        self._runs += runs
        if len(self._runs) >= _OPEN_RUNS:
            runs, self._runs = self._runs, []
            self._write(_summed(_read(run) for run in runs))
            for run in runs:
                run.unlink()

    def write(self) -> list[Path]:
        """Write what is held in memory; return all runs."""
        if self._held:
            held, self._held = self._held, {}
            self._write((word, held[word]) for word in sorted(held))
        return self._runs

    def items(self) -> Iterator[Item]:
        """Yield every word once with its count; sorted if there are runs."""
        yield from self.sorted_items() if self._runs else self._held.items()

    def sorted_items(self) -> Iterator[Item]:
        """Yield every word once with its count, by code points."""
        held = ((word, self._held[word]) for word in sorted(self._held))
        yield from _summed([held, *map(_read, self._runs)]) if self._runs else held

    def _write(self, items: Iterable[Item]) -> None:
        path = self._folder / f"{self._name}-{self._written}.words"
        with storage_errors(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{count} {word}\n" for word, count in items)
        self._written += 1
        self._runs.append(path)


@dataclass(frozen=True)
class BoundedWords:
    """The words that training sees.

    Attributes:
        counts: words and their counts.
        least: words that occur less often were left out; 1 where none were.
        left_out: how many distinct words were left out.
        occurrences_left_out: how many words of the text that are.
    """

    counts: dict[str, int]
    least: int = 1
    left_out: int = 0
    occurrences_left_out: int = 0


def bounded(items: Callable[[], Iterator[Item]], limit: int) -> BoundedWords:
    """Return all words, or where there are more than `limit`, those that occur at least n times for the smallest n that
    leaves no more. The final counts alone decide, not the order in which they were found.

    Raises:
        UsageError: even the most frequent words, which occur equally often, are too many.
    """
    counts: dict[str, int] = {}
    words_with: Counter[int] = Counter()
    for word, count in items():
        words_with[count] += 1
        if len(counts) <= limit:
            counts[word] = count
    if len(counts) <= limit:
        return BoundedWords(counts)
    del counts
    kept = least = 0
    for count in sorted(words_with, reverse=True):
        if kept + words_with[count] > limit:
            break
        kept += words_with[count]
        least = count
    if not kept:
        raise UsageError(
            f"the {words_with[max(words_with)]:,} most frequent words occur equally often, more than {limit:,}",
            code="TOO_MANY_WORDS",
            where="max_distinct_words",
            hint="raise it: --set max_distinct_words=…",
        )
    lost = {count: number for count, number in words_with.items() if count < least}
    return BoundedWords(
        {word: count for word, count in items() if count >= least},
        least,
        sum(lost.values()),
        sum(count * number for count, number in lost.items()),
    )


def weighted(tables: Sequence[WordTable], factors: Sequence[Fraction]) -> Iterator[Item]:
    """Yield the words of several tables, counts multiplied by each table's factor, added up and then rounded half up.

    Exact: no floating-point number is involved. Words that round to nothing are left out. Sorted by code points.
    """
    whole = lcm(*(factor.denominator for factor in factors))

    def scaled(table: WordTable, factor: Fraction) -> Iterator[Item]:
        times = factor.numerator * (whole // factor.denominator)
        return ((word, count * times) for word, count in table.sorted_items())

    for word, total in _summed(map(scaled, tables, factors)):
        if count := (2 * total + whole) // (2 * whole):
            yield word, count


def _summed(streams: Iterable[Iterator[Item]]) -> Iterator[Item]:
    """Merge sorted streams and add up the counts of equal words."""
    for word, same in groupby(heapq.merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
        yield word, sum(count for _, count in same)


def _read(path: Path) -> Iterator[Item]:
    with storage_errors(path), open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            count, _, word = line.partition(" ")
            yield word[:-1], int(count)
