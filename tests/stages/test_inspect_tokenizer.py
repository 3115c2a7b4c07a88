import json

import pytest

from electra_cli.cli.tokenizer_page import tokenizer_page
from electra_cli.reporting import Silent
from electra_cli.stages import inspect_tokenizer as stage
from electra_cli.stages.tokenize import TokenizeSettings, run

TEXT = "The Katze sat on the mat.\nWho sat? The 猫 sat, \u202eДюны sat.\n\nUnbelievable cats sat on Katze.\n"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two tokenizers and their text."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "text").write_text(TEXT * 3, "utf-8")
    (folder / "other").write_text("the cat sat on the mat. the mat is flat. " * 9, "utf-8")
    for name, text, lowercase in (("one", "text", True), ("two", "other", False)):
        settings = TokenizeSettings(vocab_size=90, lowercase=lowercase, coverage=1.0)
        run([folder / text], folder / name, settings=settings, report=Silent())
    return folder


def test_the_text_is_counted_as_it_was_read(two):
    from electra_cli.artifacts import open_artifact

    found = stage.inspect(
        [open_artifact(two / "one")], [two / "text"], settings=stage.InspectSettings(), report=Silent()
    )
    assert found.text.documents == 4 and found.text.lines == 9 and found.text.files == 1
    assert found.text.bytes == len((TEXT.replace("\n\n", "\n") * 3).encode())
    (item,) = found.tokenizers
    assert item.usage.words == 3 * (7 + 10 + 6) and item.usage.unknown_words == 0
    assert item.expected(found.text.bytes)["tokens"] == item.usage.tokens * 10**9 // found.text.bytes
    assert found.differences == () and found.words_apart == 0


class TestCommand:
    def test_one_tokenizer_keeps_its_manifest(self, two, electra):
        done = electra("inspect", two / "one")
        assert (done.returncode, done.stderr) == (0, "")
        for words in ("recipe ", "vocab.txt", "special tokens", "longest pieces", "--text FILE"):
            assert words in done.stdout
        body = json.loads(electra("inspect", two / "one", "--json").stdout)["summary"]
        assert body["kind"] == "tokenizer" and "usage" not in body["tokenizers"][0]
        assert sum(body["tokenizers"][0]["vocabulary"]["kinds"].values()) == body["spec"]["vocab_size"]

    @pytest.mark.parametrize("columns", ["80", "120"])
    def test_two_stand_side_by_side_within_the_terminal(self, columns, two, electra):
        done = electra("inspect", two / "one", two / "two", "--text", two / "text", env={"COLUMNS": columns})
        assert done.returncode == 0 and "recipe " not in done.stdout, done.stderr
        lines = done.stdout.split("\n")
        assert all(len(line) <= int(columns) for line in lines[2:])
        assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
        for words in ("tokens per byte", "Cyrillic", "words with [UNK]", "cut differently", "full rows of 512"):
            assert words in done.stdout
        (row,) = (line for line in lines if line.startswith("  Katze "))
        assert "katze" in row or "##" in row

    def test_programs_get_everything_in_one_object(self, two, electra):
        done = electra("inspect", two / "one", two / "two", "--text", two / "text", "--json", "--set", "examples=1")
        body = json.loads(done.stdout)["summary"]
        assert len(body["tokenizers"]) == 2 and body["text"]["documents"] == 4
        usage = body["tokenizers"][1]["usage"]
        assert usage["unknown_words"] > 0 and usage["scripts"]["Han"]["unknown_words"] == 3
        assert len(usage["rarest"]) + len(usage["never"]) == usage["entries"]
        assert len(body["differences"]["examples"]) == 1 and body["differences"]["words"] > 3

    def test_what_is_no_tokenizer_is_a_usage_error(self, two, electra, make_artifact, tmp_path):
        make_artifact("m", kind="model")
        for arguments in ((tmp_path / "m", "--text", two / "text"), (two / "one", tmp_path / "m")):
            done = electra("inspect", *arguments, "--json")
            assert done.returncode == 2 and json.loads(done.stdout)["error"]["code"] == "NOT_A_TOKENIZER"
        assert electra("inspect", tmp_path / "m").returncode == 0

    def test_text_that_cannot_be_read_is_a_data_error(self, two, electra, tmp_path):
        (tmp_path / "bad").write_bytes(b"\xff\n")
        for name, code in (("bad", "NOT_UTF8"), ("missing", "MISSING_INPUT")):
            done = electra("inspect", two / "one", "--text", tmp_path / name, "--json")
            assert done.returncode == 3 and json.loads(done.stdout)["error"]["code"] == code


def test_the_page_of_a_text_without_unknown_words_says_none(two):
    from electra_cli.artifacts import open_artifact

    artifact = open_artifact(two / "one")
    found = stage.inspect([artifact], [two / "text"], settings=stage.InspectSettings(), report=Silent())
    page = tokenizer_page(found, width=80)
    assert page.endswith("characters that are always [UNK]\n  none")
    assert "[UNK] among the tokens             0.00 %" in page
