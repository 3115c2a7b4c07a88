"""How fast `electra shard` makes shards of text, beside the usual recipe and the bare tokenizer, in one run.

    python benchmarks/shard_speed.py enwiki/AA --tokenizer runs/en/tokenizer
    python benchmarks/shard_speed.py zhwiki/AA --tokenizer runs/zh/tokenizer --megabytes 30 --rounds 5

The text (any format that `electra shard` reads) is written once as plain files, a document to a blank line, so that all
read the same; and once more compressed with zstd, for ours to read. Then, round after round, each in processes of its
own, in an order drawn anew:

- `electra shard`, the whole command from start to exit: reading, normalizing, tokenizing, segmenting, writing, hashing,
  fsync; and the same from the compressed files;
- the usual recipe: `datasets.load_dataset`, `map(batched=True)` over `transformers`' fast tokenizer of the same files,
  `map` into rows of 128, on as many processes, in a fresh cache; the clock starts after the imports;
- `encode_batch_fast` of `tokenizers` alone, on as many threads, and in as many processes of one thread; text and
  tokenizer are loaded before the clock starts, and nothing is kept.

Prints Markdown: MB (of 10^6 bytes of text) a second, medians and spans, the ratios, the largest resident memory of all
processes of a contestant together, and how many cores other processes used meanwhile. Needs `datasets` and
`transformers` for the recipe, which is left out without them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run as a script, the package must be found

import pyarrow as pa  # noqa: E402

from benchmarks.peers.fleet import busy_seconds  # noqa: E402
from electra_cli.data.corpus import Tally, read_documents  # noqa: E402
from electra_cli.data.sources import CorpusSettings, find_sources  # noqa: E402
from electra_cli.reporting import Silent  # noqa: E402

REPOSITORY = Path(__file__).resolve().parent.parent
FILE = 1_000_000  # bytes of text of a prepared file


@dataclass(frozen=True)
class Contestant:
    """A way from text to ids.

    Attributes:
        name: as the table has it.
        command: what is run, given a fresh folder.
        says_seconds: whether it times itself and prints JSON; else the whole command is timed.
    """

    name: str
    command: Callable[[Path], list[str]]
    says_seconds: bool = True


@dataclass(frozen=True)
class Sample:
    """One run of a contestant: seconds, the most memory of its processes together in MB, cores that others used."""

    seconds: float
    peak_mb: float
    others: float


def prepare(text: Sequence[Path], folder: Path, *, megabytes: float) -> tuple[list[str], list[str], int]:
    """Write the documents as plain files and as compressed ones; return both, and the bytes of the plain ones."""
    plain, packed = folder / "plain", folder / "packed"
    plain.mkdir()
    packed.mkdir()
    files: tuple[list[str], list[str]] = ([], [])
    held, total, limit = bytearray(), 0, int(megabytes * 1e6)

    def flush() -> None:
        for parent, paths in ((plain, files[0]), (packed, files[1])):
            path = str(parent / f"{len(paths):05d}.txt{'.zst' if parent is packed else ''}")
            with pa.OSFile(path, "wb") as raw:
                if parent is packed:
                    with pa.CompressedOutputStream(raw, "zstd") as stream:
                        stream.write(bytes(held))
                else:
                    raw.write(bytes(held))
            paths.append(path)
        held.clear()

    sources = find_sources([str(path) for path in text], report=Silent())
    for document in read_documents(sources, CorpusSettings(), tally=Tally(), report=Silent()):
        one = ("\n".join(document.lines) + "\n\n").encode("utf-8")
        held += one
        total += len(one)
        if len(held) >= FILE:
            flush()
        if total >= limit:
            break
    if held:
        flush()
    return files[0], files[1], total


def contestants(options: argparse.Namespace, plain: list[str], packed: list[str]) -> Iterator[Contestant]:
    """All of them, ours first."""
    tokenizer, workers = str(options.tokenizer), str(options.workers)

    def shard(files: list[str]) -> Callable[[Path], list[str]]:
        setting = ["--set", "corpus.document=blank-line", "--set", f"workers={workers}"]
        return lambda folder: [
            *(sys.executable, "-m", "electra_cli", "shard", str(Path(files[0]).parent)),
            *("--tokenizer", tokenizer, "--out", str(folder / "shards"), *setting),
        ]

    def peer(name: str) -> Callable[[Path], list[str]]:
        script = str(REPOSITORY / "benchmarks" / "shard_peers.py")
        return lambda folder: [sys.executable, script, name, tokenizer, str(folder), workers, *plain]

    yield Contestant("electra shard", shard(plain), says_seconds=False)
    yield Contestant("electra shard, from zstd", shard(packed), says_seconds=False)
    if find_spec("datasets") and find_spec("transformers"):
        yield Contestant("usual recipe", peer("usual_recipe"))
    yield Contestant("encode_batch_fast, threads", peer("threads"))
    yield Contestant("encode_batch_fast, processes", peer("processes"))


def run(contestant: Contestant, folder: Path) -> Sample:
    """Run a contestant once."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    busy, cpu, began = _busy(), _children_cpu(), time.perf_counter()
    process = subprocess.Popen(
        contestant.command(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd=folder
    )
    peak = _Peak(process.pid)
    output, _ = process.communicate()
    seconds = time.perf_counter() - began
    others = (_busy() - busy - (_children_cpu() - cpu)) / seconds
    peak_mb = peak.stop()
    if process.returncode:
        raise SystemExit(f"{contestant.name} ended with exit code {process.returncode}")
    if contestant.says_seconds:
        seconds = json.loads(output.splitlines()[-1])["seconds"]
    shutil.rmtree(folder)
    return Sample(seconds, peak_mb, max(0.0, others))


class _Peak:
    """Watches the resident memory of a process and all that it starts."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._largest = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._done.set()
        self._thread.join()
        return self._largest * os.sysconf("SC_PAGE_SIZE") / 1e6

    def _watch(self) -> None:
        while not self._done.wait(0.02):  # often enough for what ends within a tenth of a second
            self._largest = max(self._largest, sum(_pages(pid) for pid in _tree(self._pid)))


def _tree(pid: int) -> list[int]:
    found, left = [], [pid]
    while left:
        one = left.pop()
        found.append(one)
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                left += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
        except OSError:  # it has ended
            continue
    return found


def _pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0


def _busy() -> float:
    return busy_seconds(Path("/proc/stat").read_text())


def _children_cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def table(samples: dict[str, list[Sample]], *, megabytes: float) -> Iterator[str]:
    """The race as Markdown; the ratios are of medians, the first contestant's to each other's."""
    speed = {name: [megabytes / sample.seconds for sample in found] for name, found in samples.items()}
    ours, packed, *_ = (statistics.median(found) for found in speed.values())
    yield "| | MB/s | lowest–highest | electra shard : it | from zstd : it | peak memory | cores used by others |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, found in samples.items():
        median = statistics.median(speed[name])
        span = f"{min(speed[name]):.1f}–{max(speed[name]):.1f}"
        peak = max(sample.peak_mb for sample in found)
        others = statistics.median(sample.others for sample in found)
        ratios = f"{ours / median:.2f} | {packed / median:.2f}"
        yield f"| {name} | {median:.1f} | {span} | {ratios} | {peak:,.0f} MB | {others:.2f} |"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="+", help="files or folders")
    parser.add_argument("--tokenizer", type=Path, required=True, help="an artifact of `electra tokenize`")
    parser.add_argument("--megabytes", type=float, default=100, help="text taken (default: 100)")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each contestant (default: 5)")
    parser.add_argument("--workers", type=int, default=2, help="processes or threads of each (default: 2)")
    parser.add_argument("--only", help="names of contestants, separated by commas, to leave out the others")
    parser.add_argument("--scratch", type=Path, help="where to write (default: the system's temporary folder)")
    return parser.parse_args(arguments)


def main() -> int:
    """Run it all; see the module."""
    options = parse()
    options.tokenizer = newest(options.tokenizer.resolve())
    dice = random.Random(1)
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        scratch = Path(name)
        plain, packed, size = prepare(options.text, scratch, megabytes=options.megabytes)
        chosen = list(contestants(options, plain, packed))
        if options.only:
            wanted = [part.strip() for part in options.only.split(",")]
            chosen = [one for one in chosen if one.name in wanted or one.name.startswith("electra")]
        samples: dict[str, list[Sample]] = {one.name: [] for one in chosen}
        for number in range(options.rounds):
            for one in dice.sample(chosen, len(chosen)):
                sample = run(one, scratch / "run")
                samples[one.name].append(sample)
                rate = f"{size / 1e6 / sample.seconds:.1f} MB/s, others {sample.others:.2f} cores"
                print(f"round {number + 1} of {options.rounds}: {one.name} {rate}", file=sys.stderr, flush=True)
        print(
            f"\n{size / 1e6:.1f} MB of text in {len(plain)} files, {options.workers} workers, {options.rounds} rounds\n"
        )
        print("\n".join(table(samples, megabytes=size / 1e6)))
    return 0


def newest(tokenizer: Path) -> Path:
    """The folder of a tokenizer's files, given it or the folder of its versions."""
    from electra_cli.artifacts import open_artifact

    return open_artifact(tokenizer, kinds={"tokenizer"}).path


if __name__ == "__main__":
    sys.exit(main())
