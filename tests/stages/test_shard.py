import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from electra_cli.artifacts import open_artifact
from electra_cli.data.shards import ShardSet
from electra_cli.errors import ArtifactError, DataError
from electra_cli.reporting import Silent
from electra_cli.stages import tokenize
from electra_cli.stages.shard import ShardSettings, run
from electra_cli.text.tokenizer import Tokenizer

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = ["the", "old", "cat", "dog", "sees", "finds", "river", "stone", "under", "over", "north", "south", "winds"]


def some_text(seed, documents):
    dice = random.Random(seed)
    texts = []
    for _ in range(documents):
        lines = [" ".join(dice.choices(WORDS, k=dice.randint(3, 40))) + "." for _ in range(dice.randint(1, 9))]
        texts.append("\n".join(lines))
    return "\n\n".join(texts) + "\n"


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A corpus of 600 documents in thirty files, and a tokenizer made of it."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "corpus").mkdir()
    for number in range(30):
        (folder / "corpus" / f"{number:02d}.txt").write_text(some_text(number, 20))
    settings = tokenize.TokenizeSettings(vocab_size=120)
    tokenize.run([folder / "corpus"], folder / "tokenizer", settings=settings, report=Silent())
    return folder


def build(line, out, *, texts=None, report=None, **settings):
    settings = {"length": 32, "val_fraction": 0.1, "unit_bytes": 20_000, "workers": 1, **settings}
    return run(
        texts or [line / "corpus"],
        line / "tokenizer",
        out,
        settings=ShardSettings(**settings),
        report=report or Silent(),
    )


def test_the_artifact_says_what_it_holds(line, tmp_path):
    outcome = build(line, tmp_path / "out")
    artifact = open_artifact(tmp_path / "out", kinds={"shards"})
    tokenizer = open_artifact(line / "tokenizer")
    assert outcome.status == "built"
    assert artifact.spec["tokenizer"] == tokenizer.content_id
    assert artifact.spec["special_ids"] == tokenizer.spec["special_ids"]
    assert (artifact.spec["length"], artifact.spec["vocab_size"]) == (32, tokenizer.spec["vocab_size"])
    assert artifact.spec["documents"] == 600
    assert artifact.spec["dropped"].keys() == {"short_rows", "short_row_tokens"}
    assert (artifact.spec["recipe"], artifact.spec["unknown"]) == ("pairs", 0)
    for split in ("train", "val"):
        shards = ShardSet(artifact, split)
        shards.check()
        batch = shards.gather(np.arange(shards.rows))
        counts = artifact.spec["splits"][split]
        assert counts == {"rows": shards.rows, "tokens": int(batch.lengths_B.sum())}
        assert (batch.ids_BL[:, 0] == tokenizer.spec["special_ids"]["cls"]).all()
        assert (batch.ids_BL[np.arange(shards.rows), batch.lengths_B - 1] == tokenizer.spec["special_ids"]["sep"]).all()
        assert (batch.ids_BL[np.arange(shards.rows), batch.first_B - 1] == tokenizer.spec["special_ids"]["sep"]).all()
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        assert (artifact.path / "tokenizer" / name).read_bytes() == (tokenizer.path / name).read_bytes()
    assert {path.name for path in artifact.path.iterdir()} >= {"tokenizer", "manifest.json"}
    assert not (artifact.path / "units").exists()


def test_the_rows_hold_all_of_the_text_once(line, tmp_path):
    artifact = build(line, tmp_path / "out", min_row_tokens=1).artifact
    tokenizer = Tokenizer.load(artifact.path / "tokenizer")
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    for split in ("train", "val"):
        shards = ShardSet(artifact, split)
        ids = shards.gather(np.arange(shards.rows)).ids_BL
        counts += np.bincount(ids.reshape(-1), minlength=tokenizer.vocab_size)
    text = "".join(path.read_text() for path in sorted((line / "corpus").iterdir()))
    expected = np.bincount(np.concatenate(tokenizer.encode_lines(text.split("\n"))), minlength=tokenizer.vocab_size)
    specials = sorted(tokenizer.special_ids)
    counts[specials] = expected[specials] = 0
    assert (counts == expected).all()


def test_held_out_documents_are_not_in_training(line, tmp_path):
    artifact = build(line, tmp_path / "out").artifact
    rows = {}
    for split in ("train", "val"):
        shards = ShardSet(artifact, split)
        rows[split] = {tuple(row) for row in shards.gather(np.arange(shards.rows)).ids_BL.tolist() if row[20]}
    assert rows["val"] and not rows["val"] & rows["train"]


@pytest.mark.slow
def test_the_number_of_workers_does_not_matter(line, tmp_path):
    found = {build(line, tmp_path / str(workers), workers=workers).artifact.content_id for workers in (1, 2, 5)}
    assert len(found) == 1


def test_rows_do_not_depend_on_the_size_of_units(line, tmp_path):
    found = []
    for unit_bytes in (3_000, 10_000_000):
        shards = ShardSet(build(line, tmp_path / str(unit_bytes), unit_bytes=unit_bytes).artifact, "train")
        found.append(shards.gather(np.arange(shards.rows)).ids_BL.tolist())
    assert found[0] == found[1]


def test_the_same_call_is_up_to_date_and_workers_are_no_part_of_it(line, tmp_path):
    first = build(line, tmp_path / "out")
    again = build(line, tmp_path / "out", workers=2)
    assert (again.status, again.artifact.path) == ("up to date", first.artifact.path)
    other = build(line, tmp_path / "out", seed=1)
    assert (other.status, other.artifact.path.name) == ("built", "v2")
    assert other.artifact.content_id != first.artifact.content_id


