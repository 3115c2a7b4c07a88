"""Finding artifacts, and refusing the damaged, the unsafe and the wrong."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time

import pytest

from electra_cli.artifacts import Recipe, children, claim, open_artifact, publish_inside, versions
from electra_cli.artifacts.opening import MAX_MANIFEST_BYTES
from electra_cli.errors import ArtifactError
from electra_cli.reporting import Silent


def refusal(where, **options):
    with pytest.raises(ArtifactError) as caught:
        open_artifact(where, **options)
    assert caught.value.exit_code == 4
    assert caught.value.where
    return caught.value


def test_all_ways_to_name_a_version(make_artifact, tmp_path):
    first = make_artifact("tok", config={"n": 1})
    second = make_artifact("tok", config={"n": 2}, files={"a.txt": b"second"})
    assert (first.path.name, second.path.name) == ("v1", "v2")
    assert open_artifact(tmp_path / "tok").content_id == second.content_id
    assert open_artifact(f"{tmp_path}/tok@v1").content_id == first.content_id
    assert open_artifact(tmp_path / "tok" / "v1").content_id == first.content_id
    assert open_artifact(str(tmp_path / "tok@v2")).path == tmp_path / "tok" / "v2"
    assert refusal(f"{tmp_path}/tok@v3").code == "ARTIFACT_NOT_FOUND"
    assert "v1, v2" in refusal(f"{tmp_path}/tok@v3").hint


def test_a_folder_whose_name_has_an_at_sign_is_itself(make_artifact, tmp_path):
    made = make_artifact("odd@v1")
    assert open_artifact(tmp_path / "odd@v1").content_id == made.content_id


def test_versions_are_ordered_by_number_not_by_name_or_time(make_artifact, tmp_path):
    made = make_artifact("tok", config={"n": 1})
    for name in ("v2", "v10"):
        shutil.copytree(made.path, tmp_path / "tok" / name)
    (tmp_path / "tok" / "v010").mkdir()
    (tmp_path / "tok" / "vx").mkdir()
    os.utime(tmp_path / "tok" / "v2", (2e9, 2e9))
    assert [path.name for path in versions(tmp_path / "tok")] == ["v1", "v2", "v10"]
    assert open_artifact(tmp_path / "tok").path.name == "v10"


def test_moved_copied_and_touched_it_is_the_same(make_artifact, tmp_path):
    made = make_artifact("tok")
    shutil.copytree(made.path, tmp_path / "elsewhere")
    for path in [*(tmp_path / "elsewhere").rglob("*"), tmp_path / "elsewhere"]:
        os.utime(path, (1, 1))
    assert open_artifact(tmp_path / "elsewhere").content_id == made.content_id


def test_files_are_found_by_the_manifest_only(make_artifact):
    made = make_artifact("tok")
    (made.path / "extra").write_bytes(b"x")
    assert made.file("sub/b.bin").read_bytes() == bytes(range(256))
    assert made.check_file("a.txt").read_bytes() == b"alpha"
    for name in ("extra", "../tok/v1/a.txt", "manifest.json", "sub"):
        with pytest.raises(ArtifactError, match="has no file"):
            made.file(name)


def test_a_wrong_kind_is_named(make_artifact, tmp_path):
    make_artifact("tok")
    error = refusal(tmp_path / "tok", kinds=("shards", "model"))
    assert error.code == "WRONG_KIND"
    assert "tokenizer" in error.message and "model or shards" in error.message


@pytest.mark.parametrize("position", [0, 2, 4])
def test_a_flipped_bit_is_found_with_file_expected_and_got(make_artifact, position):
    made = make_artifact("tok")
    data = bytearray((made.path / "a.txt").read_bytes())
    data[position] ^= 1
    (made.path / "a.txt").write_bytes(data)
    error = refusal(made.path)
    assert error.code == "HASH_MISMATCH"
    assert error.where.endswith("a.txt")
    assert made.record("a.txt").sha256 in error.message and "got" in error.message
    assert open_artifact(made.path, hashes=False)
    with pytest.raises(ArtifactError, match="expected sha256"):
        made.check_file("a.txt")


def test_hashes_of_shards_are_left_to_their_reader(make_artifact):
    made = make_artifact("sh", kind="shards", files={"train-00000.arrow": b"12345"})
    (made.path / "train-00000.arrow").write_bytes(b"12344")
    opened = open_artifact(made.path)
    with pytest.raises(ArtifactError) as caught:
        opened.check_file("train-00000.arrow")
    assert caught.value.code == "HASH_MISMATCH"


@pytest.mark.parametrize("data", [b"", b"alph", b"alphaa"])
def test_a_wrong_size_is_found_without_hashing(make_artifact, data):
    made = make_artifact("tok")
    (made.path / "a.txt").write_bytes(data)
    assert refusal(made.path, hashes=False).code == "SIZE_MISMATCH"


def test_two_files_swapped_are_found(make_artifact):
    made = make_artifact("tok", files={"a": b"12345", "b": b"54321"})
    os.rename(made.path / "a", made.path / "c")
    os.rename(made.path / "b", made.path / "a")
    os.rename(made.path / "c", made.path / "b")
    assert refusal(made.path).code == "HASH_MISMATCH"


def test_a_missing_file_is_found(make_artifact):
    made = make_artifact("tok")
    (made.path / "sub" / "b.bin").unlink()
    assert refusal(made.path, hashes=False).code == "MISSING_FILE"
    shutil.rmtree(made.path / "sub")
    assert refusal(made.path, hashes=False).code == "MISSING_FILE"


@pytest.mark.parametrize("data", [b"", b"{}", b"{", b"[1]", b"\x00" * 10])
def test_a_manifest_that_is_none_is_an_incomplete_artifact(make_artifact, data):
    made = make_artifact("tok")
    (made.path / "manifest.json").write_bytes(data)
    error = refusal(made.path)
    assert error.code == "ARTIFACT_INCOMPLETE" and str(made.path) in error.where


def test_a_damaged_newest_version_is_told_not_skipped(make_artifact, tmp_path):
    make_artifact("tok", config={"n": 1})
    newest = make_artifact("tok", config={"n": 2})
    (newest.path / "manifest.json").write_bytes(b"")
    assert refusal(tmp_path / "tok").where.startswith(str(newest.path))


def test_an_enormous_manifest_is_not_read(make_artifact):
    made = make_artifact("tok")
    with open(made.path / "manifest.json", "wb") as file:
        file.truncate(MAX_MANIFEST_BYTES * 100)  # sparse
    start = time.monotonic()
    assert refusal(made.path).code == "ARTIFACT_INCOMPLETE"
    assert time.monotonic() - start < 1


def replace_with_link(path, tmp_path):
    shutil.copy(path, tmp_path / "target")
    path.unlink()
    path.symlink_to(tmp_path / "target")


def replace_with_hard_link(path, tmp_path):
    os.link(path, tmp_path / "second-name")


def replace_with_pipe(path, tmp_path):
    path.unlink()
    os.mkfifo(path)


def replace_with_socket(path, tmp_path):
    path.unlink()
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's name must be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def replace_with_folder(path, tmp_path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["a.txt", "manifest.json"])
@pytest.mark.parametrize(
    "replace", [replace_with_link, replace_with_hard_link, replace_with_pipe, replace_with_socket, replace_with_folder]
)
def test_only_plain_files_are_opened(make_artifact, tmp_path, name, replace):
    made = make_artifact("tok")
    replace(made.path / name, tmp_path)
    start = time.monotonic()
    assert refusal(made.path).code == "UNSAFE_PATH"
    assert time.monotonic() - start < 1


def test_a_linked_folder_inside_is_refused(make_artifact, tmp_path):
    made = make_artifact("tok")
    shutil.move(made.path / "sub", tmp_path / "sub")
    (made.path / "sub").symlink_to(tmp_path / "sub")
    assert refusal(made.path, hashes=False).code == "UNSAFE_PATH"


def test_the_top_path_may_be_a_link(make_artifact, tmp_path):
    made = make_artifact("tok")
    (tmp_path / "link").symlink_to(tmp_path / "tok")
    (tmp_path / "direct").symlink_to(made.path)
    assert open_artifact(tmp_path / "link").content_id == made.content_id
    assert open_artifact(tmp_path / "direct").content_id == made.content_id


def test_a_manifest_that_points_outside_opens_nothing_there(make_artifact, tmp_path):
    made = make_artifact("tok")
    body = json.loads((made.path / "manifest.json").read_text())
    os.mkfifo(tmp_path / "trap")  # opening it would hang
    body["files"][0]["path"] = "../../trap"
    (made.path / "manifest.json").write_text(json.dumps(body))
    assert refusal(made.path).code == "UNSAFE_PATH"


@pytest.mark.parametrize("where", ["", "nothing/here", "a\0b", "x" * 5000])
def test_nothing_there(where):
    assert refusal(where).code == "ARTIFACT_NOT_FOUND"


def test_a_file_or_an_ordinary_folder_is_no_artifact(tmp_path):
    (tmp_path / "file").write_text("x")
    assert refusal(tmp_path / "file").code == "NOT_AN_ARTIFACT"
    assert refusal(tmp_path).code == "ARTIFACT_INCOMPLETE"


def test_an_unfinished_run_names_its_newest_checkpoint(tmp_path):
    recipe = Recipe("checkpoint", "train", 1, {}, ())
    with claim(tmp_path / "run", recipe, report=Silent(), growing=True) as found:
        assert refusal(tmp_path / "run").code == "ARTIFACT_INCOMPLETE"
        for step in (5, 40, 300):
            publish_inside(found.draft.path / "checkpoints", f"step-{step}", recipe, lambda draft: {})
    error = refusal(tmp_path / "run")
    newest = tmp_path / "run" / "v1" / "checkpoints" / "step-300"
    assert error.code == "ARTIFACT_INCOMPLETE" and str(newest) in error.hint
    assert str(newest) in refusal(tmp_path / "run" / "v1").hint
    assert open_artifact(newest).kind == "checkpoint"
    assert [path.name for path in children(newest.parent)] == ["step-5", "step-40", "step-300"]
    assert children(tmp_path / "nowhere") == []


def test_an_unfinished_newer_run_does_not_hide_the_older_version(make_artifact, tmp_path):
    made = make_artifact("run", kind="checkpoint")
    with claim(tmp_path / "run", Recipe("checkpoint", "x", 1, {}, ()), report=Silent(), growing=True) as found:
        assert found.draft.path.name == "v2"
        assert open_artifact(tmp_path / "run").content_id == made.content_id
