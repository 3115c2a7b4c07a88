import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from electra_cli.data.shards import ShardSet, shard_bytes, shard_name, shard_schema
from electra_cli.errors import ArtifactError

VOCAB, LENGTH = 100, 8


def some_rows(count, *, seed, vocab_size=VOCAB):
    dice = np.random.default_rng(seed)
    ids_BL = dice.integers(5, vocab_size, (count, LENGTH))
    lengths_B = dice.integers(4, LENGTH + 1, count)
    first_B = np.minimum(lengths_B, dice.integers(3, LENGTH + 1, count))
    ids_BL[np.arange(LENGTH) >= lengths_B[:, None]] = 0
    return ids_BL, lengths_B, first_B


@pytest.fixture
def publish(make_artifact):
    """Publishes shards with the given rows, each element of `train` one file; `files` replaces contents."""

    def make(train, *, val=(), vocab_size=VOCAB, files=None, **spec):
        contents, splits = {}, {}
        for split, shards in (("train", train), ("val", val)):
            for number, rows in enumerate(shards):
                start_BL = rows[3] if len(rows) > 3 else None
                contents[shard_name(split, number)] = shard_bytes(
                    *rows[:3], vocab_size=vocab_size, word_start_BL=start_BL
                )
            splits[split] = {
                "rows": sum(len(rows[0]) for rows in shards),
                "tokens": sum(int(rows[1].sum()) for rows in shards),
            }
        contents |= files or {}
        counts = {
            shard_name(split, number): (len(rows[0]), int(rows[1].sum()))
            for split, shards in (("train", train), ("val", val))
            for number, rows in enumerate(shards)
        }
        whole = {"length": LENGTH, "vocab_size": vocab_size, "splits": splits, **spec}
        return make_artifact(kind="shards", files=contents, spec=whole, counts=counts)

    return make


@pytest.fixture
def make_artifact(tmp_path):
    from electra_cli.artifacts import Recipe, claim
    from electra_cli.reporting import Silent

    def make(*, kind, files, spec, counts):
        with claim(tmp_path / "out", Recipe(kind, "make", 1, {}, ()), report=Silent()) as found:
            for name, data in files.items():
                with found.draft.create(name) as file:
                    file.write(data)
                    file.rows, file.tokens = counts.get(name, (None, None))
            return found.draft.publish(spec=spec)

    return make


def test_rows_come_back_as_they_were_written_across_shards(publish):
    shards = [some_rows(count, seed=count) for count in (5, 1, 17)]
    found = ShardSet(publish(shards, val=[some_rows(3, seed=9)]), "train")
    assert (found.rows, found.length, found.vocab_size) == (23, LENGTH, VOCAB)
    assert found.tokens == sum(int(rows[1].sum()) for rows in shards)
    whole = [np.concatenate([rows[part] for rows in shards]) for part in range(3)]
    index = np.array([22, 0, 5, 6, 4, 22, 17, 5])
    batch = found.gather(index)
    for expected, got in zip(whole, (batch.ids_BL, batch.lengths_B, batch.first_B), strict=True):
        assert got.dtype == np.uint16
        assert (got == expected[index]).all()
    names = [shard_name("train", number) for number in range(3)]
    assert [found.place(row) for row in (0, 4, 5, 6, 22)] == [
        (names[0], 0),
        (names[0], 4),
        (names[1], 0),
        (names[2], 0),
        (names[2], 16),
    ]
    for row in (-1, 23):
        with pytest.raises(IndexError):
            found.place(row)
    assert found.gather(np.array([], dtype=np.int64)).ids_BL.shape == (0, LENGTH)
    found.check()


def test_splits_are_apart(publish):
    train, val = some_rows(4, seed=1), some_rows(3, seed=2)
    artifact = publish([train], val=[val])
    assert (ShardSet(artifact, "val").gather(np.arange(3)).ids_BL == val[0]).all()
    empty = ShardSet(artifact, "val")
    assert empty.rows == 3


