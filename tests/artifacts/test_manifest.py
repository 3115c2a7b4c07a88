"""Ids, names and the parsing of a manifest that somebody else may have written."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.artifacts import FORMAT_VERSIONS, InputRef, Recipe
from electra_cli.artifacts.manifest import (
    check_name,
    check_names,
    content_id_of,
    fingerprint,
    parse_json,
    parse_manifest,
    recipe_id_of,
)
from electra_cli.errors import ArtifactError

ZERO = "sha256:" + "0" * 64


def body(**changes):
    """A valid manifest in JSON form, its ids computed after `changes`."""
    record = {"path": "a.txt", "bytes": 5, "sha256": "1" * 64}
    made = {
        "kind": "tokenizer",
        "format_version": 1,
        "stage": "tokenize",
        "stage_version": 1,
        "config": {"size": 3},
        "inputs": [{"role": "text", "kind": "text", "content_id": ZERO}],
        "files": [record],
        "spec": {"unk": 1},
        "logs": [],
        "provenance": {"electra": "0.1.0"},
    } | changes
    try:
        made = {"content_id": content_id_of(made), "recipe_id": recipe_id_of(made)} | made
    except (KeyError, TypeError, ValueError):
        made = {"content_id": ZERO, "recipe_id": ZERO} | made
    return made


def parse(value):
    return parse_manifest(json.dumps(value).encode(), "manifest.json")


def code_of(value):
    with pytest.raises(ArtifactError) as caught:
        parse(value)
    assert caught.value.exit_code == 4
    return caught.value.code


def test_a_valid_manifest_comes_back_as_it_was():
    made = body()
    assert json.loads(json.dumps(parse(made).to_json())) == made


def test_the_fingerprint_is_that_of_the_canonical_text():
    text = '{"a":[1,2.5,null,true],"b":"\\u00e9"}'
    assert fingerprint({"b": "é", "a": (1, 2.5, None, True)}) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@given(
    st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text())
)
def test_the_fingerprint_survives_a_round_trip_and_the_order_of_keys(table):
    again = json.loads(json.dumps(table))
    assert fingerprint(dict(reversed(again.items()))) == fingerprint(table)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {"a": {1, 2}}, b"x", object()])
def test_what_json_would_alter_has_no_fingerprint(value):
    with pytest.raises((TypeError, ValueError)):
        fingerprint(value)


def test_the_recipe_id_is_the_same_in_another_process():
    recipe = Recipe("shards", "shard", 2, {"b": 0.1, "a": ["x"]}, (InputRef("text", "text", ZERO),))
    code = (
        f"from electra_cli.artifacts import *; inputs = (InputRef('text', 'text', '{ZERO}'),);"
        "print(Recipe('shards', 'shard', 2, {'a': ['x'], 'b': 0.1}, inputs).recipe_id)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == recipe.recipe_id


def test_what_does_not_shape_the_result_is_not_in_the_recipe_id():
    plain = Recipe("shards", "shard", 1, {"a": 1}, ())
    assert plain.recipe_id == Recipe("shards", "shard", 1, {"a": 1}, (), execution={"workers": 7}).recipe_id
    for other in (
        Recipe("shards", "shard", 2, {"a": 1}, ()),
        Recipe("shards", "shard", 1, {"a": 2}, ()),
        Recipe("shards", "shard", 1, {"a": 1}, (InputRef("text", "text", ZERO),)),
        Recipe("model", "shard", 1, {"a": 1}, ()),
        Recipe("shards", "other", 1, {"a": 1}, ()),
    ):
        assert other.recipe_id != plain.recipe_id


def test_the_content_id_covers_what_came_out_and_nothing_else():
    made = body()
    for key, value in (("provenance", {"x": 1}), ("config", {}), ("inputs", []), ("stage", "x"), ("logs", ["l"])):
        assert content_id_of(made | {key: value}) == made["content_id"]
    record = made["files"][0]
    for key, value in (("path", "b.txt"), ("bytes", 6), ("sha256", "2" * 64), ("rows", 1), ("tokens", 0)):
        assert content_id_of(made | {"files": [record | {key: value}]}) != made["content_id"]
    for key, value in (("spec", {"unk": 2}), ("kind", "model"), ("format_version", 2)):
        assert content_id_of(made | {key: value}) != made["content_id"]


UNSAFE = [
    "../../etc/x",
    "/etc/passwd",
    "a/../../b",
    "a\0b",
    "a\\b",
    "",
    ".",
    "a/",
    "a//b",
    "./a",
    ".hidden",
    "a/.b",
    "x" * 300,
    "a\nb",
    "a\n",
    "ä",
    "C:x",
    "~",
    "-rf",
]


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_path_is_refused(name):
    with pytest.raises(ValueError):
        check_name(name)
    assert code_of(body(files=[{"path": name, "bytes": 1, "sha256": "1" * 64}])) == "UNSAFE_PATH"
    assert code_of(body(logs=[name])) == "UNSAFE_PATH"


@pytest.mark.parametrize(
    "names", [["a", "a"], ["a", "A"], ["Sub/x", "sub/y"], ["a", "a/b"], ["A", "a/b"], ["manifest.json"], ["x/run.json"]]
)
def test_names_that_clash_are_refused(names):
    with pytest.raises(ValueError):
        check_names(names)
    assert code_of(body(files=[{"path": n, "bytes": 1, "sha256": "1" * 64} for n in names])) == "UNSAFE_PATH"


def test_ordinary_names_are_allowed():
    check_names(
        ["model.safetensors", "tokenizer/vocab.txt", "train-00000.arrow", "1_Pooling/config.json", "MNLI-m.tsv"]
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {}},
        {"files": [1]},
        {"files": [{"path": "a", "bytes": 1}]},
        {"files": [{"path": "a", "bytes": "1", "sha256": "1" * 64}]},
        {"files": [{"path": "a", "bytes": True, "sha256": "1" * 64}]},
        {"files": [{"path": "a", "bytes": -1, "sha256": "1" * 64}]},
        {"files": [{"path": "a", "bytes": 1.0, "sha256": "1" * 64}]},
        {"files": [{"path": "a", "bytes": 1, "sha256": "X" * 64}]},
        {"files": [{"path": "a", "bytes": 1, "sha256": "1" * 64, "mode": 7}]},
        {"inputs": [{"role": "text"}]},
        {"inputs": [{"role": "text", "kind": "text", "content_id": "md5:0"}]},
        {"kind": 3},
        {"kind": None},
        {"format_version": "1"},
        {"format_version": True},
        {"format_version": 0},
        {"spec": []},
        {"config": None},
        {"stage_version": None},
        {"logs": [1]},
        {"logs": {}},
        {"provenance": "x"},
        {"content_id": "x"},
        {"surprise": 1},
    ],
)
def test_wrong_types_are_an_incomplete_artifact(changes):
    assert code_of(body(**changes)) == "ARTIFACT_INCOMPLETE"


@pytest.mark.parametrize("key", sorted(body()))
def test_a_missing_key_is_an_incomplete_artifact(key):
    made = body()
    del made[key]
    assert code_of(made) == "ARTIFACT_INCOMPLETE"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"kind": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b'{"kind": ' + b"9" * 10_000 + b"}",
    ],
)
def test_bytes_that_are_no_manifest_are_an_incomplete_artifact(data):
    with pytest.raises(ArtifactError) as caught:
        parse_manifest(data, "manifest.json")
    assert caught.value.code == "ARTIFACT_INCOMPLETE"


def test_json_that_python_alone_would_accept_is_refused():
    assert parse_json(b'{"a": [1, {"b": 2}]}') == {"a": [1, {"b": 2}]}
    for data in (b'{"a": Infinity}', b'{"b": {"a": 1, "a": 1}}'):
        with pytest.raises(ValueError):
            parse_json(data)


def test_an_edited_manifest_is_found():
    made = body()
    assert code_of(made | {"spec": {"unk": 2}}) == "CONTENT_MISMATCH"
    assert code_of(made | {"config": {"size": 4}}) == "CONTENT_MISMATCH"
    assert code_of(made | {"files": [made["files"][0] | {"bytes": 6}]}) == "CONTENT_MISMATCH"


def test_a_newer_format_is_refused_with_the_version_that_is_needed():
    newer = body(format_version=FORMAT_VERSIONS["tokenizer"] + 1, provenance={"electra": "7.8.9"}, surprise=1)
    with pytest.raises(ArtifactError) as caught:
        parse(newer)
    assert caught.value.code == "FORMAT_TOO_NEW"
    assert "7.8.9" in caught.value.hint
    assert code_of(body(kind="hologram")) == "FORMAT_TOO_NEW"


def test_an_older_format_is_upgraded_in_memory(monkeypatch):
    from electra_cli.artifacts import manifest

    def step(old):
        return old | {"format_version": 2, "spec": old["spec"] | {"new": True}}

    monkeypatch.setattr(manifest, "FORMAT_VERSIONS", {"tokenizer": 2})
    monkeypatch.setattr(manifest, "UPGRADES", {("tokenizer", 1): step})
    made = body()
    upgraded = parse(made)
    assert upgraded.spec == {"unk": 1, "new": True}
    assert (upgraded.format_version, upgraded.content_id) == (2, made["content_id"])


def test_every_older_format_has_its_upgrade():
    from electra_cli.artifacts.manifest import UPGRADES

    assert set(UPGRADES) == {(kind, old) for kind, newest in FORMAT_VERSIONS.items() for old in range(1, newest)}
