import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from electra_cli.data.layouts import RowRule
from electra_cli.data.pieces import Piece, Span, plan_pieces
from electra_cli.data.segments import digest_of, document_random, is_held_out
from electra_cli.data.sources import CorpusSettings, find_sources
from electra_cli.data.units import PieceWriter, UnitPlan, finished_piece
from electra_cli.reporting import Silent
from tests.data.plain_segments import rows_of

RULE = RowRule(length=32, min_row_tokens=5, seed=3)


@pytest.fixture
def plan(tmp_path, tokenizer_folder):
    folder = tmp_path / "draft"
    folder.mkdir()
    return UnitPlan(
        folder, tokenizer_folder, "sha256:recipe", CorpusSettings(), RULE, unit_bytes=10**9, val_fraction=0.0, seed=3
    )


@pytest.fixture
def piece_of(tmp_path):
    """Return a piece that is one file with this text."""

    def make(text, number=0):
        path = tmp_path / f"{number}.txt"
        path.write_text(text)
        return Piece(number, (Span(find_sources([path], report=Silent())[0]),))

    return make


def documents_of(text):
    return [part.split("\n") for part in text.strip().split("\n\n")]


def written(plan, piece):
    """Return the record of a piece that gives one file, and the path of that."""
    record = PieceWriter(plan).write(piece)
    (file,) = record.files
    return record, plan.folder / file.name


def rows_in(path):
    return rows_in_bytes(path.read_bytes())


def rows_in_bytes(data):
    with pa.ipc.open_file(pa.py_buffer(data)) as reader:
        table = reader.read_all()
    return np.array(table["input_ids"].to_pylist()), table["length"].to_pylist(), table["first"].to_pylist()


def test_small_files_share_a_piece_and_large_ones_do_not(tmp_path):
    for name, size in (("a", 10), ("b", 10), ("c", 500), ("d", 10), ("e", 95), ("f", 10)):
        (tmp_path / name).write_text("x" * size)
    pieces = plan_pieces(find_sources([tmp_path], report=Silent()), piece_bytes=100)
    assert [[Path(span.source.path).name for span in piece.spans] for piece in pieces] == [
        ["a", "b", "c"],
        ["d", "e"],
        ["f"],
    ]
    assert [piece.number for piece in pieces] == [0, 1, 2]
    assert [piece.bytes for piece in pieces] == [520, 105, 10]


def test_held_out_documents_and_files_of_about_the_wanted_size(plan, piece_of, small_corpus, small_tokenizer):
    plan = replace(plan, unit_bytes=5000, val_fraction=0.2, rule=replace(RULE, min_row_tokens=1))
    record = PieceWriter(plan).write(piece_of(small_corpus, 7))
    tokens = {"train": 0, "val": 0}
    for document in documents_of(small_corpus):
        held = is_held_out(digest_of("\n".join(document).encode()), seed=3, fraction=0.2)
        tokens["val" if held else "train"] += sum(len(ids) for ids in small_tokenizer.encode_lines(document))
    found = {"train": 0, "val": 0}
    for file in record.files:
        ids = rows_in(plan.folder / file.name)[0]
        found[file.name.partition("-")[0]] += int((~np.isin(ids, list(small_tokenizer.special_ids))).sum())

    assert found == tokens  # no [UNK]: the tokenizer was made of this text
    names = [file.name for file in record.files if file.name.startswith("train")]
    assert names == [f"train-000007-{number:04d}.arrow" for number in range(len(names))] and len(names) > 3
    assert record.documents == len(documents_of(small_corpus))


def test_a_unit_holds_the_rows_that_a_slow_reading_of_the_rules_gives(plan, piece_of, small_corpus, small_tokenizer):
    documents = documents_of(small_corpus)[:20]
    record, path = written(plan, piece_of("\n\n".join(map("\n".join, documents))))

    expected, short, short_tokens = [], 0, 0
    for document in documents:
        lines = [small_tokenizer.raw.encode(line, add_special_tokens=False).ids for line in document]
        stream = [i for line in lines for i in line]
        rng = document_random(digest_of("\n".join(document).encode()), seed=3)
        for row in rows_of([len(line) for line in lines], length=32, rng=rng):
            if row.tokens < 5:
                short, short_tokens = short + 1, short_tokens + row.tokens
                continue
            ids = [2, *(i for start, stop in row.first for i in stream[start:stop]), 3]
            first = len(ids)
            if row.second:
                ids += [*(i for start, stop in row.second for i in stream[start:stop]), 3]
            expected.append((ids, first))
    ids_BL, lengths, firsts = rows_in(path)
    assert [(ids_BL[i][: lengths[i]].tolist(), firsts[i]) for i in range(len(ids_BL))] == expected
    assert all((ids_BL[i][lengths[i] :] == 0).all() for i in range(len(ids_BL)))
    assert (record.files[0].rows, record.files[0].tokens) == (len(expected), sum(lengths))
    assert record.dropped == {"short_rows": short, "short_row_tokens": short_tokens}
    assert short > 0


