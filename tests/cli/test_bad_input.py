"""What a user can get wrong, through the real command: its own error, its own exit code, before any long work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from electra_cli.reporting import Silent
from electra_cli.stages import pretrain, shard, tokenize
from tests.stages.pretraining import make_shards, small_settings, write_text


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text.txt, tokenizer, shards and a pretrained checkpoint."""
    folder = tmp_path_factory.mktemp("line")
    shards = make_shards(folder)
    settings = small_settings(**{"optimizer.steps": 2, "optimizer.warmup_steps": 1, "evaluation.every": 2})
    pretrain.run(shards, folder / "pretrained", settings=settings)
    return folder


@pytest.fixture
def copy(line: Path, tmp_path: Path) -> Path:
    return shutil.copytree(line, tmp_path / "copy")


@pytest.fixture
def refused(electra, tmp_path):
    """Runs a command that must fail, and returns its JSON error after checking the form of what it says."""

    def run(*arguments: object, code: int, name: str, environment: dict[str, str] | None = None) -> dict[str, object]:
        done = electra(*arguments, "--json", env=environment)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        said = [text for text in done.stderr.splitlines() if text.startswith(("error: ", "hint: "))]
        assert said[0].startswith("error: ")
        error = json.loads(done.stdout)["error"]
        assert (error["exit_code"], error["code"]) == (code, name)
        return error

    return run


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
def test_flipped_bit_in_a_shard(refused, copy: Path) -> None:
    flip(copy / "shards/v1/train-000000-0000.arrow")
    out = ("--out", copy / "out", "--preset", "tiny", "--steps", "200")
    error = refused("pretrain", copy / "shards", *out, code=4, name="HASH_MISMATCH")
    assert "train-000000-0000.arrow" in str(error["where"])


@pytest.mark.parametrize("file", ["tokenizer/v1/tokenizer.json", "tokenizer/v1/vocab.txt"])
def test_flipped_bit_in_a_tokenizer(refused, copy: Path, file: str) -> None:
    flip(copy / file)
    command = ("shard", copy / "text.txt", "--tokenizer", copy / "tokenizer", "--out", copy / "out")
    refused(*command, code=4, name="HASH_MISMATCH")


def test_flipped_bit_in_a_checkpoint(refused, copy: Path) -> None:
    flip(copy / "pretrained/v1/model.safetensors")
    refused("evaluate", copy / "pretrained", copy / "shards", code=4, name="HASH_MISMATCH")


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b""])
def test_truncated_or_extended_shard(refused, copy: Path, change) -> None:
    path = copy / "shards/v1/train-000000-0000.arrow"
    path.write_bytes(change(path.read_bytes()))
    refused("pretrain", copy / "shards", "--out", copy / "out", code=4, name="SIZE_MISMATCH")


def test_missing_file(refused, copy: Path) -> None:
    (copy / "shards/v1/val-000000-0000.arrow").unlink()
    error = refused("pretrain", copy / "shards", "--out", copy / "out", code=4, name="MISSING_FILE")
    assert "val-000000-0000.arrow" in str(error["where"])


def test_shards_of_another_tokenizer(refused, copy: Path) -> None:
    text = write_text(copy / "other.txt", documents=40, seed=9)
    settings = tokenize.TokenizeSettings(vocab_size=50)
    other = tokenize.run([text], copy / "other", settings=settings, report=Silent()).artifact
    rows = shard.ShardSettings(length=32, val_fraction=0.2, workers=1)
    shards = shard.run([text], other.path, copy / "other-shards", settings=rows, report=Silent()).artifact
    error = refused("evaluate", copy / "pretrained", shards.path, code=4, name="TOKENIZER_MISMATCH")
    assert other.content_id in str(error["message"])


def test_an_artifact_of_another_kind(refused, copy: Path) -> None:
    error = refused("pretrain", copy / "tokenizer", "--out", copy / "out", code=4, name="WRONG_KIND")
    assert "tokenizer" in str(error["message"])


def test_unknown_config_key(refused, copy: Path) -> None:
    settings = copy / "settings.toml"
    settings.write_text("[optimizer]\nlearning_rat = 1e-3\n")
    command = ("pretrain", copy / "shards", "--out", copy / "out", "--config", settings)
    error = refused(*command, code=2, name="BAD_SETTINGS")
    assert "optimizer.learning_rat" in str(error["message"]) and "optimizer.learning_rate" in str(error["message"])


@pytest.mark.parametrize("text", [b"", b"\n\n \n\t\n"])
@pytest.mark.parametrize("stage", ["tokenize", "shard"])
def test_empty_corpus(refused, copy: Path, text: bytes, stage: str) -> None:
    (copy / "empty.txt").write_bytes(text)
    more = ("--tokenizer", copy / "tokenizer") if stage == "shard" else ()
    refused(stage, copy / "empty.txt", *more, "--out", copy / "out", code=3, name="NO_DOCUMENTS")
    assert not (copy / "out" / "v1").exists()


@pytest.mark.parametrize("stage", ["tokenize", "shard"])
def test_invalid_utf8(refused, copy: Path, stage: str) -> None:
    (copy / "bad.txt").write_bytes(b"fine\nalso fine, " + b"caf\xe9 au lait\n")
    more = ("--tokenizer", copy / "tokenizer") if stage == "shard" else ()
    error = refused(stage, copy / "bad.txt", *more, "--out", copy / "out", code=3, name="NOT_UTF8")
    assert "bad.txt:2" in str(error["where"]) + str(error["message"])


def test_a_label_that_training_never_saw(refused, copy: Path) -> None:
    (copy / "train.tsv").write_text("text\tlabel\n" + "the film was great\tgood\nthe book was awful\tbad\n" * 8)
    (copy / "dev.tsv").write_text("text\tlabel\nthe film was short\tgood\nthe end was long\tso-so\n")
    data = (copy / "train.tsv", "--dev", copy / "dev.tsv", "--out", copy / "out")
    error = refused("finetune", "classify", copy / "pretrained", *data, code=3, name="UNSEEN_LABEL")
    assert "so-so" in str(error["message"]) and "dev.tsv:3" in str(error["where"]) + str(error["message"])


@pytest.mark.slow
def test_damage_elsewhere_leaves_what_was_published_alone(electra, copy: Path) -> None:
    flip(copy / "shards/v1/train-000000-0000.arrow")
    electra("pretrain", copy / "shards", "--out", copy / "pretrained", "--preset", "tiny", "--steps", "200")
    for artifact, code in (("tokenizer", 0), ("pretrained/v1", 0), ("shards", 4)):
        assert electra("verify", copy / artifact).returncode == code, artifact