def test_up_to_date_needs_no_heavy_package(line, tmp_path):
    build(line, tmp_path / "out")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from electra_cli.reporting import Silent\n"
        "from electra_cli.stages.shard import ShardSettings, run\n"
        "settings = ShardSettings(length=32, val_fraction=0.1, unit_bytes=20_000)\n"
        "corpus, tokenizer, out = map(Path, sys.argv[1:])\n"
        "assert run([corpus], tokenizer, out, settings=settings, report=Silent()).status == 'up to date'\n"
        "heavy = {'numpy', 'pyarrow', 'tokenizers', 'torch', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    arguments = [line / "corpus", line / "tokenizer", tmp_path / "out"]
    subprocess.run([sys.executable, "-c", script, *arguments], env=env, check=True)


class Listener(Silent):
    def __init__(self):
        self.said = []

    def note(self, message):
        self.said.append(message)

    warn = note


def test_a_split_without_rows_is_said_or_refused(line, tmp_path):
    (tmp_path / "one.txt").write_text("the old cat sees the dog over the river.\n")
    listener = Listener()
    artifact = build(line, tmp_path / "out", texts=[tmp_path / "one.txt"], val_fraction=0.01, report=listener).artifact
    assert artifact.spec["splits"] == {"train": {"rows": 1, "tokens": 12}, "val": {"rows": 0, "tokens": 0}}
    assert ShardSet(artifact, "val").rows == 0
    assert any("held-out" in message for message in listener.said)
    (tmp_path / "one.txt").write_text("cat\n")
    with pytest.raises(DataError, match="1 rows were too short") as caught:
        build(line, tmp_path / "out", texts=[tmp_path / "one.txt"])
    assert caught.value.code == "NO_DOCUMENTS"


def test_something_else_than_a_tokenizer_is_refused(line, tmp_path):
    shards = build(line, tmp_path / "out").artifact
    with pytest.raises(ArtifactError) as caught:
        run([line / "corpus"], shards.path, tmp_path / "other", settings=ShardSettings(), report=Silent())
    assert caught.value.code == "WRONG_KIND"
    assert not (tmp_path / "other").exists()


def command(line, out, *more):
    settings = ["--length", 32, "--val-fraction", 0.1, "--set", "unit_bytes=4000", "--workers", 2]
    return ["shard", line / "corpus", "--tokenizer", line / "tokenizer", "--out", out, *settings, *more]


@pytest.fixture(scope="module")
def undisturbed(line, tmp_path_factory):
    return build(line, tmp_path_factory.mktemp("undisturbed") / "out", unit_bytes=4000).artifact.content_id


class TestInterruption:
    def start(self, line, out):
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        arguments = [sys.executable, "-m", "electra_cli", *map(str, command(line, out))]
        return subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_for_units(self, process, out, count):
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(out.glob(".v1.partial/units/*.json"))) >= count:
                return
            time.sleep(0.002)

    @pytest.mark.slow
    def test_killed_and_run_again_gives_the_same_and_reuses_units(self, line, tmp_path, undisturbed, electra):
        out = tmp_path / "out"
        with self.start(line, out) as process:
            self.wait_for_units(process, out, 5)
            process.kill()
        assert not list(out.glob("v*"))
        (partial,) = out.glob(".v1.partial")
        finished = len(list(partial.glob("units/*.json")))
        assert finished >= 5
        victim = sorted(partial.glob("train-*.arrow"))[0]
        victim.write_bytes(victim.read_bytes()[:-1])  # its record no longer fits: it must be written again
        done = electra(*command(line, out, "--json"))
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["status"] == "resumed"
        assert result["content_id"] == undisturbed
        assert result["summary"]["pieces_reused"] == finished - 1
        assert f"{finished - 1} of 84 pieces reused" in done.stderr
        ShardSet(open_artifact(out), "train").check()

    @pytest.mark.slow
    def test_a_killed_worker_is_exit_8_and_the_next_run_continues(self, line, tmp_path, undisturbed, electra):
        out = tmp_path / "out"
        with self.start(line, out) as process:
            self.wait_for_units(process, out, 3)
            workers = [
                int(folder.name)
                for folder in Path("/proc").glob("[0-9]*")
                if b"spawn_main" in read(folder / "cmdline")
                and f"PPid:\t{process.pid}\n".encode() in read(folder / "status")
            ]
            os.kill(workers[0], signal.SIGKILL)
            began = time.monotonic()
            _, stderr = process.communicate(timeout=30)
            assert time.monotonic() - began < 5
        assert process.returncode == 8, stderr
        assert b"killed by signal 9" in stderr and b"hint: run the same command again" in stderr
        done = electra(*command(line, out, "--json"))
        assert json.loads(done.stdout)["content_id"] == undisturbed
        assert json.loads(done.stdout)["summary"]["pieces_reused"] >= 3

    @pytest.mark.slow
    def test_killed_at_any_moment(self, line, tmp_path, undisturbed, electra):
        dice = random.Random(4)
        for number in range(5):
            out = tmp_path / str(number)
            with self.start(line, out) as process:
                time.sleep(dice.uniform(0.1, 2.5))
                process.kill()
            done = electra(*command(line, out, "--json"))
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["content_id"] == undisturbed
            shutil.rmtree(out)


def read(path):
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_the_command_prints_the_path_and_the_next_command(line, tmp_path, electra):
    done = electra(*command(line, tmp_path / "out"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out/v1\n")
    assert f"next: electra pretrain {tmp_path}/out/v1" in done.stderr
