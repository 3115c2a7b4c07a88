"""Is the tokenizer the same to the byte, at full size, whatever the order of files, processes, threads, hash seeds?

    python benchmarks/tokenizer_determinism.py CORPUS_FOLDER [--vocab-size 30522 119547] [--runs 4] [--library]

Runs `electra tokenize` in fresh processes, each time with another order of the files, another number of workers and
threads and another hash seed, and compares the content ids; with a temperature too, where each half of the files is a
corpus. With `--library` the trainer of the library runs beside it on the same text, twice, with the hash of its
vocabulary. Prints wall and CPU seconds of each. Exit code 1 if two of ours differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

PLAIN = """
import hashlib, sys
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
files, size = sys.argv[2:], int(sys.argv[1])
library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
trainer = trainers.WordPieceTrainer(vocab_size=size, min_frequency=2, special_tokens=specials, show_progress=False)
library.train(files, trainer)
vocabulary = sorted(library.get_vocab().items(), key=lambda item: item[1])
print(hashlib.sha256(repr(vocabulary).encode()).hexdigest())
"""


@dataclass(frozen=True)
class Conditions:
    """What must not matter."""

    number: int
    workers: int
    threads: int

    def texts(self, files: Sequence[str]) -> list[str]:
        return list(files) if self.number == 0 else random.Random(self.number).sample(files, len(files))

    def env(self) -> dict[str, str]:
        seed = str(self.number * 77)
        return {"RAYON_NUM_THREADS": str(self.threads), "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)}


def conditions(runs: int) -> Iterator[Conditions]:
    for number in range(runs):
        yield Conditions(number, workers=(1, 2, 3, 0)[number % 4], threads=1 + number % (os.cpu_count() or 1))


def measured(arguments: Sequence[str], env: dict[str, str]) -> tuple[str, str]:
    """Run a command; return its output, and its wall and CPU seconds as text."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run(arguments, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return output, f"{time.monotonic() - began:6.1f} s wall {cpu:6.1f} s CPU"


def content_id(texts: Sequence[str], size: int, how: Conditions, *more: str) -> tuple[str, str]:
    """Build a tokenizer; return its content id and the seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "electra_cli",
            "tokenize",
            *texts,
            "--out",
            f"{scratch}/out",
            "--quiet",
            "--json",
        ]
        command += ["--vocab-size", str(size), "--workers", str(how.workers), *more]
        output, seconds = measured(command, how.env())
    return str(json.loads(output)["content_id"]), seconds


def halves(files: Sequence[str], folder: Path, how: Conditions) -> list[str]:
    """Return two folders with half of the files each, under names in another order each time."""
    found = []
    for number, part in enumerate((files[::2], files[1::2])):
        half = folder / f"{how.number}-{number}"
        half.mkdir()
        for place, file in enumerate(how.texts(part)):
            (half / f"{place:06}").symlink_to(Path(file).resolve())
        found.append(str(half))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--vocab-size", type=int, nargs="+", default=[30_522, 119_547])
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--library", action="store_true")
    options = parser.parse_args()
    files = sorted(str(path) for path in options.corpus.rglob("*") if path.is_file())
    text = sum(os.path.getsize(path) for path in files) / 1e6
    print(f"{len(files)} files, {text:.1f} MB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    same = True
    for size in options.vocab_size:
        for mode in ("one corpus", "temperature"):
            found = set()
            for how in conditions(options.runs):
                with tempfile.TemporaryDirectory() as scratch:
                    one = mode == "one corpus"
                    texts = how.texts(files) if one else halves(files, Path(scratch), how)
                    content, seconds = content_id(texts, size, how, *(() if one else ("--temperature", "3")))
                found.add(content)
                said = f"order {how.number}, workers {how.workers}, threads {how.threads}"
                print(f"{size:>7} {mode:<11} {said}: {content}  {seconds}", flush=True)
            same &= len(found) == 1
            print(
                f"{size:>7} {mode:<11} {'one tokenizer' if len(found) == 1 else f'{len(found)} different tokenizers'}"
            )
        for number in range(2 if options.library else 0):
            output, seconds = measured([sys.executable, "-c", PLAIN, str(size), *files], {})
            print(f"{size:>7} the library's trainer, run {number}: {output[:16]}  {seconds}", flush=True)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
