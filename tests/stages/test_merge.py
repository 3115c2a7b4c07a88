"""Parts of shards and their merging: the same content as one run, and everything that can be wrong with parts."""

import os
import shutil
from pathlib import Path

import pytest

from electra_cli.artifacts import open_artifact
from electra_cli.data.parts import Part
from electra_cli.data.shards import ShardSet
from electra_cli.errors import ArtifactError, BusyError, DataError, ResourceError, UsageError
from electra_cli.reporting import Silent
from electra_cli.stages import merge, shard, tokenize, verify
from tests.stages.test_shard import some_text


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A corpus of a large file and eight small ones, a tokenizer, the shards of one run, and the same in four parts."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "corpus").mkdir()
    (folder / "corpus" / "00.txt").write_text(some_text(100, 60))
    for number in range(1, 9):
        (folder / "corpus" / f"{number:02d}.txt").write_text(some_text(number, 8))
    settings = tokenize.TokenizeSettings(vocab_size=120, workers=1)
    tokenize.run([folder / "corpus"], folder / "tokenizer", settings=settings, report=Silent())
    build(folder, folder / "whole")
    (folder / "parts").mkdir()
    for number in range(1, 5):
        build(folder, folder / "parts" / f"{number}", part=Part(number, 4))
    return folder


def build(line, out, *, part=None, corpus=None, **settings):
    settings = {"length": 32, "val_fraction": 0.1, "unit_bytes": 12_000, "workers": 1, **settings}
    texts = [corpus or line / "corpus"]
    made_with = shard.ShardSettings(**settings)
    return shard.run(texts, line / "tokenizer", out, settings=made_with, report=Silent(), part=part)


def merged(parts, out, **settings):
    return merge.run(parts, out, settings=merge.MergeSettings(**settings), report=Silent())


@pytest.fixture
def parts(line, tmp_path):
    """A copy of the four parts."""
    return shutil.copytree(line / "parts", tmp_path / "parts")


def refusal(parts, out):
    with pytest.raises(ArtifactError) as caught:
        merged(parts, out)
    assert not list(out.glob("v*"))
    return caught.value


def same(one, other):
    assert one.content_id == other.content_id
    assert one.manifest.recipe_id == other.manifest.recipe_id
    assert [record.path for record in one.manifest.files] == [record.path for record in other.manifest.files]


def test_the_parts_are_shares_of_the_corpus(line):
    parts = [open_artifact(line / "parts" / f"{number}", kinds={"shards-part"}) for number in range(1, 5)]
    whole = open_artifact(line / "whole")
    assert sum(part.spec["documents"] for part in parts) == whole.spec["documents"]
    names = [record.path for part in parts for record in part.manifest.files if record.rows is not None]
    assert sorted(names) == sorted(record.path for record in whole.manifest.files if record.rows is not None)
    shared = [part for part in parts if part.spec["part"]["files"] and part.spec["part"]["pieces"]]
    assert len(shared) == 4 and sum(part.spec["part"]["files"] for part in parts) > 9  # the large file in several


@pytest.mark.parametrize("link", [True, False])
def test_merged_parts_are_the_shards_of_one_run(line, parts, tmp_path, link):
    outcome = merged([parts], tmp_path / "out", link=link)
    assert outcome.status == "built"
    same(outcome.artifact, open_artifact(line / "whole"))
    assert [result.status for result in verify.run(tmp_path / "out", fast=False, report=Silent())] == ["ok"]
    shards = [record.path for record in outcome.artifact.manifest.files if record.rows is not None]
    names = {os.stat(outcome.artifact.path / name).st_nlink for name in shards}
    assert names == ({2} if link else {1})
    assert [result.status for result in verify.run(parts / "2", fast=False, report=Silent())] == ["ok"]
    shutil.rmtree(parts)
    ShardSet(open_artifact(tmp_path / "out"), "train").check()
    again = build(line, tmp_path / "out")  # one run of all finds that it is there
    assert (again.status, again.artifact.path) == ("up to date", outcome.artifact.path)