def test_large_vocabularies_take_32_bits(publish):
    assert shard_schema(length=4, vocab_size=65_536).field("input_ids").type.value_type == pa.uint16()
    assert shard_schema(length=4, vocab_size=65_537).field("input_ids").type.value_type == pa.uint32()
    rows = some_rows(50, seed=3, vocab_size=500_000)
    found = ShardSet(publish([rows], vocab_size=500_000), "train").gather(np.arange(50))
    assert found.ids_BL.max() > 2**16
    assert (found.ids_BL == rows[0]).all()


@pytest.mark.parametrize("length", [LENGTH, 13])
def test_word_starts_are_a_bit_a_token(length, publish):
    dice = np.random.default_rng(4)
    shards, starts = [], []
    for count in (5, 9):
        ids_BL = dice.integers(5, VOCAB, (count, length))
        full = np.full(count, length)
        starts.append(dice.random((count, length)) < 0.5)
        shards.append((ids_BL, full, full, starts[-1]))
    artifact = publish(shards, length=length, word_starts=True)
    found = ShardSet(artifact, "train")
    index = np.array([13, 0, 6, 5, 4])
    batch = found.gather(index)
    assert (batch.word_starts() == np.concatenate(starts)[index]).all()
    assert (batch.ids_BL == np.concatenate([rows[0] for rows in shards])[index]).all()
    with pa.ipc.open_file(artifact.path / "train-000000-0000.arrow") as reader:
        first = reader.read_all()["word_start"][0].as_py()
    assert len(first) == -(-length // 8)
    assert [first[place // 8] >> place % 8 & 1 for place in range(length)] == starts[0][0].astype(int).tolist()


def test_shards_without_word_starts_have_no_column_for_them(publish):
    found = ShardSet(publish([some_rows(4, seed=1)]), "train")
    assert not found.word_starts
    assert found.gather(np.arange(4)).word_starts() is None
    assert shard_schema(length=LENGTH, vocab_size=VOCAB).names == ["input_ids", "length", "first"]


def test_a_spec_that_is_wrong_about_word_starts_is_found(publish):
    artifact = publish([some_rows(4, seed=1)], word_starts=True)
    with pytest.raises(ArtifactError) as caught:
        ShardSet(artifact, "train").gather(np.arange(4))
    assert caught.value.code == "BAD_SHARD"


@pytest.mark.parametrize("index", [[23], [-1], [0, 99]])
def test_numbers_outside_are_refused(index, publish):
    found = ShardSet(publish([some_rows(23, seed=1)]), "train")
    with pytest.raises(IndexError, match="0 to 22"):
        found.gather(np.array(index))


def test_the_file_is_an_uncompressed_ipc_file_of_one_batch():
    data = shard_bytes(*some_rows(1000, seed=1), vocab_size=VOCAB)
    with pa.ipc.open_file(pa.py_buffer(data)) as reader:
        assert reader.num_record_batches == 1
        assert reader.schema.equals(shard_schema(length=LENGTH, vocab_size=VOCAB), check_metadata=True)
    assert len(data) < 1000 * (LENGTH + 2) * 2 + 2000
    assert data == shard_bytes(*some_rows(1000, seed=1), vocab_size=VOCAB)


def test_no_descriptor_stays_open(publish):
    artifact = publish([some_rows(4, seed=number) for number in range(40)])
    found = ShardSet(artifact, "train")
    before = len(os.listdir("/proc/self/fd"))
    found.gather(np.arange(found.rows))
    assert len(os.listdir("/proc/self/fd")) == before


def test_few_descriptors_are_enough(publish):
    artifact = publish([some_rows(2, seed=number) for number in range(200)])
    script = (
        "import resource, sys, numpy as np\n"
        "from electra_cli.artifacts import open_artifact\n"
        "from electra_cli.data.shards import ShardSet\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "found = ShardSet(open_artifact(sys.argv[1]), 'train')\n"
        "print(found.gather(np.arange(found.rows)).ids_BL.shape)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 64
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", script, artifact.path], env=env, capture_output=True, text=True)
    assert done.stdout == f"(400, {LENGTH})\n", done.stderr


class TestDamage:
    def test_a_flipped_bit_is_found_when_the_shard_is_first_needed(self, publish):
        artifact = publish([some_rows(5, seed=1), some_rows(5, seed=2)])
        path = artifact.path / "train-000001-0000.arrow"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        found = ShardSet(artifact, "train")
        found.gather(np.arange(5))
        with pytest.raises(ArtifactError) as caught:
            found.gather(np.arange(10))
        assert caught.value.code == "HASH_MISMATCH"

    @pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
    def test_another_size_is_found(self, change, publish):
        artifact = publish([some_rows(5, seed=1)])
        path = artifact.path / "train-000000-0000.arrow"
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(ArtifactError) as caught:
            ShardSet(artifact, "train").gather(np.arange(5))
        assert caught.value.code == "SIZE_MISMATCH"

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda rows: (np.where(rows[0] > 5, VOCAB, rows[0]), rows[1], rows[2]),
            lambda rows: (rows[0], rows[1] * 0 + LENGTH + 1, rows[2]),
            lambda rows: (rows[0], rows[1], rows[1] + 1),
            lambda rows: (rows[0], rows[1], rows[2] * 0),
        ],
        ids=["ids", "lengths", "first", "no first"],
    )
    def test_impossible_rows_with_a_right_hash_are_refused(self, wrong, publish):
        rows = some_rows(5, seed=1)
        artifact = publish([rows], files={"train-000000-0000.arrow": shard_bytes(*wrong(rows), vocab_size=VOCAB)})
        with pytest.raises(ArtifactError) as caught:
            ShardSet(artifact, "train").gather(np.arange(5))
        assert caught.value.code == "BAD_SHARD"

    @pytest.mark.parametrize("kind", ["metadata", "other type", "extra column", "two batches", "stream", "not arrow"])
    def test_other_arrow_files_are_refused(self, kind, publish):
        rows = some_rows(6, seed=1)
        with pa.ipc.open_file(pa.py_buffer(shard_bytes(*rows, vocab_size=VOCAB))) as reader:
            table = reader.read_all()
        if kind == "metadata":
            table = table.replace_schema_metadata({"ARROW:extension:name": "stranger"})
        elif kind == "other type":
            table = table.set_column(1, "length", table["length"].cast(pa.int64()))
        elif kind == "extra column":
            table = table.append_column("extra", pa.array([1] * 6))
        sink = pa.BufferOutputStream()
        opened = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with opened(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=3 if kind == "two batches" else None)
        data = b"not arrow at all" if kind == "not arrow" else sink.getvalue().to_pybytes()
        artifact = publish([rows], files={"train-000000-0000.arrow": data})
        with pytest.raises(ArtifactError) as caught:
            ShardSet(artifact, "train").gather(np.arange(6))
        assert caught.value.code == "BAD_SHARD"

    def test_a_missing_shard_is_found(self, publish):
        artifact = publish([some_rows(5, seed=1)])
        (artifact.path / "train-000000-0000.arrow").unlink()
        with pytest.raises(ArtifactError) as caught:
            ShardSet(artifact, "train").gather(np.arange(5))
        assert caught.value.code == "MISSING_FILE"

    @pytest.mark.parametrize(
        "spec", [{"splits": {"train": {"rows": 6, "tokens": 1}}}, {"splits": {}}, {"length": "long"}, {"length": None}]
    )
    def test_a_manifest_that_does_not_add_up_is_refused(self, spec, publish):
        artifact = publish([some_rows(5, seed=1)], **spec)
        with pytest.raises(ArtifactError) as caught:
            ShardSet(artifact, "train")
        assert caught.value.code == "BAD_SHARD"

    def test_a_row_count_that_lies_is_refused(self, publish):
        five, six = some_rows(5, seed=1), some_rows(6, seed=1)
        artifact = publish([five], files={"train-000000-0000.arrow": shard_bytes(*six, vocab_size=VOCAB)})
        with pytest.raises(ArtifactError, match="6 rows"):
            ShardSet(artifact, "train").gather(np.arange(5))


def test_other_kinds_are_refused(make_artifact):
    artifact = make_artifact(kind="model", files={"a": b"x"}, spec={}, counts={})
    with pytest.raises(ArtifactError) as caught:
        ShardSet(artifact, "train")
    assert caught.value.code == "WRONG_KIND"