def test_word_starts_follow_the_tokens_into_their_rows(plan, piece_of, small_corpus, small_tokenizer):
    """Words of this corpus are its white space's: "cats" and "house." are one each, and have two tokens."""
    text = small_corpus.replace("cat", "cats").replace(" .", ".")
    documents = documents_of(text)[:20]
    piece = piece_of("\n\n".join(map("\n".join, documents)))
    record, path = written(plan, piece)
    before = path.read_bytes()
    with_starts, path = written(replace(plan, rule=replace(RULE, word_starts=True)), piece)
    assert rows_in(path)[1:] == rows_in_bytes(before)[1:]
    assert (rows_in(path)[0] == rows_in_bytes(before)[0]).all(), "the same rows"

    expected = []
    for document in documents:
        lines = [[(word, tokens(word, small_tokenizer)) for word in line.split()] for line in document]
        stream = [number == 0 for line in lines for _, ids in line for number in range(len(ids))]
        rng = document_random(digest_of("\n".join(document).encode()), seed=3)
        for row in rows_of([sum(len(ids) for _, ids in line) for line in lines], length=32, rng=rng):
            if row.tokens < 5:
                continue
            flags = []
            for segment in (row.first, row.second):
                flags.append(False)
                for start, stop in segment:
                    flags += [True, *stream[start + 1 : stop]]
            expected.append([*flags, False][: 32 if row.second else len(flags)])
    with pa.ipc.open_file(path) as reader:
        bits = np.array(reader.read_all()["word_start"].to_pylist(), dtype=np.uint8)
    found = np.unpackbits(bits, axis=1, bitorder="little").astype(bool)
    assert [row[: len(flags)].tolist() for row, flags in zip(found, expected, strict=True)] == expected
    assert not any(row[len(flags) :].any() for row, flags in zip(found, expected, strict=True))
    assert with_starts.files[0].words == sum(map(sum, expected)) and record.files[0].words == 0


def tokens(word, tokenizer):
    return tokenizer.raw.encode(word, add_special_tokens=False).ids


def test_what_is_not_carried_over_is_counted(plan, piece_of):
    piece = piece_of(" ".join(["cat"] * 100))
    assert PieceWriter(plan).write(piece).dropped == {}
    record, _ = written(replace(plan, rule=replace(RULE, carry_over=False)), piece)
    assert (record.files[0].rows, record.files[0].tokens, record.dropped) == (1, 32, {"overflow_tokens": 70})


def test_rows_do_not_depend_on_the_size_of_units(plan, piece_of, small_corpus):
    found = []
    for unit_bytes in (2000, 10**9):
        record = PieceWriter(replace(plan, unit_bytes=unit_bytes)).write(piece_of(small_corpus))
        found.append([row for file in record.files for row in rows_in(plan.folder / file.name)[0].tolist()])
    assert found[0] == found[1]


def test_a_piece_without_rows_has_a_record_and_no_file(plan, piece_of):
    piece = piece_of("cat\n\ndog")
    record = PieceWriter(plan).write(piece)
    dropped = {"short_rows": 2, "short_row_tokens": 2}
    assert (record.files, record.documents, record.dropped) == ((), 2, dropped)
    assert not list(plan.folder.glob("*.arrow"))
    assert finished_piece(plan, piece) == record


class TestFinished:
    @pytest.fixture
    def piece(self, piece_of):
        return piece_of("the cat sees the old dog under the house .", 4)

    def test_a_record_with_its_file_counts(self, plan, piece):
        assert finished_piece(plan, piece) is None
        record, path = written(plan, piece)
        assert finished_piece(plan, piece) == record
        assert record.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_a_damaged_or_missing_file_does_not(self, plan, piece):
        record, path = written(plan, piece)
        data = path.read_bytes()
        for damage in (data[:-1], data[:200] + bytes([data[200] ^ 1]) + data[201:]):
            path.write_bytes(damage)
            assert finished_piece(plan, piece) is None
        path.unlink()
        assert finished_piece(plan, piece) is None
        assert PieceWriter(plan).write(piece) == record

    def test_the_record_of_another_recipe_does_not(self, plan, piece):
        PieceWriter(plan).write(piece)
        assert finished_piece(replace(plan, recipe_id="sha256:other"), piece) is None

    def test_a_torn_or_foreign_record_does_not(self, plan, piece):
        record = PieceWriter(plan).write(piece)
        path = plan.folder / "units" / "000004.json"
        whole = json.loads(path.read_text())
        for text in (
            "",
            path.read_text()[:-4],
            "[]",
            "{}",
            json.dumps({**whole, "more": 1}),
            json.dumps({**whole, "number": 5}),
        ):
            path.write_text(text)
            assert finished_piece(plan, piece) is None
        path.write_text(json.dumps(whole))
        assert finished_piece(plan, piece) == record
