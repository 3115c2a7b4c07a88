"""Is the tokenizer the same to the byte, at full size, whatever the processes, threads, hash seeds and file order?

    python benchmarks/tokenizer_determinism.py CORPUS_FOLDER [--vocab-size 30522] [--runs 4]

Runs `electra tokenize` in fresh processes under different conditions and compares the sha256 of `tokenizer.json`;
beside it the trainer of the library on the same text, twice, with the hash of its vocabulary. Prints wall and CPU
seconds of each and the peak memory of ours. Exit code 1 if two of ours differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
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


def measured(arguments: list[str], env: dict[str, str]) -> tuple[str, float, float, int]:
    """Run a command; return its output, wall seconds, CPU seconds, and peak memory in MB of it or a child of it."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run(arguments, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return output, time.monotonic() - began, cpu, after.ru_maxrss // 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--vocab-size", type=int, default=30_522)
    parser.add_argument("--runs", type=int, default=4)
    options = parser.parse_args()
    files = sorted(str(path) for path in options.corpus.rglob("*") if path.is_file())
    size = sum(os.path.getsize(path) for path in files) / 1e6
    print(f"{len(files)} files, {size:.1f} MB, vocabulary {options.vocab_size}, {os.cpu_count()} cores")

    ours = set()
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.runs):
            order = files if number == 0 else random.Random(number).sample(files, len(files))
            threads = str(1 + number % (os.cpu_count() or 1))
            out = Path(scratch) / str(number)
            command = [sys.executable, "-m", "electra_cli", "tokenize", *order, "--out", str(out), "--quiet", "--json"]
            output, wall, cpu, _ = measured(
                [*command, "--vocab-size", str(options.vocab_size)],
                {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": str(number), "PYTHONPATH": str(REPOSITORY)},
            )
            found = hashlib.sha256((Path(json.loads(output)["path"]) / "tokenizer.json").read_bytes()).hexdigest()
            ours.add(found)
            print(f"electra    threads {threads}, order {number}: {found[:16]}  {wall:6.1f} s wall {cpu:6.1f} s CPU")
    _, _, _, memory = measured([sys.executable, "-c", "pass"], {})
    print(f"electra    peak memory {memory} MB")
    for number in range(2):
        arguments = [sys.executable, "-c", PLAIN, str(options.vocab_size), *files]
        output, wall, cpu, _ = measured(arguments, {})
        print(f"tokenizers default threads, run {number}: {output[:16]}  {wall:6.1f} s wall {cpu:6.1f} s CPU")
    print("one tokenizer" if len(ours) == 1 else f"{len(ours)} different tokenizers")
    return 0 if len(ours) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