def test_parts_are_found_one_by_one_and_in_a_line(line, parts, tmp_path):
    out = tmp_path / "out"
    one_by_one = merged([parts / "3", parts / "1/v1", f"{parts / '4'}@v1", parts / "2"], out)
    assert merged([parts, parts / "2"], out).status == "up to date"
    for number in (1, 2, 3, 4):  # one after the other into the same line
        build(line, tmp_path / "all", part=Part(number, 4))
    other = build(line, tmp_path / "all", part=Part(1, 2))
    assert other.artifact.path.name == "v5"
    assert refusal([tmp_path / "all"], tmp_path / "two").code == "PARTS_MISSING"  # the newest decides: 1/2
    shutil.rmtree(tmp_path / "all" / "v5")
    same(merged([tmp_path / "all"], tmp_path / "line").artifact, one_by_one.artifact)


def test_more_parts_than_pieces(line, tmp_path):
    for number in range(1, 14):
        build(line, tmp_path / f"parts-{number}", part=Part(number, 13), unit_bytes=60_000)
    whole = build(line, tmp_path / "whole", unit_bytes=60_000)
    parts = sorted(tmp_path.glob("parts-*"))
    assert not open_artifact(parts[-1]).spec["documents"] or not open_artifact(parts[0]).spec["documents"]
    same(merged(parts, tmp_path / "out").artifact, whole.artifact)


def test_a_part_reads_its_own_files_only(line, tmp_path):
    corpus = shutil.copytree(line / "corpus", tmp_path / "corpus")
    last = corpus / "08.txt"
    last.write_bytes(b"\xff" * last.stat().st_size)
    first = build(line, tmp_path / "1", part=Part(1, 4), corpus=corpus)
    assert first.artifact.content_id == open_artifact(line / "parts" / "1").content_id
    with pytest.raises(DataError, match="not UTF-8"):
        build(line, tmp_path / "4", part=Part(4, 4), corpus=corpus)


def test_a_part_is_up_to_date(line, parts):
    assert build(line, parts / "2", part=Part(2, 4), workers=2).status == "up to date"
    assert build(line, parts / "2", part=Part(3, 4)).artifact.path.name == "v2"


def test_missing_parts_are_named(parts, tmp_path):
    shutil.rmtree(parts / "2")
    shutil.rmtree(parts / "3" / "v1")
    error = refusal([parts], tmp_path / "out")
    assert error.code == "PARTS_MISSING" and "2 of 4 parts are missing: 2/4, 3/4" in error.message
    assert "--part 2/4" in error.hint


def test_a_part_twice(parts, tmp_path):
    shutil.copytree(parts / "2", parts / "2 again")
    assert refusal([parts], tmp_path / "out").code == "PART_TWICE"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"length": 64}, "length 64 and 32"),
        ({"seed": 7}, "seed 7 and 0"),
        ({"unit_bytes": 13_000}, "unit_bytes 13000 and 12000; the list of files, or their sizes"),
        ({"part": Part(2, 3)}, "part.of 3 and 4"),
    ],
)
def test_parts_of_other_settings(line, parts, tmp_path, settings, told):
    shutil.rmtree(parts / "2")
    build(line, parts / "2", **({"part": Part(2, 4)} | settings))
    error = refusal([parts], tmp_path / "out")
    assert error.code == "PARTS_DIFFER" and error.where == str(parts / "2" / "v1")
    assert all(words in error.message for words in told.split("; "))


def test_parts_of_another_corpus_and_another_tokenizer(line, parts, tmp_path):
    corpus = shutil.copytree(line / "corpus", tmp_path / "corpus")
    (corpus / "09.txt").write_text("one more file.\n")
    shutil.rmtree(parts / "2")
    build(line, parts / "2", part=Part(2, 4), corpus=corpus)
    assert "the list of files" in refusal([parts], tmp_path / "out").message
    settings = tokenize.TokenizeSettings(vocab_size=100, workers=1)
    tokenize.run([corpus], tmp_path / "tokenizer", settings=settings, report=Silent())
    shutil.copytree(line / "corpus", tmp_path / "same")
    shutil.rmtree(parts / "2")
    build(tmp_path, parts / "2", part=Part(2, 4), corpus=tmp_path / "same")
    assert "tokenizer sha256:" in refusal([parts], tmp_path / "out").message


