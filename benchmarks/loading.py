"""How fast rows come from shards, beside `datasets`, on one core; and how long a terabyte of shards takes to open.

    python benchmarks/loading.py
    python benchmarks/loading.py --shards runs/en/shards --batch 256

Without --shards it makes rows of its own: random ids, no padding. All contestants read the same rows with a warm cache,
in random order, as a batch of token ids in torch tensors on the CPU; each is sampled once a round, in an order drawn
anew, and every sample goes on at new positions, so that what the order costs is in it. Rates are tokens per second of
CPU time of the process, all threads together (there is one), medians over the rounds; "× H100" is how many times it is
the 2 million tokens a second at which an H100 trains ELECTRA-small.

The terabyte is made of sparse files (nothing but their sizes), opened in a process of its own that may have 64 files
open. Everything is written below --scratch and removed again. Prints Markdown. Needs `datasets` (pip install datasets);
without it those rows are left out. Exit status 1 if rows differ or the shards take more than a second to open.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run as a script, the package must be found

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402

from electra_cli.artifacts import Artifact, Recipe, claim, open_artifact  # noqa: E402
from electra_cli.artifacts.manifest import MANIFEST, FileRecord, content_id_of, recipe_id_of  # noqa: E402
from electra_cli.data.masking import MaskingRule  # noqa: E402
from electra_cli.data.mixture import mixture_weights  # noqa: E402
from electra_cli.data.shards import ShardSet, shard_bytes, shard_name  # noqa: E402
from electra_cli.reporting import Silent  # noqa: E402
from electra_cli.runtime.machine import choose_machine  # noqa: E402
from electra_cli.stages.rows import MaskedRows  # noqa: E402

H100 = 2e6  # tokens a second
VOCAB = 30_522
SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
RULE = MaskingRule(0.15, 0.85, (0, 2, 3, 4), 4)

# In a child: the limit on open files comes first, then what is measured, without the imports.
OPENING = """
import json, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import numpy, pyarrow
from electra_cli.artifacts import open_artifact
from electra_cli.data.shards import ShardSet
began, cpu = time.perf_counter(), time.process_time()
found = ShardSet(open_artifact(sys.argv[1]), "train")
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
print(json.dumps({"seconds": seconds, "cpu": cpu, "rows": found.rows, "descriptors": len(os.listdir("/proc/self/fd"))}))
"""


def terabyte(folder: Path, *, files: int, size: int = 10**12, length: int = 128) -> Path:
    """Make an artifact of so many shards, `size` bytes in all, that hold nothing; only opening it makes sense."""
    folder.mkdir(parents=True)
    each = size // files
    rows = each // (2 * length + 4)
    records = [FileRecord(shard_name("train", n), each, f"{n:064x}", rows, rows * length) for n in range(files)]
    for record in records:
        with open(folder / record.path, "wb") as file:
            file.truncate(each)
    counts = {"rows": files * rows, "tokens": files * rows * length}
    body: dict[str, Any] = {
        "kind": "shards",
        "format_version": 1,
        "stage": "shard",
        "stage_version": 1,
        "config": {},
        "inputs": [],
        "files": [record.to_json() for record in records],
        "spec": {**_spec(length), "splits": {"train": counts, "val": {"rows": 0, "tokens": 0}}},
        "logs": [],
        "provenance": {},
    }
    body |= {"recipe_id": recipe_id_of(body), "content_id": content_id_of(body)}
    (folder / MANIFEST).write_text(json.dumps(body, indent=2) + "\n", encoding="ascii")
    return folder


def opened(folder: Path) -> dict[str, float]:
    """Open the training rows of an artifact in a process that may have 64 files open: seconds, CPU seconds, rows,
    descriptors open afterwards."""
    root = str(Path(__file__).resolve().parent.parent)
    command = [sys.executable, "-c", OPENING, str(folder)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def random_shards(out: Path, *, rows: int, files: int, length: int) -> Artifact:
    """Make an artifact of full rows of random ids."""
    dice = np.random.default_rng(1)
    share = -(-rows // files)
    with claim(out, Recipe("shards", "make", 1, {}, ()), report=Silent()) as held:
        assert held.draft is not None
        for number in range(files):
            count = min(share, rows - number * share)
            ids_BL = dice.integers(len(SPECIAL), VOCAB, (count, length), dtype=np.int32)
            full_B = np.full(count, length)
            with held.draft.create(shard_name("train", number)) as file:
                file.write(shard_bytes(ids_BL, full_B, full_B, vocab_size=VOCAB))
                file.rows, file.tokens = count, ids_BL.size
        splits = {"train": {"rows": rows, "tokens": rows * length}, "val": {"rows": 0, "tokens": 0}}
        return held.draft.publish(spec={**_spec(length), "splits": splits})


def _spec(length: int) -> dict[str, Any]:
    return {"length": length, "vocab_size": VOCAB, "tokenizer": "sha256:" + "0" * 64, "special_ids": SPECIAL}


@dataclass(frozen=True)
class Contestant:
    """A way to read rows.

    Attributes:
        name: as the table has it.
        batch: number of a batch → the tensor of its ids; every number another batch.
        batches: in a sample.
    """

    name: str
    batch: Callable[[int], torch.Tensor]
    batches: int


def ours(shards: ShardSet, size: int, *, weights: Sequence[int] | None = None) -> MaskedRows:
    """Rows of ours on the CPU, warm: every shard opened and read once."""
    for start in range(0, shards.rows, 8192):
        shards.gather(np.arange(start, min(start + 8192, shards.rows)))
    return MaskedRows(shards, rule=RULE, seed=1, machine=choose_machine("cpu", "fp32"), weights=weights)


def as_tensors(rows: MaskedRows, size: int) -> Callable[[int], torch.Tensor]:
    """Order, rows, and their tensors as a step gets them, without masks."""

    def batch(number: int) -> torch.Tensor:
        index_B, _ = rows.order.rows(number * size, size)
        found = rows.shards.gather(index_B)
        ids_BL, *_ = (rows._sent(array) for array in (found.ids_BL, found.lengths_B, found.first_B))
        return ids_BL

    return batch


def our_contestants(shards: Artifact, scattered: Artifact, *, size: int, batches: int) -> Iterator[Contestant]:
    """Ours, with what else a run does."""
    rows = ours(ShardSet(shards, "train"), size)
    yield Contestant("electra: order, rows, tensors", as_tensors(rows, size), batches)
    many = ours(ShardSet(scattered, "train"), size)
    files = len(scattered.manifest.files)
    yield Contestant(f"electra, the rows in {files:,} files", as_tensors(many, size), batches)
    both = ShardSet([shards, scattered], "train")
    mixed = ours(both, size, weights=mixture_weights(both.part_rows, weights=[0.7, 0.3]))
    yield Contestant("electra, a mixture of two", as_tensors(mixed, size), batches)
    yield Contestant(
        "electra, masks drawn on this core too", lambda n: rows.batch(n * size, size)[0].ids_BL, batches // 8
    )


def their_contestants(ids: np.ndarray[Any, Any], folder: Path, *, size: int, batches: int) -> Iterator[Contestant]:
    """`datasets` over the same rows, as int32 lists (what `map` writes) and as its best case, lists of one length."""
    from torch.utils.data import DataLoader

    datasets: Any = import_module("datasets")
    datasets.disable_progress_bars()
    dice, count, length = np.random.default_rng(2), len(ids), ids.shape[1]
    lists = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * length, ids.reshape(-1).astype(np.int32))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), length)
    for kind, column in (("lists", lists), ("fixed lists", fixed)):
        datasets.Dataset(pa.table({"input_ids": column})).save_to_disk(str(folder / kind))
        found = datasets.load_from_disk(str(folder / kind), keep_in_memory=False).with_format("torch")

        def drawn(_number: int, found: Any = found) -> torch.Tensor:
            ids_BL: torch.Tensor = found[dice.integers(0, count, size).tolist()]["input_ids"]
            return ids_BL

        yield Contestant(f"datasets, torch format, a batch of indices, {kind}", drawn, max(1, batches // 16))
        sources: dict[str, Any] = {"DataLoader over datasets": found, "DataLoader, item by item": ItemByItem(found)}
        for name, source in sources.items():
            loader = DataLoader(source, batch_size=size, shuffle=True, drop_last=True)
            yield Contestant(f"{name}, {kind}", endless(loader), max(1, batches // 100))


class ItemByItem:
    """A dataset of which a loader can ask one row at a time only, as the usual wrapper around `datasets` is."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def endless(loader: Any) -> Callable[[int], torch.Tensor]:
    """The batches of a loader, epoch after epoch, whatever number is asked for."""

    def batches() -> Iterator[torch.Tensor]:
        while True:
            for batch in loader:
                yield batch["input_ids"]

    source = batches()
    return lambda _number: next(source)


