"""Verify reads everything, nested artifacts and all versions included."""

from __future__ import annotations

import os

import pytest

from electra_cli.artifacts import Recipe, claim, publish_inside, verify
from electra_cli.errors import ArtifactError
from electra_cli.reporting import Silent

RUN = Recipe("checkpoint", "train", 1, {}, ())


@pytest.fixture
def run(tmp_path):
    """A finished run with two checkpoints and a log."""
    with claim(tmp_path / "run", RUN, report=Silent(), growing=True) as found:
        for step in (1, 2):
            publish_inside(
                found.draft.path / "checkpoints", f"step-{step}", RUN, lambda draft: draft.write_bytes("m", b"1") or {}
            )
        (found.draft.path / "timings.jsonl").write_text("{}")
        found.draft.write_bytes("m", b"2")
        return found.draft.publish(spec={}, logs=["timings.jsonl"])


def test_a_good_run_is_good_and_its_checkpoints_too(run, tmp_path):
    results = list(verify(tmp_path / "run"))
    assert [result.path.name for result in results] == ["step-1", "step-2", "v1"]
    assert all(result.status == "ok" and not result.warnings for result in results)
    assert results[-1].content_id == run.content_id
    assert [result.path for result in verify(f"{tmp_path}/run@v1")] == [result.path for result in results]
    assert [r.path.name for r in verify(run.path / "checkpoints" / "step-2")] == ["step-2"]


def test_every_problem_is_told_not_only_the_first(run, tmp_path):
    (run.path / "checkpoints" / "step-1" / "m").write_bytes(b"x")
    (run.path / "checkpoints" / "step-2" / "m").unlink()
    (run.path / "manifest.json").write_bytes(b"")
    results = list(verify(tmp_path / "run"))
    assert [result.status for result in results] == ["damaged"] * 3
    assert [[p.code for p in r.problems] for r in results] == [
        ["HASH_MISMATCH"],
        ["MISSING_FILE"],
        ["ARTIFACT_INCOMPLETE"],
    ]


def test_a_fast_check_does_not_read_contents(run):
    (run.path / "m").write_bytes(b"x")
    assert [result.status for result in verify(run.path, deep=False)] == ["ok"] * 3
    assert [result.status for result in verify(run.path)] == ["ok", "ok", "damaged"]


def test_an_unlisted_file_is_a_warning_and_an_unlisted_link_a_problem(run):
    (run.path / "notes.txt").write_text("mine")
    (run.path / "checkpoints" / "step-1" / "sub").mkdir()
    (run.path / "checkpoints" / "step-1" / "sub" / "x").write_text("mine")
    results = {result.path.name: result for result in verify(run.path)}
    assert results["v1"].status == results["step-1"].status == "ok"
    assert "notes.txt" in results["v1"].warnings[0] and "sub/x" in results["step-1"].warnings[0]
    os.symlink("/etc", run.path / "checkpoints" / "away")
    results = {result.path.name: result for result in verify(run.path)}
    assert [problem.code for problem in results["v1"].problems] == ["UNSAFE_PATH"]


def test_all_versions_and_an_unfinished_one(run, tmp_path):
    with claim(tmp_path / "run", Recipe("checkpoint", "x", 1, {}, ()), report=Silent(), growing=True) as found:
        publish_inside(found.draft.path / "checkpoints", "step-9", RUN, lambda draft: {})
        results = [(result.path.name, result.status) for result in verify(tmp_path / "run")]
    assert results == [("step-1", "ok"), ("step-2", "ok"), ("v1", "ok"), ("step-9", "ok"), ("v2", "unfinished")]


def test_nothing_to_verify(tmp_path):
    for where in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ArtifactError):
            verify(where)
