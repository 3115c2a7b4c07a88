import hashlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from electra_cli.data.corpus import Document
from electra_cli.data.segments import digest_of, document_random, rows_of
from electra_cli.data.units import UnitPlan, UnitTask, UnitWriter, finished_unit, plan_units


@pytest.fixture
def plan(tmp_path, tokenizer_folder):
    folder = tmp_path / "draft"
    folder.mkdir()
    return UnitPlan(folder, tokenizer_folder, "sha256:recipe", length=32, min_row_tokens=5, seed=3)


def documents_of(text):
    return [Document(part.split("\n"), "corpus.txt", 1) for part in text.strip().split("\n\n")]


def rows_in(path):
    return rows_in_bytes(path.read_bytes())


def rows_in_bytes(data):
    with pa.ipc.open_file(pa.py_buffer(data)) as reader:
        table = reader.read_all()
    return np.array(table["input_ids"].to_pylist()), table["length"].to_pylist(), table["first"].to_pylist()


def test_units_hold_every_document_once_in_order(small_corpus):
    documents = documents_of(small_corpus)
    tasks = list(plan_units(documents, unit_bytes=5000, val_fraction=0.2, seed=0))
    assert len({task.name for task in tasks}) == len(tasks) > 5
    texts = {split: [] for split in ("train", "val")}
    for task in tasks:
        parts = task.text.split(b"\0")
        assert len(parts) == task.documents
        texts[task.split] += parts
    everything = ["\n".join(document.lines).encode() for document in documents]
    assert sorted(texts["train"] + texts["val"]) == sorted(everything)
    for split in texts.values():
        assert split == [text for text in everything if text in set(split)]
    assert 0.1 < len(texts["val"]) / len(documents) < 0.3
    full = [task for task in tasks if task.split == "train"][:-1]
    assert all(5000 <= len(task.text) < 9000 for task in full)


def test_a_unit_holds_the_rows_that_a_slow_reading_of_the_rules_gives(plan, small_corpus, small_tokenizer):
    documents = documents_of(small_corpus)[:20]
    (task,) = plan_units(documents, unit_bytes=10**9, val_fraction=0.0, seed=3)
    record = UnitWriter(plan).write(task)

    expected, short = [], 0
    for document in documents:
        lines = [small_tokenizer.raw.encode(line, add_special_tokens=False).ids for line in document.lines]
        stream = [i for line in lines for i in line]
        rng = document_random(digest_of("\n".join(document.lines).encode()), seed=3)
        for row in rows_of([len(line) for line in lines], length=32, rng=rng):
            if row.tokens < 5:
                short += 1
                continue
            ids = [2, *(i for start, stop in row.first for i in stream[start:stop]), 3]
            first = len(ids)
            if row.second:
                ids += [*(i for start, stop in row.second for i in stream[start:stop]), 3]
            expected.append((ids, first))
    ids_BL, lengths, firsts = rows_in(plan.folder / record.name)
    assert [(ids_BL[i][: lengths[i]].tolist(), firsts[i]) for i in range(len(ids_BL))] == expected
    assert all((ids_BL[i][lengths[i] :] == 0).all() for i in range(len(ids_BL)))
    assert (record.rows, record.tokens) == (len(expected), sum(lengths))
    assert record.dropped == {"short_rows": short}
    assert short > 0