def race(contestants: Sequence[Contestant], *, rounds: int, tokens: int) -> dict[str, list[float]]:
    """Tokens a second of CPU time of each contestant, a number for each round."""
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    at = dict.fromkeys(rates, 0)
    dice = random.Random(1)
    for contestant in contestants:
        contestant.batch(0)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for contestant in dice.sample(contestants, len(contestants)):
            first, at[contestant.name] = at[contestant.name], at[contestant.name] + contestant.batches
            began = time.process_time()
            for batch in range(first, first + contestant.batches):
                contestant.batch(batch)
            rates[contestant.name].append(contestant.batches * tokens / (time.process_time() - began))
    return rates


def check(shards: ShardSet, theirs: Sequence[Contestant], ids: np.ndarray[Any, Any], *, size: int) -> list[str]:
    """What is wrong with what the contestants give."""
    index = np.random.default_rng(3).integers(0, len(ids), size)
    wrong = [] if (shards.gather(index).ids_BL == ids[index]).all() else ["our rows are not those that were written"]
    for contestant in theirs:
        found = contestant.batch(0)
        if tuple(found.shape) != (size, ids.shape[1]):
            wrong.append(f"{contestant.name} gives {tuple(found.shape)}")
    return wrong


def say(message: str) -> None:
    """A line for whoever watches."""
    print(message, file=sys.stderr, flush=True)


