"""Is everything that the text says in the shards, but for what the manifest says was left out?

    python benchmarks/round_trip.py TEXT… --tokenizer TOKENIZER --shards SHARDS

Reads the text again, encodes each line whole with the tokenizer's library, and compares with the rows, for each split:

- packed: every piece is the next piece of its document, and each is used once;
- stream: the rows one after the other are the documents one after the other;
- pairs: the rows of a document have its tokens, and each segment has them in the document's order;
- tokens that are in no row are as many as the manifest's `dropped` says, `[UNK]` as many as its `unknown`, documents
  as many as its `documents`;
- the tokens decoded are the normalized text, white space aside, where an `[UNK]` may stand for anything.

Prints what was found. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import decoders, models

from electra_cli.artifacts import Artifact, open_artifact
from electra_cli.data.corpus import Tally, read_documents
from electra_cli.data.segments import digest_of, is_held_out
from electra_cli.data.shards import RowBatch, ShardSet
from electra_cli.data.sources import CorpusSettings, find_sources
from electra_cli.reporting import Silent
from electra_cli.text.tokenizer import Tokenizer

Ids = npt.NDArray[np.int64]

LOST = ("short_row_tokens", "short_piece_tokens", "overflow_tokens")
"""The entries of `dropped` that count tokens; the others count documents, lines, rows and pieces."""
_ROWS = 4096  # read at a time
_WINDOW = 64  # tokens that have to agree behind a place where some are missing


@dataclass
class Found:
    """What the comparison found.

    Attributes:
        documents: that the text has.
        tokens: that the library makes of it.
        in_rows: of those, how many were found in the rows where they belong.
        unknown: `[UNK]` in the rows.
        characters: of the normalized text that were compared with the decoded tokens, white space left out.
        wrong: what differs, in words.
    """

    documents: int = 0
    tokens: int = 0
    in_rows: int = 0
    unknown: int = 0
    characters: int = 0
    wrong: list[str] = field(default_factory=list)


def round_trip(texts: Sequence[Path], tokenizer: Artifact, shards: Artifact) -> Found:
    """Compare text with the shards made of it; see the module."""
    found = Found()
    spec, config = shards.spec, shards.manifest.config
    made = Tokenizer.load(tokenizer.path)
    documents: dict[str, list[Ids]] = {"train": [], "val": []}
    sources = find_sources(texts, report=Silent())
    settings = CorpusSettings.model_validate(config["corpus"])
    for document in read_documents(sources, settings, tally=Tally(), report=Silent()):
        text = "\n".join(document.lines).encode("utf-8")
        split = "val" if is_held_out(digest_of(text), seed=config["seed"], fraction=config["val_fraction"]) else "train"
        ids = [
            np.array(line.ids, dtype=np.int64)
            for line in made.raw.encode_batch_fast(list(document.lines), add_special_tokens=False)
        ]
        documents[split].append(np.concatenate(ids))
        found.characters += _decoded(made, document.lines, ids, found.wrong)
        found.documents += 1
        found.tokens += sum(map(len, ids))
    for split, expected in documents.items():
        rows = ShardSet(shards, "val" if split == "val" else "train")
        found.unknown += sum(int((batch.ids_BL == made.unk_id).sum()) for batch in _batches(rows))
        found.in_rows += _RECIPES[spec["recipe"]](expected, rows, made, found.wrong)
    lost = sum(spec["dropped"].get(name, 0) for name in LOST)
    for what, here, there in (
        ("tokens in no row", found.tokens - found.in_rows, lost),
        ("[UNK] in the rows", found.unknown, spec["unknown"]),
        ("documents", found.documents, spec["documents"]),
    ):
        if here != there:
            found.wrong.append(f"{what}: {here}, the manifest says {there}")
    return found


def _batches(rows: ShardSet) -> Iterator[RowBatch]:
    for start in range(0, rows.rows, _ROWS):
        yield rows.gather(np.arange(start, min(start + _ROWS, rows.rows)))


def _packed(documents: Sequence[Ids], rows: ShardSet, tokenizer: Tokenizer, wrong: list[str]) -> int:
    """Take each document apart into pieces that are there; return how many tokens that gave."""
    pieces: Counter[bytes] = Counter()
    for batch in _batches(rows):
        starts_BL = np.zeros(batch.ids_BL.shape, dtype=bool)
        starts_BL[:, 0] = True
        if (said := batch.piece_starts()) is not None:
            starts_BL = said
        for ids, length, starts in zip(batch.ids_BL, batch.lengths_B, starts_BL, strict=True):
            begins = np.flatnonzero(starts).tolist()
            for begin, end in zip(begins, [*begins[1:], int(length)], strict=True):
                if ids[begin] != tokenizer.cls_id or ids[end - 1] != tokenizer.sep_id:
                    wrong.append("a piece is not [CLS] … [SEP]")
                pieces[ids[begin + 1 : end - 1].astype(np.int64).tobytes()] += 1
    taken = 0
    for document in documents:
        start = 0
        while start < len(document):
            stops = range(min(len(document), start + rows.length - 2), start, -1)
            piece = next((key for stop in stops if pieces[key := document[start:stop].tobytes()] > 0), b"")
            pieces[piece] -= bool(piece)
            size = len(piece) // document.itemsize
            taken += size
            start += size or 1  # a token that is in no piece
    if left := sum(pieces.values()):
        wrong.append(f"{left} pieces are in no document")
    return taken


def _stream(documents: Sequence[Ids], rows: ShardSet, tokenizer: Tokenizer, wrong: list[str]) -> int:
    """Walk through documents and rows side by side; return how many tokens agree."""
    special = np.array([tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id])
    there = np.concatenate([_none(), *(ids[~np.isin(ids, special)] for ids in (b.ids_BL for b in _batches(rows)))])
    wanted = np.concatenate([_none(), *documents])
    if len(there) > len(wanted):
        wrong.append(f"{len(there) - len(wanted)} tokens are in no document")
        return 0
    i = j = 0
    while j < len(there):
        same = wanted[i : i + len(there) - j] == there[j:] if i + len(there) - j <= len(wanted) else None
        if same is None:
            same = wanted[i:] == there[j : j + len(wanted) - i]
        agree = len(same) if same.all() else int(np.argmin(same))
        i, j = i + agree, j + agree
        if j == len(there):
            break
        # Tokens are missing here, or a little before: those behind the gap may have begun like those in it.
        gaps = ((back, gap) for gap in range(1, _WINDOW) for back in range(_WINDOW) if back <= agree)
        for back, gap in gaps:
            ahead, behind = wanted[i - back + gap :][:_WINDOW], there[j - back :][:_WINDOW]
            if len(ahead) >= len(behind) and (ahead[: len(behind)] == behind).all():
                i, j = i - back + gap, j - back
                break
        else:
            wrong.append(f"the rows differ from the text at token {i}")
            return j
    return j


def _pairs(documents: Sequence[Ids], rows: ShardSet, tokenizer: Tokenizer, wrong: list[str]) -> int:
    """Give each document the rows that it made; return how many tokens those have."""
    special = {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id}
    coming = (
        [ids[1 : first - 1].tolist(), ids[first : length - 1].tolist()]
        for batch in _batches(rows)
        for ids, length, first in zip(batch.ids_BL, batch.lengths_B.tolist(), batch.first_B.tolist(), strict=True)
    )
    row, taken = next(coming, None), 0
    for document in documents:
        left, order = Counter(document.tolist()), document.tolist()
        while row is not None and not Counter(row[0] + row[1]) - left:
            if special & {*row[0], *row[1]} or not all(_in_order(part, order) for part in row):
                wrong.append("a segment is not in its document's order")
            left.subtract(row[0] + row[1])
            taken += len(row[0]) + len(row[1])
            row = next(coming, None)
    if row is not None:
        wrong.append("a row is in no document")
    return taken


_RECIPES: dict[str, Any] = {"pairs": _pairs, "packed": _packed, "stream": _stream}


def _none() -> Ids:
    return np.empty(0, dtype=np.int64)


def _in_order(part: list[int], document: list[int]) -> bool:
    tokens = iter(document)
    return all(token in tokens for token in part)


def _decoded(tokenizer: Tokenizer, lines: Sequence[str], encoded: Sequence[Ids], wrong: list[str]) -> int:
    """Compare each line's tokens, decoded, with the normalized line; return how many characters that were."""
    raw, unknown = tokenizer.raw, "[UNK]"
    # the library's WordPiece decoder would make "don't" of "do not"
    plain = decoders.WordPiece(prefix="##", cleanup=False) if isinstance(raw.model, models.WordPiece) else raw.decoder
    compared = 0
    for line, ids in zip(lines, encoded, strict=True):
        normalized = "".join((raw.normalizer.normalize_str(line) if raw.normalizer else line).split())
        tokens = [tokenizer.tokens[number] for number in ids.tolist()]
        said = "".join(plain.decode(tokens).split()) if plain else "".join(tokens)
        pattern = "(?s:.+?)".join(map(re.escape, said.split(unknown)))
        if said != normalized and not re.fullmatch(pattern, normalized):
            wrong.append(f"decoded: {said[:60]!r}, the text: {normalized[:60]!r}")
        compared += len(normalized)
    return compared


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path, help="what was sharded, in the same order")
    parser.add_argument("--tokenizer", "-t", required=True, help="the tokenizer that it was sharded with")
    parser.add_argument("--shards", required=True, nargs="+", help="one or several shards of that text")
    options = parser.parse_args()
    bad = False
    for name in options.shards:
        shards = open_artifact(name, kinds={"shards"})
        found = round_trip(options.texts, open_artifact(options.tokenizer, kinds={"tokenizer"}), shards)
        spec = shards.spec
        rows, tokens = (sum(split[what] for split in spec["splits"].values()) for what in ("rows", "tokens"))
        print(
            f"{spec['recipe']:<7} {spec['length']:>4}  {found.documents} documents, {found.tokens} tokens of text, "
            f"{found.in_rows} of them in {rows} rows, {tokens / max(1, rows * spec['length']):.4f} full; "
            f"dropped {spec['dropped']}; {found.unknown} [UNK]; {found.characters} characters decoded: "
            f"{'all as the manifest says' if not found.wrong else 'WRONG'}"
        )
        for problem in found.wrong[:10]:
            print(f"  {problem}")
        bad |= bool(found.wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
