"""What `--dedup near` leaves out of a corpus beside the true similarity of all pairs of its documents.

    python benchmarks/dedup_truth.py zhwiki/AA

The truth is found in another way: sets of shingles cut by loops over characters, and all pairs of at least 0.7 by
prefix filtering (Chaudhuri, Ganti and Kaushik 2006), which misses none. It holds all shingles in memory: for tens of
megabytes. Prints, for ranges of the similarity of a document to the most similar one before it, how many documents
there are and how many are left out.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run as a script, the package must be found

from electra_cli.data.corpus import Tally, read_documents  # noqa: E402
from electra_cli.data.dedup_decide import EXACT, NEAR, Scans, decide  # noqa: E402
from electra_cli.data.dedup_scan import ScanFolder, Scanner  # noqa: E402
from electra_cli.data.shingles import UNSPACED  # noqa: E402
from electra_cli.data.sources import CorpusSettings, find_sources  # noqa: E402
from electra_cli.reporting import Silent  # noqa: E402
from electra_cli.text.boundaries import CONTROLS, PUNCTUATION, SEPARATORS  # noqa: E402

THRESHOLD, SHINGLE, LEAST = 0.8, 5, 0.7
RANGES = ((0.7, 0.75), (0.75, 0.8), (0.8, 0.85), (0.85, 0.9), (0.9, 1.01))


@cache
def cuts(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in SEPARATORS + PUNCTUATION + CONTROLS)


@cache
def stands_alone(character: str) -> bool:
    return not cuts(character) and any(first <= ord(character) <= last for first, last in UNSPACED)


def shingles_of(text: str) -> set[tuple[str, ...]]:
    units, word = [], ""
    for character in text + "\n":
        if (cuts(character) or stands_alone(character)) and word:
            units.append(word)
            word = ""
        if stands_alone(character):
            units.append(character)
        elif not cuts(character):
            word += character.lower()
    return {tuple(units[start : start + SHINGLE]) for start in range(len(units) - SHINGLE + 1)}


def nearest_before(texts: list[str]) -> list[float]:
    """The largest similarity of each document to one before it, 0 where it is below `LEAST`."""
    documents = [shingles_of(text) for text in texts]
    often = Counter(shingle for shingles in documents for shingle in shingles)
    having: dict[tuple[str, ...], list[int]] = defaultdict(list)
    found = []
    for number, shingles in enumerate(documents):
        rarest = sorted(shingles, key=lambda shingle: (often[shingle], shingle))
        prefix = rarest[: len(rarest) - math.ceil(LEAST * len(rarest)) + 1] if rarest else []
        others = {other for shingle in prefix for other in having[shingle]}
        similar = (len(shingles & documents[other]) / len(shingles | documents[other]) for other in others)
        nearest = max(similar, default=0.0)
        found.append(nearest if nearest >= LEAST else 0.0)
        for shingle in prefix:
            having[shingle].append(number)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path)
    sources = find_sources(parser.parse_args().texts, report=Silent())
    documents = list(read_documents(sources, CorpusSettings(), tally=Tally(), report=Silent()))
    with tempfile.TemporaryDirectory() as folder:
        scans = ScanFolder(Path(folder) / "scans", "benchmark", SHINGLE)
        record = Scanner(scans).scan(0, documents)
        verdicts = decide(Scans(scans, [record]), Path(folder) / "work", threshold=THRESHOLD).tolist()
    nearest = nearest_before(["\n".join(document.lines) for document in documents])
    print(f"{len(documents)} documents, {verdicts.count(EXACT)} exact duplicates")
    for low, high in ((0.0, LEAST), *RANGES):
        found = [number for number, value in enumerate(nearest) if low <= value < high and verdicts[number] != EXACT]
        print(f"{low:.2f} to {min(high, 1):.2f}: {len(found)}, {sum(verdicts[n] == NEAR for n in found)} left out")


if __name__ == "__main__":
    main()
