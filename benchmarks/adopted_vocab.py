"""Do adopted vocabularies give the ids that `transformers` gives, on every text there is?

    python benchmarks/adopted_vocab.py VOCAB_FOLDER CORPUS_FILE… [--lines 0]

Adopts each `VOCAB_FOLDER/*/vocab.txt` and encodes every line of the files (`.xz` and `.tar.xz` are unpacked) with it
and with `BertTokenizer` made from the same file and the same flags. Lines that hold a special token's name are counted
and left out: we never make a special token of text. Prints lines, tokens and differences; exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import tarfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from transformers.models.bert.tokenization_bert import BertTokenizer

from electra_cli.text.adopting import Said, adopt
from electra_cli.text.parts import SPECIALS
from electra_cli.text.tokenizer import Tokenizer

BLOCK = 2000


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of a file; JSON strings are read as what they say, so that escapes become characters."""
    if path.name.endswith(".tar.xz"):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield from (line.decode("utf-8", "replace").rstrip("\n") for line in file)
        return
    with lzma.open(path, "rb") if path.suffix == ".xz" else open(path, "rb") as file:
        if path.name.removesuffix(".xz").endswith(".json"):
            data = file.read().decode("utf-8")
            for document in [json.loads(data)] if data.count("\n{") == 0 else map(json.loads, data.splitlines()):
                yield from texts_of(document)
        else:
            yield from (line.decode("utf-8", "replace").rstrip("\n") for line in file)


def texts_of(value: object) -> Iterator[str]:
    """Yield the strings of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_of(inner)


def compared(ours: Tokenizer, theirs: BertTokenizer, path: Path, limit: int | None) -> tuple[int, int, int, int, int]:
    """Return lines, tokens, unknown tokens, lines left out and lines with other ids."""
    lines = tokens = unknown = left_out = different = 0
    stream = islice(lines_of(path), limit)
    while block := list(islice(stream, BLOCK)):
        texts = [line for line in block if not any(name in line for name in SPECIALS)]
        left_out += len(block) - len(texts)
        for mine, other in zip(
            ours.encode_lines(texts), theirs(texts, add_special_tokens=False).input_ids, strict=True
        ):
            different += mine.tolist() != other
            tokens += len(mine)
            unknown += int((mine == ours.unk_id).sum())
        lines += len(texts)
    return lines, tokens, unknown, left_out, different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabularies", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--lines", type=int, default=0, help="of each file at most; 0 for all")
    options = parser.parse_args()
    wrong = 0
    for path in sorted(options.vocabularies.glob("*/vocab.txt")):
        parts = adopt(path, Said()).parts
        theirs = BertTokenizer(vocab=str(path), do_lower_case=parts.rules.lowercase)
        ours, sums, began = Tokenizer(parts), [0] * 5, time.process_time()
        for file in options.files:
            found = compared(ours, theirs, file, options.lines or None)
            sums = [a + b for a, b in zip(sums, found, strict=True)]
            if found[4]:
                print(f"{path.parent.name}: {file}: {found[4]} lines differ")
        lines, tokens, unknown, left_out, different = sums
        figures = f"{lines:>9,} lines {tokens:>11,} tokens  [UNK] {unknown / max(tokens, 1):.2%}  left out {left_out}"
        seconds = time.process_time() - began
        print(f"{path.parent.name:20} lowercase {parts.rules.lowercase!s:5} {figures}  different {different}", end="  ")
        print(f"({len(options.files)} files, {seconds:.0f} s CPU)", flush=True)
        wrong += different
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
