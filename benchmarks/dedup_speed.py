"""How fast duplicates are found in one process, how many there are, and in how much memory that is decided.

    python benchmarks/dedup_speed.py enwiki/AA
    python benchmarks/dedup_speed.py --documents 2000000
    python benchmarks/dedup_speed.py --libraries

The first prints CPU seconds of reading, scanning and deciding, and what is left out of a corpus. The second makes up
signatures of so many documents (a tenth of them near-duplicates) and prints the seconds and the peak memory of deciding
alone. The third compares the libraries that make signatures, and needs datasketch. One JSON object on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")
sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run as a script, the package must be found

import numpy as np  # noqa: E402

from electra_cli.data.corpus import Tally  # noqa: E402
from electra_cli.data.dedup import REASONS  # noqa: E402
from electra_cli.data.dedup_decide import Scans, decide  # noqa: E402
from electra_cli.data.dedup_scan import NEAR_ENTRY, ScanFolder, Scanner, ScanRecord  # noqa: E402
from electra_cli.data.pieces import plan_pieces, read_piece, unit_size  # noqa: E402
from electra_cli.data.sources import CorpusSettings, find_sources  # noqa: E402
from electra_cli.reporting import Silent  # noqa: E402

THRESHOLD, SHINGLE = 0.8, 5


def of_corpus(texts: list[Path], folder: Path) -> dict[str, Any]:
    sources = find_sources(texts, report=Silent())
    pieces = plan_pieces(sources, piece_bytes=unit_size(sources))
    megabytes = sum(source.bytes for source in sources) / 1e6
    started = time.process_time()
    for piece in pieces:
        for _ in read_piece(piece, CorpusSettings(), tally=Tally()):
            pass
    reading = time.process_time() - started
    found: dict[str, Any] = {"megabytes": round(megabytes, 1), "read": {"cpu_seconds": round(reading, 2)}}
    for name, shingle in (("exact", None), ("near", SHINGLE)):
        scans = ScanFolder(folder / name, "benchmark", shingle)
        started = time.process_time()
        scanner = Scanner(scans)
        records = [scanner.scan(piece.number, read_piece(piece, CorpusSettings(), tally=Tally())) for piece in pieces]
        scanning = time.process_time() - started
        started = time.process_time()
        threshold = None if shingle is None else THRESHOLD
        verdicts = decide(Scans(scans, records), folder / "work", threshold=threshold)
        found[name] = {
            "scan_cpu_seconds": round(scanning, 2),
            "scan_megabytes_a_second": round(megabytes / scanning, 1),
            "decide_cpu_seconds": round(time.process_time() - started, 2),
            "documents": len(verdicts),
            **counts_of(verdicts),
        }
    return found


def of_signatures(documents: int, folder: Path) -> dict[str, Any]:
    scans = ScanFolder(folder, "benchmark", SHINGLE)
    rng = np.random.default_rng(0)
    records = []
    for number, start in enumerate(range(0, documents, 100_000)):
        entries = np.zeros(min(100_000, documents - start), dtype=NEAR_ENTRY)
        entries["digest"] = rng.integers(0, 2**63, size=entries["digest"].shape, dtype=np.uint64)
        entries["signature"] = rng.integers(0, 256, size=entries["signature"].shape, dtype=np.uint8)
        near = rng.permutation(len(entries))[: len(entries) // 5]
        copied, copy = np.split(near[: len(near) // 2 * 2], 2)
        entries["signature"][copy] = entries["signature"][copied]
        entries["signature"][copy, ::10] = 0
        entries.tofile(scans.file(number))
        records.append(ScanRecord(number, "benchmark", len(entries), ""))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    verdicts = decide(Scans(scans, records), folder / "work", threshold=THRESHOLD)
    return {
        "documents": documents,
        "cpu_seconds": round(time.process_time() - started, 2),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "of_which_before": before // 1024,
        **counts_of(verdicts),
    }


def of_libraries() -> dict[str, Any]:
    """Nanoseconds of CPU time for each shingle, and how far estimates of the similarity 0.8 scatter."""
    from datasketch import MinHash
    from rensa import RMinHash

    def rensa(hashes: np.ndarray) -> np.ndarray:
        ends = np.arange(0, hashes.size + 1, hashes.shape[1], dtype=np.uint64)
        rows = RMinHash.digest_matrix_from_flat_token_hashes(hashes.reshape(-1), ends, 128, 1).to_rows()
        return np.array(rows, dtype=np.uint32)

    def datasketch(hashes: np.ndarray) -> np.ndarray:
        found = []
        for row in (hashes >> np.uint64(32)).astype(np.uint32):
            sketch = MinHash(num_perm=128, seed=1, hashfunc=lambda number: number, scheme="affine32")
            sketch.update_batch(row)
            found.append(sketch.hashvalues)
        return np.stack(found)

    rng = np.random.default_rng(0)
    made: dict[str, Any] = {}
    for shingles in (50, 500, 5000):
        # Of 10 parts, each of a pair has 9, and both have 8.
        parts = rng.integers(0, 2**64, size=(100_000 // shingles, 10, shingles // 9), dtype=np.uint64)
        first, second = (parts[:, half].reshape(len(parts), -1) for half in (slice(0, 9), slice(1, 10)))
        for name, sign in (("rensa", rensa), ("datasketch", datasketch)):
            started = time.process_time()
            one, other = sign(first), sign(second)
            spent = time.process_time() - started
            estimates = (one == other).mean(axis=1)
            made[f"{name}, {shingles} shingles"] = {
                "nanoseconds_a_shingle": round(spent / (first.size + second.size) * 1e9),
                "mean_estimate": round(float(estimates.mean()), 3),
                "standard_deviation": round(float(estimates.std()), 3),
            }
    return made


def counts_of(verdicts: np.ndarray) -> dict[str, int]:
    return {reason: int((verdicts == verdict).sum()) for verdict, reason in REASONS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", type=Path)
    parser.add_argument("--documents", type=int)
    parser.add_argument("--libraries", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.libraries:
            made = of_libraries()
        elif arguments.documents:
            made = of_signatures(arguments.documents, Path(folder))
        else:
            made = of_corpus(arguments.texts, Path(folder))
    print(json.dumps(made, indent=2))


if __name__ == "__main__":
    main()