def test_text_that_changed_between_two_parts(line, parts, tmp_path):
    corpus = shutil.copytree(line / "corpus", tmp_path / "corpus")
    text = (corpus / "00.txt").read_text()
    (corpus / "00.txt").write_text(text.replace("cat", "dog"))  # of the same size
    shutil.rmtree(parts / "1")
    build(line, parts / "1", part=Part(1, 4), corpus=corpus)
    error = refusal([parts], tmp_path / "out")
    assert error.code == "TEXT_CHANGED" and "file 1 of the text" in error.message


@pytest.mark.parametrize("link", [True, False])
def test_a_flipped_bit_is_found_before_anything_is_published(parts, tmp_path, link):
    victim = sorted((parts / "3" / "v1").glob("train-*.arrow"))[0]
    data = bytearray(victim.read_bytes())
    data[300] ^= 1
    victim.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        merged([parts], tmp_path / "out", link=link)
    assert (caught.value.code, caught.value.where) == ("HASH_MISMATCH", str(victim))
    assert not list((tmp_path / "out").glob("v*"))
    assert {result.status for result in verify.run(parts / "3", fast=False, report=Silent())} == {"damaged"}


def test_records_that_were_changed(parts, tmp_path):
    path = parts / "1" / "v1" / "pieces.json"
    path.write_text(path.read_text().replace('"documents": ', '"documents":  ', 1)[: path.stat().st_size])
    assert refusal([parts], tmp_path / "out").code == "HASH_MISMATCH"


def test_what_is_no_part(line, parts, tmp_path):
    assert refusal([line / "whole"], tmp_path / "out").code == "WRONG_KIND"
    assert refusal([tmp_path / "nowhere"], tmp_path / "out").code == "ARTIFACT_NOT_FOUND"
    (tmp_path / "empty").mkdir()
    assert refusal([tmp_path / "empty"], tmp_path / "out").code == "ARTIFACT_INCOMPLETE"
    shutil.copytree(line / "tokenizer", parts / "a tokenizer")  # beside the parts it is in nobody's way
    assert merged([parts], tmp_path / "out").status == "built"


def test_a_merge_that_was_interrupted_is_done_again(line, parts, tmp_path):
    done = merged([parts], tmp_path / "out").artifact
    manifest = done.manifest
    partial = tmp_path / "out" / ".v1.partial"
    os.rename(done.path, partial)
    (partial / "manifest.json").rename(partial / "recipe.json")
    for record in manifest.files[:3]:
        os.unlink(partial / record.path)
    torn = partial / manifest.files[5].path
    torn.unlink()
    torn.write_bytes(b"torn")
    outcome = merged([parts], tmp_path / "out")
    assert outcome.status == "resumed"
    same(outcome.artifact, open_artifact(line / "whole"))
    assert [result.status for result in verify.run(parts / "1", fast=False, report=Silent())] == ["ok"]


def test_parts_without_a_document(line, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    for number in (1, 2):
        build(line, tmp_path / f"part {number}", part=Part(number, 2), corpus=tmp_path / "empty.txt")
    with pytest.raises(DataError) as caught:
        merged([tmp_path / "part 1", tmp_path / "part 2"], tmp_path / "out")
    assert caught.value.code == "NO_DOCUMENTS"


def test_standard_input_has_no_parts(line, tmp_path):
    settings = shard.ShardSettings()
    with pytest.raises(UsageError, match="standard input"):
        shard.run(["-"], line / "tokenizer", tmp_path / "o", settings=settings, report=Silent(), part=Part(1, 2))


def test_two_of_one_part_at_once(line, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    from electra_cli.artifacts.locking import exclusive

    with exclusive(out), pytest.raises(BusyError):
        build(line, out, part=Part(1, 4))


def test_an_object_store_is_no_output(line, parts):
    with pytest.raises(UsageError) as caught:
        build(line, Path("s3://bucket/shards"), part=Part(1, 4))
    assert caught.value.code == "REMOTE_OUTPUT"
    with pytest.raises(ResourceError):
        build(line, Path("/nowhere/at/all"), part=Part(1, 4))