def rates_table(rates: dict[str, list[float]]) -> Iterator[str]:
    """The race as Markdown; the first contestant is the one that the others are compared with."""
    medians = {name: statistics.median(found) for name, found in rates.items()}
    first = next(iter(medians.values()))
    yield "| read by | M tokens/s, one core | lowest–highest | × H100 | ours : it |"
    yield "| --- | --- | --- | --- | --- |"
    for name, median in medians.items():
        span = f"{min(rates[name]) / 1e6:,.1f}–{max(rates[name]) / 1e6:,.1f}"
        yield f"| {name} | {median / 1e6:,.1f} | {span} | {median / H100:,.1f} | {first / median:,.1f} |"


def opening_table(found: dict[int, list[dict[str, float]]]) -> Iterator[str]:
    """The openings as Markdown."""
    yield "| shards in 1 TB | seconds to open | CPU seconds | descriptors open afterwards, of 64 allowed |"
    yield "| --- | --- | --- | --- |"
    for files, runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        yield f"| {files:,} | {middle['seconds']:.2f} | {middle['cpu']:.2f} | {middle['descriptors']:.0f} |"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, help="an artifact of `electra shard` (default: random rows)")
    parser.add_argument("--rows", type=int, default=400_000, help="random rows (default: 400000)")
    parser.add_argument("--length", type=int, default=128, help="tokens in a random row (default: 128)")
    parser.add_argument("--batch", type=int, default=128, help="rows in a batch (default: 128)")
    parser.add_argument("--batches", type=int, default=2000, help="batches of a sample of ours (default: 2000)")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each contestant (default: 7)")
    parser.add_argument("--scattered", type=int, default=2000, help="files of the scattered rows (default: 2000)")
    parser.add_argument("--files", type=int, nargs="+", default=[8_000, 20_000, 50_000],
                        help="shards in the terabyte (default: 8000 20000 50000)")  # fmt: skip
    parser.add_argument("--scratch", type=Path, help="where to write (default: the system's temporary folder)")
    return parser.parse_args(arguments)


def main() -> int:
    """Run it all; see the module."""
    options = parse()
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        scratch = Path(name)
        say("making rows")
        if options.shards is not None:
            shards = open_artifact(options.shards, kinds={"shards"})
        else:
            shards = random_shards(scratch / "few", rows=options.rows, files=50, length=options.length)
        rows = ShardSet(shards, "train")
        ids = np.asarray(rows.gather(np.arange(rows.rows)).ids_BL)
        tokens, size = options.batch * rows.length, options.batch
        scattered = random_shards(scratch / "many", rows=rows.rows, files=options.scattered, length=rows.length)
        contestants = list(our_contestants(shards, scattered, size=size, batches=options.batches))
        theirs: list[Contestant] = []
        if find_spec("datasets") is None:
            say("datasets is not installed and left out")
        else:
            theirs = list(their_contestants(ids, scratch / "datasets", size=size, batches=options.batches))
        wrong = check(rows, theirs, ids, size=size)
        rates = race([*contestants, *theirs], rounds=options.rounds, tokens=tokens)
        print(f"\n{rows.rows:,} rows of {rows.length} tokens, batches of {size}, {options.rounds} rounds\n")
        print("\n".join(rates_table(rates)))
        openings = {}
        for files in options.files:
            say(f"opening {files:,} shards")
            folder = terabyte(scratch / f"terabyte-{files}", files=files)
            openings[files] = [opened(folder) for _ in range(3)]
        print("\n" + "\n".join(opening_table(openings)))
    slow = [files for files, runs in openings.items() if min(run["seconds"] for run in runs) > 1]
    wrong += [f"{files:,} shards take more than a second to open" for files in slow]
    print("".join(f"\n{problem}" for problem in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
