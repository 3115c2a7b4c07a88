import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from electra_cli.artifacts import open_artifact, verify
from electra_cli.config import resolve
from electra_cli.errors import DataError, UsageError
from electra_cli.reporting import Silent
from electra_cli.stages.tokenize import TokenizeSettings, run
from electra_cli.text.tokenizer import Tokenizer

REPOSITORY = Path(__file__).resolve().parents[2]


def some_text(seed, documents=40):
    dice = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiouäé"] + list("北京中国人")
    words = ["".join(dice.choices(syllables, k=dice.randint(1, 4))) for _ in range(800)]
    return "\n\n".join(" ".join(dice.choices(words, k=60)) + "." for _ in range(documents)) + "\n"


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(some_text(number), "utf-8")
    return folder


def build(texts, out, **settings):
    settings.setdefault("vocab_size", 600)
    return run(texts, out, settings=TokenizeSettings(**settings), report=Silent())


def test_the_artifact_holds_a_tokenizer_and_says_how_it_was_made(corpus, tmp_path):
    outcome = build([corpus], tmp_path / "out")
    artifact = open_artifact(tmp_path / "out", kinds={"tokenizer"})
    assert outcome.status == "built"
    assert outcome.artifact.content_id == artifact.content_id
    tokenizer = Tokenizer.load(artifact.path)
    assert tokenizer.vocab_size == 600 == artifact.spec["vocab_size"]
    assert artifact.spec["special_ids"] == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    assert artifact.manifest.provenance["corpus"]["documents"] == 200
    assert {record.path for record in artifact.manifest.files} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    verify(artifact.path)


def test_the_same_command_is_up_to_date(corpus, tmp_path):
    first = build([corpus], tmp_path / "out")
    os.utime(corpus / "0.txt", (1, 1))
    (corpus / "0.txt").rename(corpus / "9.txt")
    again = build([corpus], tmp_path / "out")
    assert again.status == "up to date"
    assert again.artifact.path == first.artifact.path
    (corpus / "9.txt").write_text("changed\n")
    assert build([corpus], tmp_path / "out").artifact.path.name == "v2"


def test_up_to_date_needs_no_heavy_package(corpus, tmp_path):
    build([corpus], tmp_path / "out")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from electra_cli.reporting import Silent\n"
        "from electra_cli.stages.tokenize import TokenizeSettings, run\n"
        "settings = TokenizeSettings(vocab_size=600)\n"
        "assert run([sys.argv[1]], Path(sys.argv[2]), settings=settings, report=Silent()).status == 'up to date'\n"
        "heavy = {'numpy', 'pyarrow', 'tokenizers', 'torch', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", script, corpus, tmp_path / "out"], env=env, check=True)


@pytest.mark.slow
def test_order_of_files_processes_threads_and_hash_seeds_do_not_matter(corpus, tmp_path, electra):
    files = sorted(corpus.iterdir())
    orders = [files, files[::-1], [*files[3:], *files[:3]]]
    found = set()
    for number, (order, seed, threads) in enumerate(zip(orders, "0 1 77".split(), "1 2 2".split(), strict=True)):  # noqa: SIM905
        done = electra(
            *("tokenize", *order, "--out", tmp_path / str(number), "--vocab-size", 600, "--json"),
            env={"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads},
        )
        assert done.returncode == 0, done.stderr
        found.add(json.loads(done.stdout)["content_id"])
        (path,) = (tmp_path / str(number)).glob("v*/tokenizer.json")
        found.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(found) == 2


def test_how_the_text_is_packed_does_not_matter(corpus, tmp_path):
    plain = build([corpus], tmp_path / "plain").artifact
    packed = tmp_path / "packed"
    packed.mkdir()
    for path in corpus.iterdir():
        (packed / path.name).write_bytes(gzip.compress(path.read_bytes()))
    lines = [json.dumps({"text": path.read_text("utf-8")}) for path in sorted(corpus.iterdir())]
    (tmp_path / "rows").write_text("\n".join(lines))
    assert build([packed], tmp_path / "a").artifact.content_id == plain.content_id
    assert build([tmp_path / "rows"], tmp_path / "b").artifact.content_id == plain.content_id


def test_settings_shape_the_tokenizer(corpus, tmp_path):
    cased = build([corpus], tmp_path / "out", lowercase=False, unused=3)
    tokenizer = Tokenizer.load(cased.artifact.path)
    assert not tokenizer.parts.rules.lowercase and not tokenizer.parts.rules.strip_accents
    assert tokenizer.tokens[:5] == ("[PAD]", "[unused0]", "[unused1]", "[unused2]", "[UNK]")
    assert "ä" in tokenizer.tokens
    assert "ä" not in Tokenizer.load(build([corpus], tmp_path / "out").artifact.path).tokens


def test_a_text_that_cannot_fill_the_vocabulary_is_said(tmp_path):
    class Listener(Silent):
        def __init__(self):
            self.warnings = []

        def warn(self, message):
            self.warnings.append(message)

    (tmp_path / "a.txt").write_text("the cat and the dog\n")
    listener = Listener()
    outcome = run([tmp_path / "a.txt"], tmp_path / "out", settings=TokenizeSettings(), report=listener)
    assert outcome.artifact.spec["vocab_size"] < 30
    assert len(listener.warnings) == 1 and "30,522" in listener.warnings[0]


def test_a_vocabulary_smaller_than_the_alphabet_is_refused(corpus, tmp_path):
    with pytest.raises(UsageError) as caught:
        build([corpus], tmp_path / "out", vocab_size=20)
    assert caught.value.code == "VOCAB_TOO_SMALL"


def test_no_document_leaves_nothing_behind_that_looks_like_an_artifact(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n")
    with pytest.raises(DataError) as caught:
        build([tmp_path / "a.txt"], tmp_path / "out")
    assert caught.value.code == "NO_DOCUMENTS"
    assert not list((tmp_path / "out").glob("v*"))


def test_the_default_manifest_says_what_the_first_electra_said(corpus, tmp_path):
    """No `model` means WordPiece: the same text keeps its content id, and old manifests read as new ones."""
    spec = build([corpus], tmp_path / "out").artifact.spec
    assert set(spec) == {"vocab_size", "special_ids", "lowercase", "strip_accents", "split_cjk", "alphabet"}


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_other_models_are_artifacts_like_any(model, corpus, tmp_path):
    options = {"split_digits": True, "special_tokens": ("[DOC]",), "placeholders": ("<URL>", "<USER>"), "unused": 2}
    artifact = build([corpus], tmp_path / "out", model=model, **options).artifact
    names = ("[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DOC]", "<URL>", "<USER>")
    tokenizer = Tokenizer.load(artifact.path)
    assert tokenizer.tokens[:10] == names
    assert tokenizer.vocab_size == 600
    assert artifact.spec["special_ids"] == {"pad": 0, "unk": 3, "cls": 4, "sep": 5, "mask": 6, "[DOC]": 7}
    said = {name: artifact.spec[name] for name in ("model", "split_digits", "placeholders")}
    assert said == {"model": model, "split_digits": True, "placeholders": ["<URL>", "<USER>"]}
    assert {record.path for record in artifact.manifest.files} == {"tokenizer.json", "tokenizer_config.json"}
    verify(artifact.path)


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_the_order_of_files_does_not_matter_to_other_models(model, corpus, tmp_path):
    files = sorted(corpus.iterdir())
    orders = (files, files[::-1], [*files[3:], *files[:3]])
    made = [build(order, tmp_path / str(number), model=model).artifact for number, order in enumerate(orders)]
    assert len({artifact.content_id for artifact in made}) == 1


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"model": "bpe", "limit_alphabet": 50}, "256 bytes"),
        ({"model": "bpe", "coverage": 0.9}, "256 bytes"),
        ({"pre_segmented": True, "split_digits": True}, "white space alone"),
        ({"special_tokens": ["[MASK]"]}, "already"),
        ({"special_tokens": ["[A]"], "placeholders": ["[A]"]}, "already"),
        ({"placeholders": ["two words"]}, "white space"),
        ({"placeholders": ["url"]}, "plain word"),
        ({"model": "sentencepiece"}, "wordpiece"),
    ],
)
def test_settings_that_cannot_go_together_are_usage_errors(settings, why):
    with pytest.raises(UsageError, match=why):
        resolve(TokenizeSettings, sets=[f"{key}={json.dumps(value)}" for key, value in settings.items()])


