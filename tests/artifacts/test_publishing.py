"""Claims, versions, resuming, and what a full or forbidden disk makes of them."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys

import pytest

from electra_cli.artifacts import (
    FileRecord,
    InputRef,
    Recipe,
    check_output,
    claim,
    discard,
    open_artifact,
    publish_inside,
    publishing,
    verify,
)
from electra_cli.errors import BusyError, ResourceError, UsageError
from electra_cli.reporting import Silent

ONE = Recipe("tokenizer", "make", 1, {"n": 1}, ())
TWO = Recipe("tokenizer", "make", 1, {"n": 2}, ())
RUN = Recipe("checkpoint", "train", 1, {"steps": 3}, ())


class Heard(Silent):
    """A reporter that remembers."""

    def __init__(self):
        self.notes, self.warnings = [], []

    def note(self, message):
        self.notes.append(message)

    def warn(self, message):
        self.warnings.append(message)


def fill(draft, data=b"alpha"):
    draft.write_bytes("a.txt", data)
    with draft.create("sub/rows.bin") as file:
        file.write(b"12")
        file.write(memoryview(b"34"))
        file.rows, file.tokens = 2, 4
    return draft.publish(spec={"unk": 1})


def make(out, recipe=ONE, report=None):
    with claim(out, recipe, report=report or Silent()) as found:
        return found.done if found.done is not None else fill(found.draft)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_same_recipe_is_up_to_date_and_another_is_a_new_version(tmp_path):
    out = tmp_path / "tok"
    first = make(out)
    with claim(out, ONE, report=Silent()) as found:
        assert found.draft is None and found.done.content_id == first.content_id
    second = make(out, TWO)
    assert (first.path, second.path) == (out / "v1", out / "v2")
    assert first.content_id == second.content_id  # the recipe differs, what came out does not
    assert make(out).path == out / "v1"
    assert names(out) == sorted(
        [".lock", "v1", "v2"]
        + [f"v{n}/{name}" for n in (1, 2) for name in ("a.txt", "manifest.json", "sub", "sub/rows.bin")]
    )


def test_the_manifest_records_what_was_written(tmp_path):
    made = open_artifact(make(tmp_path / "tok").path)
    by_name = {record.path: record for record in made.manifest.files}
    assert by_name["sub/rows.bin"].rows == 2 and by_name["sub/rows.bin"].tokens == 4
    assert by_name["a.txt"] == FileRecord(
        "a.txt", 5, "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
    )
    assert made.spec == {"unk": 1}
    assert made.manifest.provenance["electra"] and made.manifest.provenance["created"]


def test_the_environment_is_nowhere_in_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret_value")
    monkeypatch.setattr(
        sys, "argv", ["electra", "--api-key", "k3y", "--password=pw", "http://me:pass@host/x", "--tokenizer", "t"]
    )
    text = (make(tmp_path / "tok").path / "manifest.json").read_text()
    for secret in ("hf_secret_value", "k3y", '"pw"', "=pw", "me:pass"):
        assert secret not in text
    assert '"--tokenizer",\n      "t"' in text


def test_no_absolute_path_is_in_the_inputs(tmp_path):
    tokenizer = make(tmp_path / "tok")
    recipe = Recipe("shards", "shard", 1, {}, (tokenizer.ref("tokenizer"),))
    with claim(tmp_path / "sh", recipe, report=Silent()) as found:
        made = found.draft.publish(spec={})
    assert made.manifest.inputs == (InputRef("tokenizer", "tokenizer", tokenizer.content_id),)
    assert made.manifest.provenance["locations"] == {tokenizer.content_id: "../../tok/v1"}


def test_an_interrupted_draft_is_resumed_by_the_same_recipe(tmp_path):
    out = tmp_path / "tok"
    with contextlib.suppress(KeyboardInterrupt), claim(out, ONE, report=Silent()) as found:
        assert not found.draft.resumed
        found.draft.write_bytes("a.txt", b"alpha")
        (found.draft.path / "scratch").write_text("x")
        raise KeyboardInterrupt
    assert names(out) == [".lock", ".v1.partial", ".v1.partial/a.txt", ".v1.partial/recipe.json", ".v1.partial/scratch"]
    with claim(out, ONE, report=Silent()) as found:
        assert found.draft.resumed
        found.draft.add("a.txt")
        made = found.draft.publish(spec={})
    assert names(out) == [".lock", "v1", "v1/a.txt", "v1/manifest.json"]
    assert open_artifact(made.path).record("a.txt").bytes == 5


def test_an_interrupted_draft_of_another_recipe_is_removed_after_a_note(tmp_path):
    out = tmp_path / "tok"
    with contextlib.suppress(KeyboardInterrupt), claim(out, ONE, report=Silent()) as found:
        found.draft.write_bytes("left-over", b"x")
        raise KeyboardInterrupt
    heard = Heard()
    make(out, TWO, heard)
    assert len(heard.notes) == 1 and ".v1.partial" in heard.notes[0]
    assert "left-over" not in " ".join(names(out))


def test_a_draft_without_its_recipe_is_removed(tmp_path):
    out = tmp_path / "tok"
    (out / ".v1.partial").mkdir(parents=True)
    (out / ".v1.partial" / "left-over").write_text("x")
    make(out)
    assert "v1/left-over" not in names(out) and ".v1.partial" not in names(out)


def test_a_damaged_version_is_made_anew_beside_it(tmp_path):
    out = tmp_path / "tok"
    first = make(out)
    (first.path / "a.txt").write_bytes(b"")
    heard = Heard()
    again = make(out, ONE, heard)
    assert again.path.name == "v2" and again.content_id == first.content_id
    assert len(heard.warnings) == 1 and "SIZE_MISMATCH" in heard.warnings[0]
    (again.path / "manifest.json").write_bytes(b"{}")
    assert make(out).path.name == "v3"


def test_publish_removes_what_nobody_recorded(tmp_path):
    with claim(tmp_path / "tok", ONE, report=Silent()) as found:
        draft = found.draft
        draft.write_bytes("keep/a", b"a")
        (draft.path / "keep" / "junk").write_text("x")
        (draft.path / "empty" / "deep").mkdir(parents=True)
        (draft.path / ".hidden").mkdir()
        (draft.path / "link").symlink_to("/etc")
        (draft.path / "times.log").write_text("1 s")
        made = draft.publish(spec={}, logs=["times.log", "never-written.log"])
    assert names(made.path) == ["keep", "keep/a", "manifest.json", "times.log"]
    assert made.manifest.logs == ("times.log",)
    assert open_artifact(made.path).manifest == made.manifest


def test_a_file_that_failed_is_not_there(tmp_path):
    with claim(tmp_path / "tok", ONE, report=Silent()) as found:
        with contextlib.suppress(ZeroDivisionError), found.draft.create("a.txt") as file:
            file.write(b"half")
            raise ZeroDivisionError
        assert names(found.draft.path) == ["recipe.json"]
        assert found.draft.publish(spec={}).manifest.files == ()


def test_a_recorded_file_that_changed_is_our_bug_not_an_artifact(tmp_path):
    out = tmp_path / "tok"
    with pytest.raises(RuntimeError), claim(out, ONE, report=Silent()) as found:
        found.draft.write_bytes("a.txt", b"alpha")
        (found.draft.path / "a.txt").write_bytes(b"longer than before")
        found.draft.publish(spec={})
    assert not (out / "v1").exists()


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "", "a/../b", "manifest.json", ".lock"])
def test_a_draft_takes_no_unsafe_name(tmp_path, name):
    with claim(tmp_path / "tok", ONE, report=Silent()) as found:
        for attempt in (found.draft.write_bytes, lambda name, _: found.draft.add(name)):
            with pytest.raises(ValueError):
                attempt(name, b"x")


def test_json_is_written_in_order_and_without_nan(tmp_path):
    with claim(tmp_path / "tok", ONE, report=Silent()) as found:
        found.draft.write_json("a.json", {"b": "é", "a": 1})
        assert (found.draft.path / "a.json").read_bytes() == '{\n  "b": "é",\n  "a": 1\n}\n'.encode()
        with pytest.raises(ValueError):
            found.draft.write_json("b.json", {"x": float("nan")})


def test_two_claims_at_once_conflict_and_readers_do_not(tmp_path):
    out = tmp_path / "tok"
    made = make(out)
    with claim(out, TWO, report=Silent()):
        with pytest.raises(BusyError) as caught, claim(out, TWO, report=Silent()):
            pass
        assert caught.value.exit_code == 7
        assert str(os.getpid()) in caught.value.message
        assert open_artifact(out).content_id == made.content_id
        assert make(out).path == made.path  # what is up to date needs no lock
    assert make(out, TWO).path.name == "v2"


def test_an_output_of_another_kind_or_inside_an_artifact_is_refused(tmp_path):
    made = make(tmp_path / "tok")
    for out, recipe in ((tmp_path / "tok", RUN), (made.path, ONE)):
        with pytest.raises(UsageError) as caught, claim(out, recipe, report=Silent()):
            pass
        assert caught.value.code == "OUTPUT_TAKEN"


def test_a_growing_run_is_visible_while_it_grows_and_complete_with_its_manifest(tmp_path):
    out = tmp_path / "run"
    with claim(out, RUN, report=Silent(), growing=True) as found:
        draft = found.draft
        assert draft.path == draft.final == out / "v1" and not draft.resumed
        inner = publish_inside(
            draft.path / "checkpoints", "step-1", RUN, lambda d: d.write_bytes("m", b"1") or {"step": 1}
        )
        assert open_artifact(inner.path).spec == {"step": 1}
        (draft.path / "metrics.jsonl").write_text("{}\n")
    with claim(out, RUN, report=Silent(), growing=True) as found:
        draft = found.draft
        assert draft.resumed and draft.path == out / "v1"
        draft.add("metrics.jsonl")
        (draft.path / "checkpoints" / ".step-2.partial").mkdir()
        (draft.path / "timings.jsonl").write_text("{}\n")
        made = draft.publish(spec={"step": 1}, logs=["timings.jsonl"])
    inner = ["checkpoints", "checkpoints/step-1", "checkpoints/step-1/m", "checkpoints/step-1/manifest.json"]
    assert names(out / "v1") == [*inner, "manifest.json", "metrics.jsonl", "timings.jsonl"]
    assert [result.status for result in verify(out)] == ["ok", "ok"]
    with claim(out, RUN, report=Silent(), growing=True) as found:
        assert found.done.content_id == made.content_id


def test_an_interrupted_run_of_another_recipe_is_left_alone(tmp_path):
    out = tmp_path / "run"
    with claim(out, RUN, report=Silent(), growing=True) as found:
        publish_inside(found.draft.path / "checkpoints", "step-1", RUN, lambda draft: {})
    heard = Heard()
    other = Recipe("checkpoint", "train", 1, {"steps": 4}, ())
    with claim(out, other, report=heard, growing=True) as found:
        assert found.draft.path == out / "v2" and not found.draft.resumed
        found.draft.publish(spec={})
    assert (out / "v1" / "run.json").exists() and len(heard.notes) == 1
    with claim(out, RUN, report=heard, growing=True) as found:
        assert found.draft.path == out / "v1" and found.draft.resumed


def test_an_interrupted_run_without_a_checkpoint_gives_its_number_to_the_next(tmp_path):
    out = tmp_path / "run"
    with claim(out, RUN, report=Silent(), growing=True) as found:
        (found.draft.path / "metrics.jsonl").write_text("{}\n")
    heard = Heard()
    other = Recipe("checkpoint", "train", 1, {"steps": 4}, ())
    with claim(out, other, report=heard, growing=True) as found:
        assert found.draft.path == out / "v1" and not found.draft.resumed
        assert names(out / "v1") == ["run.json"]
    assert not heard.notes


def test_a_nested_artifact_of_the_same_name_is_replaced(tmp_path):
    first = publish_inside(tmp_path, "step-1", RUN, lambda d: d.write_bytes("m", b"1") or {})
    (tmp_path / ".step-1.partial").mkdir()  # a crash left it
    second = publish_inside(tmp_path, "step-1", RUN, lambda d: d.write_bytes("m", b"2") or {})
    assert first.content_id != second.content_id == open_artifact(tmp_path / "step-1").content_id
    assert sorted(os.listdir(tmp_path)) == ["step-1"]


def test_a_nested_artifact_that_fails_leaves_the_old_one(tmp_path):
    first = publish_inside(tmp_path, "step-1", RUN, lambda d: {})
    with pytest.raises(ZeroDivisionError):
        publish_inside(tmp_path, "step-1", RUN, lambda d: {"x": 1 / 0})
    assert open_artifact(tmp_path / "step-1").content_id == first.content_id


def test_discard_takes_the_manifest_first(tmp_path, monkeypatch):
    made = publish_inside(tmp_path, "step-1", RUN, lambda d: d.write_bytes("m", b"1") or {})
    seen = []
    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path: (seen.append(sorted(os.listdir(path))), real(path)))
    discard(made.path)
    assert seen == [["m"]] and not made.path.exists()
    discard(made.path)


def test_a_missing_parent_is_told_with_its_cure(tmp_path):
    with pytest.raises(ResourceError) as caught, claim(tmp_path / "a b" / "c", ONE, report=Silent()):
        pass
    assert caught.value.code == "NO_PARENT" and caught.value.hint == f"mkdir -p '{tmp_path}/a b'"


def test_an_output_can_be_checked_before_long_work(tmp_path):
    check_output(tmp_path / "new")
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "no" / "parent", make(tmp_path / "tok").path):
        with pytest.raises((UsageError, ResourceError)):
            check_output(out)
    with claim(tmp_path / "new", ONE, report=Silent()), pytest.raises(BusyError):
        check_output(tmp_path / "new")
    with claim(tmp_path / "tok", TWO, report=Silent()):
        check_output(tmp_path / "tok")  # what it already made may be all that is wanted


def test_an_error_of_the_body_is_not_the_outputs(tmp_path):
    with claim(tmp_path / "tok", ONE, report=Silent()) as found:
        for error in (FileNotFoundError(2, "no", "/input"), BrokenPipeError(32, "a worker"), OSError(10, "no child")):
            with pytest.raises(type(error)), found.draft.create("a"):
                raise error
        with pytest.raises(ResourceError), found.draft.create("a"):
            raise OSError(28, "full")
        with pytest.raises(ResourceError), found.draft.create("a"):
            raise RuntimeError("no space left on device")


@pytest.mark.parametrize("out", ["file", "file/below", "dangling"])
def test_an_output_that_cannot_be_a_folder_is_refused(tmp_path, out):
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises((UsageError, ResourceError)) as caught, claim(tmp_path / out, ONE, report=Silent()):
        pass
    if out.startswith("file"):
        assert (caught.value.code, caught.value.exit_code) == ("NOT_A_FOLDER", 2)


CODE = """
import sys
from pathlib import Path
from electra_cli.artifacts import Recipe, check_output, claim
from electra_cli.errors import ElectraError
from electra_cli.reporting import Silent
try:
    if sys.argv[2] == "-1":
        sys.exit(check_output(Path(sys.argv[1])))
    with claim(Path(sys.argv[1]), Recipe("tokenizer", "make", 1, {}, ()), report=Silent()) as found:
        if found.draft is not None:
            found.draft.write_bytes("a.txt", bytes(int(sys.argv[2])))
            found.draft.publish(spec={})