def test_word_starts_follow_the_tokens_into_their_rows(plan, small_corpus, small_tokenizer):
    """Words of this corpus are its white space's: "cats" and "house." are one each, and have two tokens."""
    text = small_corpus.replace("cat", "cats").replace(" .", ".")
    documents = documents_of(text)[:20]
    (task,) = plan_units(documents, unit_bytes=10**9, val_fraction=0.0, seed=3)
    record = UnitWriter(plan).write(task)
    before = (plan.folder / record.name).read_bytes()
    with_starts = UnitWriter(replace(plan, word_starts=True)).write(task)
    assert rows_in(plan.folder / with_starts.name)[1:] == rows_in_bytes(before)[1:]
    assert (rows_in(plan.folder / with_starts.name)[0] == rows_in_bytes(before)[0]).all(), "the same rows"

    expected = []
    for document in documents:
        lines = [[(word, tokens(word, small_tokenizer)) for word in line.split()] for line in document.lines]
        stream = [number == 0 for line in lines for _, ids in line for number in range(len(ids))]
        rng = document_random(digest_of("\n".join(document.lines).encode()), seed=3)
        for row in rows_of([sum(len(ids) for _, ids in line) for line in lines], length=32, rng=rng):
            if row.tokens < 5:
                continue
            flags = []
            for segment in (row.first, row.second):
                flags.append(False)
                for start, stop in segment:
                    flags += [True, *stream[start + 1 : stop]]
            expected.append([*flags, False][: 32 if row.second else len(flags)])
    with pa.ipc.open_file(plan.folder / with_starts.name) as reader:
        bits = np.array(reader.read_all()["word_start"].to_pylist(), dtype=np.uint8)
    found = np.unpackbits(bits, axis=1, bitorder="little").astype(bool)
    assert [row[: len(flags)].tolist() for row, flags in zip(found, expected, strict=True)] == expected
    assert not any(row[len(flags) :].any() for row, flags in zip(found, expected, strict=True))
    assert with_starts.words == sum(map(sum, expected)) and record.words == 0


def tokens(word, tokenizer):
    return tokenizer.raw.encode(word, add_special_tokens=False).ids


def test_what_is_not_carried_over_is_counted(plan):
    task = UnitTask("train", 0, " ".join(["cat"] * 100).encode(), 1)
    assert UnitWriter(plan).write(task).dropped == {}
    record = UnitWriter(replace(plan, carry_over=False)).write(task)
    assert (record.rows, record.tokens, record.dropped) == (1, 32, {"overflow_tokens": 70})


def test_rows_do_not_depend_on_the_units(plan, small_corpus):
    documents = documents_of(small_corpus)
    found = []
    for unit_bytes in (2000, 10**9):
        rows = []
        for task in plan_units(documents, unit_bytes=unit_bytes, val_fraction=0.0, seed=3):
            record = UnitWriter(plan).write(task)
            rows += rows_in(plan.folder / record.name)[0].tolist()
        found.append(rows)
    assert found[0] == found[1]


def test_a_unit_without_rows_has_a_record_and_no_file(plan):
    record = UnitWriter(plan).write(UnitTask("train", 0, b"cat\0dog", 2))
    assert (record.rows, record.dropped) == (0, {"short_rows": 2})
    assert not (plan.folder / record.name).exists()
    assert finished_unit(plan, UnitTask("train", 0, b"cat\0dog", 2)) == record


class TestFinished:
    TASK = UnitTask("train", 4, b"the cat sees the old dog under the house .", 1)

    def test_a_record_with_its_file_counts(self, plan):
        assert finished_unit(plan, self.TASK) is None
        record = UnitWriter(plan).write(self.TASK)
        assert finished_unit(plan, self.TASK) == record
        assert record.sha256 == hashlib.sha256((plan.folder / record.name).read_bytes()).hexdigest()

    def test_a_file_that_does_not_match_its_record_is_written_again(self, plan):
        record = UnitWriter(plan).write(self.TASK)
        path = plan.folder / record.name
        whole = path.read_bytes()
        for data in (whole[:-1], whole + b"x", bytes([whole[0] ^ 1]) + whole[1:]):
            path.write_bytes(data)
            assert finished_unit(plan, self.TASK) is None
        path.unlink()
        assert finished_unit(plan, self.TASK) is None
        assert UnitWriter(plan).write(self.TASK) == record
        assert path.read_bytes() == whole

    def test_records_of_others_or_torn_ones_do_not_count(self, plan):
        UnitWriter(plan).write(self.TASK)
        assert finished_unit(replace(plan, recipe_id="sha256:other"), self.TASK) is None
        (path,) = (plan.folder / "units").iterdir()
        body = path.read_bytes()
        for data in (b"", body[:-5], b"[]", b"{}", json.dumps({**json.loads(body), "extra": 1}).encode()):
            path.write_bytes(data)
            assert finished_unit(plan, self.TASK) is None
