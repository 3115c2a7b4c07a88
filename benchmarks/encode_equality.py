"""Does the word cache give the ids of `encode_batch` on every document of every corpus?

    nice -n 19 python benchmarks/encode_equality.py ../shared/data

Reads every text file below a folder, packed or not (xz, tar.xz): of JSON all strings, of wikiextractor's output the
articles, of everything else the lines. Each document goes through one `WordCache`, which stays as it fills up from file
to file, and through `Tokenizer.encode_batch` of the library, and the ids are compared. The vocabularies are those of
`vocab/` below the folder, each in the settings that its language wants; files up to --small megabytes are taken through
all of them. Prints Markdown; exit status 1 if any document differs.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run as a script, the package must be found

import numpy as np  # noqa: E402

from electra_cli.text.tokenizer import Tokenizer  # noqa: E402
from electra_cli.text.word_cache import WordCache  # noqa: E402

AT_ONCE = 2_000_000  # characters compared in one go
SETTINGS: dict[str, tuple[str, dict[str, bool]]] = {
    "uncased English": ("bert_uncased_30522", {"lowercase": True}),
    "Chinese": ("bert_chinese_21128", {"lowercase": True}),
    "cased Korean, accents kept": ("koelectra_v3_35000", {"lowercase": False, "strip_accents": False}),
    "lower case, accents kept, ideographs not split": (
        "bert_chinese_21128",
        {"lowercase": True, "strip_accents": False, "split_cjk": False},
    ),
}
CHINESE = ("zhwiki", "chnsenticorp", "cluener", "cmrc", "peopledaily", "thucnews", "weibo")


@dataclass
class Count:
    """What was compared with one tokenizer."""

    files: int = 0
    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    different: int = 0
    seconds: float = 0.0
    library_seconds: float = 0.0


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of what a file holds."""
    if path.name.endswith(".tar.xz"):
        with tarfile.open(path, "r:xz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield member.name, file.read().decode("utf-8", "replace")
        return
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    yield path.name.removesuffix(".xz"), data.decode("utf-8", "replace")


def documents(name: str, text: str) -> Iterator[list[str]]:
    """Yield the lines of each document of a text."""
    if text.startswith("<doc "):
        for article in text.split("</doc>"):
            if lines := [line for line in article.split("\n") if line]:
                yield lines
    elif name.endswith((".json", ".jsonl")):
        whole = name.endswith(".json") and not text.lstrip().partition("\n")[0].rstrip().endswith("}")
        for part in [text] if whole else text.splitlines():
            for string in strings(_parsed(part)):
                yield string.split("\n")
    else:
        for line in text.split("\n"):
            if line:
                yield [line]


def _parsed(part: str) -> Any:
    try:
        return json.loads(part)
    except ValueError:
        return part


def strings(value: Any) -> Iterator[str]:
    """Yield all strings within a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def compare(tokenizer: Tokenizer, cache: WordCache, found: Sequence[list[str]], count: Count) -> None:
    """Encode documents in both ways and count those that differ."""
    lines = [line for document in found for line in document]
    began = time.process_time()
    ours = cache.encode_lines(lines)
    middle = time.process_time()
    theirs = tokenizer.raw.encode_batch(lines, add_special_tokens=False)
    count.seconds += middle - began
    count.library_seconds += time.process_time() - middle
    count.documents += len(found)
    count.tokens += len(ours.ids_N)
    count.bytes += sum(len(line.encode("utf-8")) for line in lines)
    ends = ours.line_lengths.cumsum()
    number = 0
    for document in found:
        same = True
        for _ in document:
            expected = theirs[number].ids
            mine = ours.ids_N[ends[number] - ours.line_lengths[number] : ends[number]]
            same &= len(mine) == len(expected) and bool((mine == np.array(expected, dtype=mine.dtype)).all())
            number += 1
        if not same:
            count.different += 1
            print(f"DIFFERENT: {document[0][:200]!r}", file=sys.stderr, flush=True)


def chosen(path: Path, size: int, *, small: int) -> list[str]:
    """Return the settings that a file is taken through."""
    if size <= small:
        return list(SETTINGS)
    name = str(path)
    if "kowiki" in name:
        return ["cased Korean, accents kept"]
    return ["Chinese" if any(corpus in name for corpus in CHINESE) else "uncased English"]


def main() -> int:
    """Run it all; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--small", type=float, default=4.0, help="megabytes (default: 4)")
    parser.add_argument("--only", default="", help="only paths that hold this")
    options = parser.parse_args()
    tokenizers, counts = {}, {name: Count() for name in SETTINGS}
    for name, (folder, flags) in SETTINGS.items():
        vocabulary = (options.data / "vocab" / folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        tokenizer = Tokenizer.from_vocab([token for token in vocabulary if token], **flags)
        tokenizers[name] = tokenizer, WordCache(tokenizer)
    for path in sorted(options.data.rglob("*")):
        if not path.is_file() or options.only not in str(path):
            continue
        print(path, file=sys.stderr, flush=True)
        for inner, text in texts(path):
            names = chosen(path.relative_to(options.data), len(text), small=int(options.small * 1e6))
            if path.name.endswith(".tar.xz"):
                names = chosen(path.relative_to(options.data), sys.maxsize, small=0)
            held: list[list[str]] = []
            size = 0
            for document in [*documents(inner, text), None]:
                if document is not None:
                    held.append(document)
                    size += sum(map(len, document))
                if held and (document is None or size >= AT_ONCE):
                    for name in names:
                        compare(*tokenizers[name], held, counts[name])
                    held, size = [], 0
            for name in names:
                counts[name].files += 1
    print("\n| settings | files | documents | tokens | MB | different | ours : `encode_batch`, CPU seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, count in counts.items():
        seconds = f"{count.seconds:.0f} : {count.library_seconds:.0f}"
        numbers = f"{count.files:,} | {count.documents:,} | {count.tokens:,} | {count.bytes / 1e6:.1f}"
        print(f"| {name} | {numbers} | {count.different} | {seconds} |")
    return 1 if any(count.different for count in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
