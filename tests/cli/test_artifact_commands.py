"""`electra inspect`, `verify` and `lineage` through the real command."""

from __future__ import annotations

import json

import pytest

from electra_cli.artifacts import InputRef

TEXT = InputRef("text", "text", "sha256:" + "7" * 64)


@pytest.fixture
def made(make_artifact):
    tokenizer = make_artifact(
        "tok", inputs=[TEXT], config={"vocab": {"size": 8000}}, spec={"unk": 1, "names": ["x\x1b"]}
    )
    return make_artifact("sh", kind="model", inputs=[TEXT, tokenizer.ref("tokenizer")])


def test_inspect_shows_the_manifest_to_people_and_programs(electra, made, tmp_path):
    done = electra("inspect", tmp_path / "tok")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("tokenizer", "vocab.size  8000", "sub/b.bin", "256 bytes", "2 files", TEXT.content_id, "x\\u001b"):
        assert words in done.stdout
    body = json.loads(electra("inspect", f"{tmp_path}/sh@v1", "--json").stdout)
    assert (body["ok"], body["command"], body["status"]) == (True, "inspect", "ok")
    assert (body["path"], body["content_id"]) == (str(made.path), made.content_id)
    assert body["summary"]["inputs"][1]["role"] == "tokenizer"


def test_verify_finds_the_flipped_bit(electra, made):
    done = electra("verify", made.path)
    assert done.returncode == 0 and done.stdout.startswith("ok  model  ") and made.content_id in done.stdout
    (made.path / "a.txt").write_bytes(b"alphb")
    assert electra("verify", made.path, "--fast").returncode == 0
    done = electra("verify", made.path)
    assert done.returncode == 4 and done.stdout == ""
    assert "error:" in done.stderr and "expected sha256" in done.stderr and "hint:" in done.stderr
    done = electra("verify", made.path, "--json")
    assert json.loads(done.stdout)["error"]["code"] == "HASH_MISMATCH"


def test_verify_warns_of_what_is_not_listed(electra, made):
    (made.path / "extra").write_text("x")
    done = electra("verify", made.path, "--json")
    assert done.returncode == 0 and "warning:" in done.stderr
    assert json.loads(done.stdout)["summary"]["artifacts"][0]["warnings"]


def test_lineage_draws_the_tree(electra, made, tmp_path):
    done = electra("lineage", "sh", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"model {made.content_id[:19]}  sh/v1",
        f"├─ text: text {TEXT.content_id[:19]}",
        f"└─ tokenizer: tokenizer {made.manifest.inputs[1].content_id[:19]}  tok/v1",
        f"   └─ text: text {TEXT.content_id[:19]}",
    ]
    tree = json.loads(electra("lineage", "sh", "--json", cwd=tmp_path).stdout)["summary"]
    assert tree["inputs"][1]["inputs"][0] == {**TEXT.to_json(), "stage": None, "path": None, "inputs": []}
