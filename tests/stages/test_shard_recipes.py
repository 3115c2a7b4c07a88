"""The recipes of `electra shard`: everything that the text says is in the rows, and the rows are read as documented."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.round_trip import round_trip
from electra_cli.artifacts import Artifact, Recipe, claim, open_artifact
from electra_cli.config import resolve
from electra_cli.data.shards import ShardSet, shard_bytes, shard_name
from electra_cli.errors import ArtifactError, UsageError
from electra_cli.reporting import Silent
from electra_cli.stages import shard, tokenize
from electra_cli.stages.shard import ShardSettings
from electra_cli.text.tokenizer import Tokenizer
from tests.conftest import REPOSITORY
from tests.stages.pretraining import write_text

RECIPES = ("pairs", "packed", "stream")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text.txt and a tokenizer that does not know all of it."""
    folder = tmp_path_factory.mktemp("recipes")
    text = write_text(folder / "text.txt", documents=150, seed=3)
    settings = tokenize.TokenizeSettings(vocab_size=60)
    tokenize.run([text], folder / "tokenizer", settings=settings, report=Silent())
    with open(text, "a", encoding="utf-8") as file:
        file.write("\none\n\nIt's \"so\" - and do not, wasn't that 中文字 a Ωmega story ☃☃ ?\nend\n\nbook\n")
    return folder


def build(line: Path, out: Path, **settings: object) -> Artifact:
    chosen = {"length": 32, "val_fraction": 0.2, "unit_bytes": 9000, "workers": 1, **settings}
    resolved = resolve(ShardSettings, flags=chosen).settings
    return shard.run([line / "text.txt"], line / "tokenizer", out, settings=resolved, report=Silent()).artifact


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("length", [32, 64, 8192])
def test_what_is_in_the_text_and_not_in_the_rows_is_counted(
    recipe: str, length: int, line: Path, tmp_path: Path
) -> None:
    artifact = build(line, tmp_path / "out", recipe=recipe, length=length)
    found = round_trip([line / "text.txt"], open_artifact(line / "tokenizer"), artifact)
    assert not found.wrong
    assert found.documents == 153 and found.tokens > 5000 and found.unknown > 0
    lost = sum(count for name, count in artifact.spec["dropped"].items() if "tokens" in name)
    assert found.tokens - found.in_rows == lost
    assert lost > 0 or recipe == "stream"
    assert artifact.spec["recipe"] == recipe and artifact.spec["length"] == length
    for split in ("train", "val"):
        ShardSet(artifact, split).check()  # type: ignore[arg-type]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_round_trip_finds_a_word_that_is_elsewhere(recipe: str, line: Path, tmp_path: Path) -> None:
    artifact = build(line, tmp_path / "out", recipe=recipe, val_fraction=0.0)
    text = (line / "text.txt").read_text(encoding="utf-8")
    words = Counter(re.findall(r"[a-z]+", text))
    once = next(word for word in text.split()[300:] if words[word] > 20)
    at = text.index(f" {once} ", 3000)
    # moved to the end: as many tokens and the same ones, but in another document
    (tmp_path / "text.txt").write_text(text[:at] + text[at + 1 + len(once) :] + once + "\n", encoding="utf-8")
    assert round_trip([tmp_path / "text.txt"], open_artifact(line / "tokenizer"), artifact).wrong


@pytest.mark.parametrize("recipe", ["packed", "stream"])
@pytest.mark.slow
def test_the_number_of_workers_does_not_matter(recipe: str, line: Path, tmp_path: Path) -> None:
    found = {build(line, tmp_path / str(n), recipe=recipe, workers=n, unit_bytes=2000).content_id for n in (1, 2)}
    assert len(found) == 1


