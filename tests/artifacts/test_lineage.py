"""Following the inputs by content id, with paths as hints only."""

from __future__ import annotations

import json
import os
import shutil

from electra_cli.artifacts import InputRef, lineage

TEXT = InputRef("text", "text", "sha256:" + "7" * 64)


def chain(make_artifact):
    tokenizer = make_artifact("tok", inputs=[TEXT])
    shards = make_artifact("sh", kind="shards", inputs=[TEXT, tokenizer.ref("tokenizer")])
    return tokenizer, shards, make_artifact("run", kind="checkpoint", inputs=[shards.ref("shards")])


def test_the_tree_goes_down_to_the_text(make_artifact):
    tokenizer, shards, run = chain(make_artifact)
    tree = lineage(run.path)
    assert (tree.kind, tree.content_id, tree.stage) == ("checkpoint", run.content_id, "make")
    (below,) = tree.inputs
    assert (below.role, below.content_id, below.path) == ("shards", shards.content_id, shards.path)
    text, below = below.inputs
    assert (text.kind, text.content_id, text.path, text.inputs) == ("text", TEXT.content_id, None, ())
    assert (below.content_id, below.path) == (tokenizer.content_id, tokenizer.path)


def test_moved_together_they_are_found_and_alone_known_by_id(make_artifact, tmp_path, monkeypatch):
    _, shards, _ = chain(make_artifact)
    (tmp_path / "new").mkdir()
    for name in ("tok", "sh", "run"):
        shutil.move(tmp_path / name, tmp_path / "new" / name)
    assert lineage(tmp_path / "new" / "run").inputs[0].path == tmp_path / "new" / "sh" / "v1"
    monkeypatch.chdir(tmp_path / "new")
    assert os.fspath(lineage("run").inputs[0].path) == "sh/v1"
    shutil.move(tmp_path / "new" / "run", tmp_path / "run")
    (node,) = lineage(tmp_path / "run").inputs
    assert (node.path, node.content_id, node.inputs) == (None, shards.content_id, ())


def test_something_else_at_the_hinted_place_is_not_believed(make_artifact, tmp_path):
    _, _, run = chain(make_artifact)
    shutil.rmtree(tmp_path / "sh")
    make_artifact("sh", kind="shards", files={"other": b"x"})
    assert lineage(run.path).inputs[0].path is None


def test_a_hint_that_is_no_hint_is_ignored(make_artifact):
    _, shards, run = chain(make_artifact)
    manifest = run.path / "manifest.json"
    body = json.loads(manifest.read_text())
    for hint in (str(shards.path), "", "a\0b", 3, None, ["x"], "../../../../../../../../../../etc"):
        body["provenance"]["locations"] = {shards.content_id: hint}
        manifest.write_text(json.dumps(body))
        assert lineage(run.path).inputs[0].path is None
    body["provenance"]["locations"] = "nonsense"
    manifest.write_text(json.dumps(body))
    assert lineage(run.path).inputs[0].path is None
