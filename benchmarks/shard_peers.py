"""What `shard_speed.py` measures `electra shard` against, each in a process of its own.

    python benchmarks/shard_peers.py NAME TOKENIZER_FOLDER SCRATCH PROCESSES FILE...

Prints one line of JSON: the seconds of the work, without start-up, imports and loading the tokenizer.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

BATCH = 1000  # lines; as many as `datasets` hands over at once

Answer = dict[str, Any]


def usual_recipe(tokenizer: Path, scratch: Path, processes: int, files: Sequence[str]) -> Answer:
    """Load text, tokenize and group it with `datasets`, as the language modelling examples of transformers do."""
    datasets: Any = import_module("datasets")
    transformers: Any = import_module("transformers")
    datasets.disable_progress_bars()
    fast = transformers.AutoTokenizer.from_pretrained(str(tokenizer))
    fast.model_max_length = 10**9  # no warning for every line that is longer than a row
    length = 128

    def tokenized(rows: dict[str, Any]) -> Any:
        return fast(rows["text"], return_special_tokens_mask=True)

    def grouped(rows: dict[str, Any]) -> Any:
        joined = {name: [item for row in column for item in row] for name, column in rows.items()}
        stop = len(next(iter(joined.values()))) // length * length
        return {name: [column[i : i + length] for i in range(0, stop, length)] for name, column in joined.items()}

    began = time.perf_counter()
    text = datasets.load_dataset("text", data_files=list(files), split="train", cache_dir=str(scratch / "cache"))
    tokens = text.map(tokenized, batched=True, num_proc=processes, remove_columns=["text"])
    rows = tokens.map(grouped, batched=True, num_proc=processes)
    return {"seconds": time.perf_counter() - began, "tokens": len(rows) * length}


def threads(tokenizer: Path, scratch: Path, processes: int, files: Sequence[str]) -> Answer:
    """`encode_batch_fast` alone, on as many threads of the library."""
    seconds, tokens = _encode(str(tokenizer), files, _nothing)
    return {"seconds": seconds, "tokens": tokens}


def processes(tokenizer: Path, scratch: Path, processes: int, files: Sequence[str]) -> Answer:
    """`encode_batch_fast` alone, in as many processes of one thread."""
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(processes + 1), context.Queue()
    shares = [list(files[number::processes]) for number in range(processes)]
    workers = [context.Process(target=_share, args=(str(tokenizer), share, ready, answers)) for share in shares]
    for worker in workers:
        worker.start()
    ready.wait()
    began = time.perf_counter()
    tokens = sum(answers.get() for _ in workers)
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return {"seconds": seconds, "tokens": tokens}


def _share(tokenizer: str, files: Sequence[str], ready: Any, answers: Any) -> None:
    answers.put(_encode(tokenizer, files, ready.wait)[1])


def _encode(tokenizer: str, files: Sequence[str], wait: Callable[[], object]) -> tuple[float, int]:
    """Encode the lines of some files, read beforehand; return seconds and tokens."""
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(f"{tokenizer}/tokenizer.json")
    texts = [Path(file).read_text(encoding="utf-8").split("\n") for file in files]
    lines = [line for text in texts for line in text if line]
    library.encode_batch_fast(lines[:BATCH], add_special_tokens=False)
    wait()
    began, tokens = time.perf_counter(), 0
    for start in range(0, len(lines), BATCH):
        found = library.encode_batch_fast(lines[start : start + BATCH], add_special_tokens=False)
        tokens += sum(len(encoding.ids) for encoding in found)
    return time.perf_counter() - began, tokens


def _nothing() -> None:
    pass


PEERS = {function.__name__: function for function in (usual_recipe, threads, processes)}

if __name__ == "__main__":
    name, folder, scratch, count, *paths = sys.argv[1:]
    # As the library's own defaults have it where one process encodes; processes of `datasets` have one thread each.
    os.environ["RAYON_NUM_THREADS"] = count if name == "threads" else "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if name == "threads" else "false"
    answer = PEERS[name](Path(folder), Path(scratch), int(count), paths)
    print(json.dumps(answer))
