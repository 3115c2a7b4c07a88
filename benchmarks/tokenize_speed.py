"""How fast is `electra tokenize`, and how much memory does it take, beside the trainer of `tokenizers`?

    python benchmarks/tokenize_speed.py CORPUS_FOLDER [--megabytes 100 20] [--rounds 3] [--workers 2]

Both get the same files: ours through the real command, which also hashes its inputs and publishes an artifact; the
library's trainer from the files, with BERT's normalizer and pre-tokenizer and as many threads. They take turns within
each round. Wall and CPU seconds are medians. Memory is the most that all processes of a contestant held together, pages
that they share counted once (PSS), looked at ten times a second. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

LIBRARY = """
import sys
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
trainer = trainers.WordPieceTrainer(
    vocab_size=int(sys.argv[1]), min_frequency=2, special_tokens=specials, show_progress=False
)
library.train(sys.argv[2:], trainer)
"""


@dataclass(frozen=True)
class Sample:
    wall: float
    cpu: float
    megabytes: float


def held(process: int) -> float:
    """Return the megabytes of a process and of all its descendants."""
    folder = Path("/proc") / str(process)
    try:
        pages = [line for line in (folder / "smaps_rollup").read_text().split("\n") if line.startswith("Pss:")]
        children = [int(child) for path in folder.glob("task/*/children") for child in path.read_text().split()]
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) for line in pages) / 1024 + sum(map(held, children))


def measured(arguments: Sequence[str], env: dict[str, str]) -> Sample:
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    highest = 0.0
    with subprocess.Popen(arguments, env={**os.environ, **env}, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            highest = max(highest, held(process.pid))
            time.sleep(0.1)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"{arguments[:4]} ended with {process.returncode}")
    return Sample(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, highest)


def files_of(corpus: Path, megabytes: float) -> list[str]:
    """Return the first files of the corpus, by name, up to a size."""
    found: list[str] = []
    size = 0
    for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
        if found and size + path.stat().st_size > megabytes * 1e6 * 1.03:
            break
        found.append(str(path))
        size += path.stat().st_size
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[100, 20])
    parser.add_argument("--vocab-size", default="30522")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="2", help="processes of ours, threads of both")
    options = parser.parse_args()
    env = {"RAYON_NUM_THREADS": options.workers, "PYTHONPATH": str(REPOSITORY)}
    print(
        f"{options.vocab_size} entries, {options.workers} of {os.cpu_count()} cores, {options.rounds} rounds,", end=" "
    )
    print(f"load before: {os.getloadavg()[0]:.1f}\n")
    print("| text | contestant | wall s | CPU s | memory MB | ours : library, wall |")
    print("| --- | --- | --- | --- | --- | --- |")
    for megabytes in options.megabytes:
        files = files_of(options.corpus, megabytes)
        size = sum(os.path.getsize(file) for file in files) / 1e6
        samples: dict[str, list[Sample]] = {"electra tokenize": [], "tokenizers": []}
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as scratch:
                ours = [sys.executable, "-m", "electra_cli", "tokenize", *files, "--out", f"{scratch}/out", "--quiet"]
                ours += ["--vocab-size", options.vocab_size, "--workers", options.workers]
                samples["electra tokenize"].append(measured(ours, env))
            library = [sys.executable, "-c", LIBRARY, options.vocab_size, *files]
            samples["tokenizers"].append(measured(library, env))
        medians = {
            name: [
                statistics.median(values) for values in zip(*((s.wall, s.cpu, s.megabytes) for s in each), strict=True)
            ]
            for name, each in samples.items()
        }
        ratio = medians["electra tokenize"][0] / medians["tokenizers"][0]
        for name, (wall, cpu, memory) in medians.items():
            last = f"{ratio:.2f}" if name == "electra tokenize" else ""
            print(f"| {size:.0f} MB | {name} | {wall:.1f} | {cpu:.1f} | {memory:.0f} | {last} |", flush=True)


if __name__ == "__main__":
    main()