def test_packed_rows_are_fuller_than_pairs_and_say_their_pieces(line: Path, tmp_path: Path) -> None:
    made = {
        recipe: build(line, tmp_path / recipe, recipe=recipe, length=128, word_starts=True, unit_bytes=0)
        for recipe in RECIPES
    }
    rows = {recipe: ShardSet(artifact, "train") for recipe, artifact in made.items()}
    full = {recipe: found.tokens / (found.rows * 128) for recipe, found in rows.items()}
    assert full["pairs"] < 0.8 and full["packed"] > 0.95 and full["stream"] > 0.97
    batch = rows["packed"].gather(np.arange(rows["packed"].rows))
    starts, words = batch.piece_starts(), batch.word_starts()
    assert starts is not None and words is not None
    cls = made["packed"].spec["special_ids"]["cls"]
    assert ((batch.ids_BL == cls) == starts).all() and not (words & starts).any()
    assert int(starts.sum()) == made["packed"].spec["splits"]["train"]["pieces"]
    assert rows["packed"].piece_starts and made["packed"].spec["piece_starts"]
    assert words[:, 1:][starts[:, :-1]].all()
    for recipe in ("pairs", "stream"):
        assert rows[recipe].gather(np.arange(4)).piece_starts() is None
        assert not rows[recipe].piece_starts
        assert set(made[recipe].spec["splits"]["train"]) == {"rows", "tokens"}


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=re.escape("carry_over = false is for recipe = pairs only")):
        resolve(ShardSettings, flags={"recipe": "packed", "carry_over": False})
    with pytest.raises(UsageError, match="min_row_tokens 127 is more than a row of length 128 can hold"):
        resolve(ShardSettings, flags={"min_row_tokens": 127})
    with pytest.raises(UsageError, match="recipe"):
        resolve(ShardSettings, flags={"recipe": "packd"})
    assert resolve(ShardSettings, flags={"length": 8192, "recipe": "stream"}).settings.length == 8192


def test_the_documented_way_to_read_rows_needs_nothing_but_pyarrow(line: Path, tmp_path: Path) -> None:
    """The example of docs/concepts/artifacts.md, run on packed rows; what it prints is the text."""
    artifact = build(line, tmp_path / "out", recipe="packed", val_fraction=0.0, length=1024)
    page = (REPOSITORY / "docs" / "concepts" / "artifacts.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^(?:import|from) (\w+)", example, re.MULTILINE)) <= {"json", "pathlib", "pyarrow"}
    assert "runs/shards/v1" in example
    printed: list[str] = []
    code = example.replace("runs/shards/v1", str(artifact.path))
    exec(compile(code, "artifacts.md", "exec"), {"print": lambda *words: printed.append(" ".join(map(str, words)))})
    raw = Tokenizer.load(line / "tokenizer" / "v1").raw
    documents = (line / "text.txt").read_text(encoding="utf-8").strip().split("\n\n")
    encoded = (raw.encode(document, add_special_tokens=False).tokens for document in documents)
    assert sorted(printed) == sorted(" ".join(tokens) for tokens in encoded if len(tokens) >= 5)
    assert len(printed) > 100 and ShardSet(artifact, "train").rows < 20


@pytest.mark.parametrize(("vocab_size", "bits"), [(65_536, 16), (65_537, 32)])
def test_the_largest_id_of_either_width(vocab_size: int, bits: int) -> None:
    ids = np.array([[2, vocab_size - 1, vocab_size - 2, 3]])
    lengths = np.array([4])
    with pa.ipc.open_file(pa.py_buffer(shard_bytes(ids, lengths, lengths, vocab_size=vocab_size))) as reader:
        table = reader.read_all()
    assert table["input_ids"].to_pylist() == ids.tolist()
    assert table.schema.field("input_ids").type.value_type.bit_width == bits


@pytest.mark.parametrize("wrong", ["no piece at the start", "a piece in the padding", "no column"])
def test_impossible_pieces_are_refused(wrong: str, tmp_path: Path) -> None:
    ids = np.array([[2, 7, 3, 2, 8, 3, 0, 0]])
    lengths = np.array([6])
    starts = np.array([[True, False, False, True, False, False, False, False]])
    if wrong == "no piece at the start":
        starts[0, 0] = False
    elif wrong == "a piece in the padding":
        starts[0, 6] = True
    data = shard_bytes(ids, lengths, lengths, vocab_size=9, piece_start_BL=None if wrong == "no column" else starts)
    splits = {"train": {"rows": 1, "tokens": 6}}
    spec = {"recipe": "packed", "piece_starts": True, "length": 8, "vocab_size": 9, "splits": splits}
    with claim(tmp_path / "out", Recipe("shards", "make", 1, {}, ()), report=Silent()) as held:
        assert held.draft is not None
        with held.draft.create(shard_name("train", 0)) as file:
            file.write(data)
            file.rows, file.tokens = 1, 6
        artifact = held.draft.publish(spec=spec)
    with pytest.raises(ArtifactError) as refused:
        ShardSet(artifact, "train").check()
    assert refused.value.code == "BAD_SHARD"
