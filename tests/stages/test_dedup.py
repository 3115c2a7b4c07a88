"""`--dedup` through both commands that read text."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from electra_cli.artifacts import open_artifact
from electra_cli.data.dedup_settings import DedupSettings
from electra_cli.data.parts import Part
from electra_cli.errors import DataError, UsageError
from electra_cli.reporting import Silent
from electra_cli.stages import shard, tokenize
from electra_cli.stages.corpus_words import CorporaSettings

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = ["the", "old", "cat", "dog", "sees", "finds", "river", "stone", "under", "over", "north", "south", "winds"]


def some_documents(seed, number):
    dice = random.Random(seed)
    return ["\n".join(" ".join(dice.choices(WORDS, k=30)) for _ in range(dice.randint(3, 9))) for _ in range(number)]


def write(folder, files):
    folder.mkdir(parents=True)
    for number, documents in enumerate(files):
        (folder / f"{number:02d}.txt").write_text("\n\n".join(documents) + "\n")
    return folder


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A corpus with copies in three of its files, the same without them, and a tokenizer."""
    folder = tmp_path_factory.mktemp("line")
    documents = some_documents(0, 300)
    first, second, third = documents[:100], documents[100:200], documents[200:]
    edited = [document.replace(document.split()[40], "nowhere", 1) for document in first[:20]]
    write(folder / "once", [first, second, third])
    write(folder / "copies", [first, [*first[:30], *second, second[5]], [*third, *first[50:60]]])
    write(folder / "edited", [first, [*edited, *second], third])
    settings = tokenize.TokenizeSettings(vocab_size=80)
    tokenize.run([folder / "once"], folder / "tokenizer", settings=settings, report=Silent())
    return folder


def build(line, corpus, out, *, match="none", **settings):
    settings = {"length": 32, "val_fraction": 0.1, "workers": 1, **settings}
    wanted = shard.ShardSettings(dedup=DedupSettings(match=match), **settings)
    return shard.run([line / corpus], line / "tokenizer", out, settings=wanted, report=Silent()).artifact


def test_shards_are_those_of_the_corpus_without_its_duplicates(line, tmp_path):
    once = build(line, "once", tmp_path / "once")
    for match, corpus, reason, number in (
        ("exact", "copies", "duplicate_documents", 41),
        ("near", "edited", "near_duplicate_documents", 20),
    ):
        made = build(line, corpus, tmp_path / match, match=match)
        assert made.manifest.files == once.manifest.files
        assert made.spec == {**once.spec, "dropped": {**once.spec["dropped"], reason: number}}
        assert not (made.path / "dedup").exists()
    assert build(line, "copies", tmp_path / "none").spec["documents"] == 341


@pytest.mark.slow
def test_workers_do_not_change_the_shards(line, tmp_path):
    one, two = (
        build(line, "edited", tmp_path / f"{workers}", match="near", workers=workers, unit_bytes=20_000)
        for workers in (1, 2)
    )
    assert one.content_id == two.content_id
    assert one.spec["dropped"]["near_duplicate_documents"] == 20


@pytest.mark.slow
def test_a_ray_cluster_finds_the_same(line, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    one, many = (
        build(line, "edited", tmp_path / engine, match="near", engine=engine, unit_bytes=20_000)
        for engine in ("local", "ray")
    )
    assert one.content_id == many.content_id


@pytest.mark.slow
def test_killed_while_looking_for_duplicates_it_goes_on(line, tmp_path):
    expected = build(line, "copies", tmp_path / "whole", match="near", unit_bytes=10_000)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "electra_cli", "shard", line / "copies", "-t", line / "tokenizer", "-o", out]
    command += ["--dedup", "near", "--length", "32", "--val-fraction", "0.1", "--workers", "1", "--json"]
    command += ["--set", "unit_bytes=10000"]
    process = subprocess.Popen(list(map(str, command)), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    scans = out / ".v1.partial" / "dedup"
    while process.poll() is None and not (scans / "000000.json").exists():
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert scans.exists()
    done = subprocess.run(list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"] == "resumed"
    assert open_artifact(out).content_id == expected.content_id


def test_a_part_cannot_know_what_the_others_have(line, tmp_path):
    settings = shard.ShardSettings(dedup=DedupSettings(match="exact"))
    with pytest.raises(UsageError) as caught:
        shard.run(
            [line / "copies"],
            line / "tokenizer",
            tmp_path / "part",
            settings=settings,
            report=Silent(),
            part=Part(1, 2),
        )
    assert (caught.value.code, caught.value.where) == ("BAD_PART", "--dedup")
    assert not (tmp_path / "part").exists()


def learn(texts, out, match):
    settings = tokenize.TokenizeSettings(vocab_size=80, dedup=DedupSettings(match=match))
    return tokenize.run(texts, out, settings=settings, report=Silent())


def test_a_tokenizer_is_that_of_the_corpus_without_its_duplicates(line, tmp_path):
    files = sorted((line / "copies").iterdir())
    once, without = learn([line / "once"], tmp_path / "once", "none"), learn(files, tmp_path / "exact", "exact")
    assert without.artifact.manifest.files == once.artifact.manifest.files
    corpus = without.artifact.manifest.provenance["corpus"]
    assert (corpus["documents"], corpus["dropped"]) == (300, {"duplicate_documents": 41})
    # Of exact copies it does not matter which stays, of near ones it does.
    assert learn(files[::-1], tmp_path / "exact", "exact").status == "up to date"
    near = learn([line / "edited"], tmp_path / "near", "near")
    assert near.artifact.manifest.provenance["corpus"]["dropped"] == {"near_duplicate_documents": 20}
    assert "nowhere" not in (near.artifact.path / "vocab.txt").read_text().split()
    other = learn(sorted((line / "edited").iterdir())[::-1], tmp_path / "near", "near")
    assert other.status == "built"


def test_several_corpora_are_compared_with_each_other(line, tmp_path):
    """The first keeps what both have, so that their order is another recipe; nothing may be left of the second."""

    def weighed(*corpora):
        settings = tokenize.TokenizeSettings(
            vocab_size=80,
            dedup=DedupSettings(match="exact"),
            corpora=CorporaSettings(temperature=2.0),
        )
        texts = [line / corpus for corpus in corpora]
        return tokenize.run(texts, tmp_path / "weighed", settings=settings, report=Silent())

    write(tmp_path / "more", [some_documents(1, 50), some_documents(0, 300)[:100]])
    (line / "more").symlink_to(tmp_path / "more")
    made = weighed("once", "more")
    assert [part["documents"] for part in made.artifact.manifest.provenance["corpora"]] == [300, 50]
    assert [part["documents"] for part in weighed("more", "once").artifact.manifest.provenance["corpora"]] == [150, 200]
    with pytest.raises(DataError, match="300 duplicate_documents") as caught:
        weighed("copies", "once")
    assert caught.value.code == "NO_DOCUMENTS"


def test_the_commands_take_the_flag(line, tmp_path):
    for command in (["tokenize"], ["shard", "-t", line / "tokenizer"]):
        done = subprocess.run(
            [sys.executable, "-m", "electra_cli", *command, line / "once", "-o", tmp_path / "out", "--dedup", "fuzzy"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "dedup.match" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
