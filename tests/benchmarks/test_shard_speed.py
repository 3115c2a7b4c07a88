"""The race of `electra shard`: its text, its arithmetic, and a lap of contestants that need nothing else installed."""

from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks import shard_speed
from benchmarks.shard_speed import Sample
from electra_cli.artifacts import Recipe, claim
from electra_cli.reporting import Silent
from electra_cli.text.tokenizer import Tokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def text(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(3):
        articles = [f'<doc id="{at}" url="" title="t">\nt\n\na cat {number} {at}.\n</doc>\n' for at in range(50)]
        (folder / f"{number}.txt").write_text("".join(articles))
    return folder


def test_all_contestants_get_the_same_documents(text, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_speed, "FILE", 500)
    plain, packed, size = shard_speed.prepare([text], tmp_path, megabytes=1)
    contents = [Path(path).read_bytes() for path in plain]
    assert b"".join(contents).count(b"\n\n") == 150 and size == sum(map(len, contents)) and len(plain) > 4
    for path, content in zip(packed, contents, strict=True):
        with pa.CompressedInputStream(pa.OSFile(path), "zstd") as stream:
            assert stream.read() == content
    (tmp_path / "less").mkdir()
    assert shard_speed.prepare([text], tmp_path / "less", megabytes=0.001)[2] < 1100


def test_ratios_are_those_of_the_medians():
    samples = {"electra shard": [Sample(1.0, 10, 0.1), Sample(2.0, 30, 0.3), Sample(4.0, 20, 0.2)]}
    samples |= {"electra shard, from zstd": [Sample(4.0, 5, 0.0)], "other": [Sample(8.0, 7, 0.0)]}
    head, _, ours, packed, other = shard_speed.table(samples, megabytes=8)
    assert head.count("|") == ours.count("|") == other.count("|")
    assert ours == "| electra shard | 4.0 | 2.0–8.0 | 1.00 | 0.50 | 30 MB | 0.20 |"
    assert packed.startswith("| electra shard, from zstd | 2.0 | 2.0–2.0 | 2.00 | 1.00 |")
    assert other.startswith("| other | 1.0 | 1.0–1.0 | 4.00 | 2.00 |")


@pytest.mark.slow
def test_a_lap(text, tmp_path):
    tokenizer = Tokenizer.from_vocab([*SPECIALS, "a", "cat", "t", ".", *"0123456789", *(f"##{n}" for n in range(10))])
    with claim(tmp_path / "tok", Recipe("tokenizer", "make", 1, {}, ()), report=Silent()) as held:
        for name, data in tokenizer.files().items():
            held.draft.write_bytes(name, data)
        special = tokenizer.special_table()
        held.draft.publish(spec={"vocab_size": tokenizer.vocab_size, "special_ids": special})
    plain, packed, _ = shard_speed.prepare([text], tmp_path, megabytes=1)
    options = shard_speed.parse(["text", "--tokenizer", str(tmp_path / "tok")])
    options.tokenizer = shard_speed.newest(options.tokenizer)
    for contestant in shard_speed.contestants(options, plain, packed):
        if contestant.name != "usual recipe":
            sample = shard_speed.run(contestant, tmp_path / "run")
            assert sample.seconds > 0 and sample.peak_mb > 10, contestant.name