except ElectraError as error:
    print(error.code)
    sys.exit(error.exit_code)
"""


def child(out, size=10, prefix=(), **options):
    return subprocess.run(
        [*prefix, sys.executable, "-W", "error", "-c", CODE, str(out), str(size)],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PYTHONPATH": os.getcwd(), "PATH": os.environ["PATH"]},
        **options,
    )


def test_writers_that_race_leave_one_version(tmp_path):
    out = tmp_path / "tok"
    command = [sys.executable, "-c", CODE, str(out), "2000000"]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    told = [(racer.communicate()[0].strip(), racer.returncode) for racer in racers]
    assert set(told) <= {("", 0), ("OUTPUT_BUSY", 7)} and ("", 0) in told
    assert names(out) == [".lock", "v1", "v1/a.txt", "v1/manifest.json"]
    assert [result.status for result in verify(out)] == ["ok"]


def test_what_another_writer_finished_meanwhile_is_found_under_the_lock(tmp_path, monkeypatch):
    out = tmp_path / "tok"
    real = publishing._prepare

    def somebody_is_faster(path):
        real(path)
        monkeypatch.setattr(publishing, "_prepare", real)
        make(path)

    monkeypatch.setattr(publishing, "_prepare", somebody_is_faster)
    with claim(out, ONE, report=Silent()) as found:
        assert found.draft is None and found.done.path == out / "v1"


def test_without_permission_it_is_exit_6(tmp_path, needs_tool):
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    needs_tool("setpriv")
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(0o755)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o755)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*nobody, sys.executable, "-c", "import electra_cli"], capture_output=True).returncode:
        pytest.skip("nobody cannot read this interpreter or checkout")
    for out in (closed, closed / "new"):
        for size in (10, -1):  # claimed, and only checked
            done = child(out, size, prefix=nobody)
            assert (done.returncode, done.stdout.strip(), done.stderr) == (6, "PERMISSION_DENIED", "")


def test_a_file_size_limit_is_a_full_disk(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    out = tmp_path / "tok"
    done = child(out, 10_000_000, preexec_fn=limit)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (6, "DISK_FULL", "")
    assert names(out) == [".lock", ".v1.partial", ".v1.partial/recipe.json"]
    assert child(out, 10).returncode == 0


def test_a_full_disk_is_exit_6_and_the_rerun_works(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("cannot mount here")
    try:
        done = child(disk / "tok", 4_000_000)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (6, "DISK_FULL", "")
        assert child(disk / "tok", 1000).returncode == 0
        assert [result.status for result in verify(disk / "tok")] == ["ok"]
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for size in (10, -1):
            done = child(disk / "other", size)
            assert (done.returncode, done.stdout.strip()) == (6, "READ_ONLY")
        assert child(disk / "tok", 1000).returncode == 0  # up to date: nothing to write
        assert child(disk / "tok", 1000).returncode == 0 or True
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
