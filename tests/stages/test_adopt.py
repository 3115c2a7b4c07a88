"""`electra tokenize --adopt`: the artifact, and the errors of the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from electra_cli.artifacts import open_artifact, verify
from electra_cli.reporting import Silent
from electra_cli.stages.adopt import AdoptSettings, run
from electra_cli.text.tokenizer import Tokenizer

REPOSITORY = Path(__file__).resolve().parents[2]
TOKENS = ["the", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "##s", "Haus", "der"]


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(TOKENS) + "\n")
    return path


def test_the_artifact_holds_the_vocabulary_as_it_was(vocabulary, tmp_path):
    outcome = run(vocabulary, tmp_path / "out", settings=AdoptSettings(), report=Silent())
    artifact = open_artifact(tmp_path / "out", kinds={"tokenizer"})
    assert outcome.status == "built"
    assert (artifact.path / "vocab.txt").read_bytes() == vocabulary.read_bytes()
    assert Tokenizer.load(artifact.path).tokens == tuple(TOKENS)
    assert artifact.spec == {
        "vocab_size": 9,
        "special_ids": {"pad": 5, "unk": 4, "cls": 1, "sep": 2, "mask": 3},
        "lowercase": False,
        "strip_accents": False,
        "split_cjk": True,
    }
    assert artifact.manifest.inputs[0].role == "vocabulary"
    assert "upper-case pieces" in artifact.manifest.provenance["notes"][0]
    verify(artifact.path)


def test_the_same_command_is_up_to_date_and_needs_no_heavy_package(vocabulary, tmp_path):
    run(vocabulary, tmp_path / "out", settings=AdoptSettings(), report=Silent())
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from electra_cli.reporting import Silent\n"
        "from electra_cli.stages.adopt import AdoptSettings, run\n"
        "found = run(Path(sys.argv[1]), Path(sys.argv[2]), settings=AdoptSettings(), report=Silent())\n"
        "assert found.status == 'up to date'\n"
        "heavy = {'numpy', 'pyarrow', 'tokenizers', 'torch', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", script, vocabulary, tmp_path / "out"], env=env, check=True)
    other = run(vocabulary, tmp_path / "out", settings=AdoptSettings(lowercase=True), report=Silent())
    assert other.artifact.path.name == "v2"


def test_the_command_says_what_no_file_says(vocabulary, tmp_path, electra):
    done = electra("tokenize", "--adopt", vocabulary, "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out/v1\n")
    assert "lowercase = false" in done.stderr
    said = electra("tokenize", "--adopt", vocabulary, "-o", tmp_path / "out", "--lowercase", "--json")
    assert json.loads(said.stdout)["path"].endswith("v2")


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["--adopt", "vocab.txt", "text.txt"], 2, "BAD_INPUT"),
        (["--adopt", "vocab.txt", "--vocab-size", "9"], 2, "BAD_INPUT"),
        (["--adopt", "vocab.txt", "--model", "bpe"], 2, "BAD_INPUT"),
        (["--adopt", "vocab.txt", "--set", "vocab_size=9"], 2, "BAD_SETTINGS"),
        (["--adopt", "nothing.txt"], 3, "MISSING_INPUT"),
        (["--adopt", "broken.txt"], 3, "BAD_VOCABULARY"),
        ([], 2, "BAD_INPUT"),
    ],
)
def test_mistakes_have_their_exit_codes(arguments, code, name, vocabulary, tmp_path, electra):
    (tmp_path / "broken.txt").write_text("the\nthe\n")
    (tmp_path / "text.txt").write_text("the\n")
    done = electra("tokenize", *arguments, "-o", "out", "--json", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == name
    assert "Traceback" not in done.stderr