def test_pre_segmented_text_keeps_a_segmenter_s_words(tmp_path):
    (tmp_path / "a.txt").write_text("北京 是 中华人民共和国 的 首都 。\n" * 9, "utf-8")
    artifact = build([tmp_path / "a.txt"], tmp_path / "out", pre_segmented=True).artifact
    assert "中华人民共和国" in Tokenizer.load(artifact.path).tokens
    assert artifact.spec["pre_segmented"] is True and artifact.spec["split_cjk"] is False


class TestCommand:
    def test_it_prints_the_path_and_the_next_command(self, corpus, tmp_path, electra):
        done = electra("tokenize", corpus, "-o", tmp_path / "out", "--vocab-size", 600)
        assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out/v1\n")
        assert f"next: electra shard {corpus} --tokenizer {tmp_path}/out/v1" in done.stderr

    def test_it_reads_standard_input(self, tmp_path, electra):
        done = electra("tokenize", "-", "-o", tmp_path / "out", "--vocab-size", 600, input=some_text(1))
        assert done.returncode == 0, done.stderr
        again = electra("tokenize", "-", "-o", tmp_path / "out", "--vocab-size", 600, input=some_text(1))
        assert "up to date" in again.stderr
        assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["v1"]

    @pytest.mark.parametrize(
        ("data", "code", "name"),
        [
            (b"bad \xff\n", 3, "NOT_UTF8"),
            (b"", 3, "NO_DOCUMENTS"),
            (b"PK\x03\x04", 2, "ARCHIVE"),
            (gzip.compress(b"text " * 1000, mtime=0)[:-20], 3, "TRUNCATED"),
        ],
    )
    def test_bad_input_has_its_exit_code(self, data, code, name, tmp_path, electra):
        (tmp_path / "a.txt").write_bytes(data)
        done = electra("tokenize", tmp_path / "a.txt", "-o", tmp_path / "out", "--json")
        assert done.returncode == code, done.stderr
        assert json.loads(done.stdout)["error"]["code"] == name
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("size", ["0", "2000000", "-5", "many"])
    def test_impossible_sizes_are_usage_errors(self, size, corpus, tmp_path, electra):
        assert electra("tokenize", corpus, "-o", tmp_path / "out", "--vocab-size", size).returncode == 2

    @pytest.mark.slow
    def test_killed_at_any_moment_and_run_again_gives_the_same(self, corpus, tmp_path, electra):
        expected = build([corpus], tmp_path / "undisturbed").artifact.content_id
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        for number, seconds in enumerate((0.2, 0.5, 0.8)):
            arguments = ("tokenize", corpus, "--out", tmp_path / str(number), "--vocab-size", "600", "--json")
            with subprocess.Popen(
                [sys.executable, "-m", "electra_cli", *arguments], env=env, stdout=subprocess.DEVNULL
            ) as process:
                time.sleep(seconds)
                process.kill()
            done = electra(*arguments)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["content_id"] == expected
