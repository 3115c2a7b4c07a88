"""`electra export`: what it publishes, the public library loads and agrees with; what disagrees is not published."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from electra_cli.artifacts import Artifact, Recipe, claim, open_artifact
from electra_cli.errors import ArtifactError, UsageError
from electra_cli.exporting.parity import Question, sample_texts
from electra_cli.exporting.source import read_source
from electra_cli.model.classifier import Classifier
from electra_cli.model.naming import ties, to_public
from electra_cli.model.pretraining import Electra
from electra_cli.model.shape import EncoderShape, generator_shape
from electra_cli.reporting import Silent
from electra_cli.stages.export import ExportSettings, run
from electra_cli.stages.outcome import Outcome
from electra_cli.text.parts import SPECIALS, WordRules
from electra_cli.text.tokenizer import Tokenizer
from electra_cli.text.training import assembled, train
from electra_cli.text.vocabulary import Wanted
from electra_cli.text.words import words_of

transformers = pytest.importorskip("transformers")

ENGLISH = "The 3 quick brown foxes (all of them) didn't jump over Zoë's dog!"
CHINESE = "今天的天气很好，我们去公园散步吧！2024年３月，北京。"
GERMAN = "Größere Brücken führen über süße Flüsse."
KOREAN = "서울의 봄은 짧고, 벚꽃은 일주일이면 진다."


def vocabulary() -> list[str]:
    """Every character of the texts above and a few real pieces."""
    letters = sorted(set(ENGLISH + CHINESE + GERMAN + KOREAN + "abcdefghijklmnopqrstuvwxyz0123456789") - {" "})
    words = ["the", "quick", "brown", "##ing", "##er", "fo", "##xes", "bru", "##cken", "ju", "##mp"]
    return [*SPECIALS, *letters, *(f"##{letter}" for letter in letters), *words]


def write_artifact(out: Path, kind: str, files: dict[str, bytes], spec: dict[str, object]) -> Artifact:
    """Publish an artifact made by hand."""
    recipe = Recipe(kind, "test", 1, {"made": "by hand"}, ())
    with claim(out, recipe, report=Silent()) as held:
        assert held.draft is not None
        for name, data in files.items():
            held.draft.write_bytes(name, data)
        return held.draft.publish(spec=spec)


def randomized(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Random everywhere, biases and norms included, so that nothing is hidden by a 0 or a 1."""
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(0.25 * torch.randn(parameter.shape, generator=dice))
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return model


def make_checkpoint(
    out: Path,
    *,
    narrow: bool = True,
    shared: bool = False,
    lowercase: bool = True,
    strip: bool | None = None,
    tokenizer: Tokenizer | None = None,
) -> Artifact:
    """A small checkpoint with random weights; `narrow` embeddings need a projection, a `shared` encoder is both's."""
    tokenizer = tokenizer or Tokenizer.from_vocab(vocabulary(), lowercase=lowercase, strip_accents=strip)
    shape = EncoderShape(
        vocab_size=tokenizer.vocab_size,
        embedding_size=16 if narrow else 32,
        hidden_size=32,
        layers=2,
        heads=4,
        feed_forward=48,
        positions=48,
    )
    generator = generator_shape(shape, size=1.0 if shared else 0.5)
    model = randomized(Electra(shape, generator, shared_encoder=shared), 5)
    spec = {
        "architecture": model.architecture(),
        "tokenizer": "sha256:" + "0" * 64,
        "step": 7,
        "ties": ties(model),
    }
    files = {"model.safetensors": save(to_public(model), {"format": "pt"})}
    files |= {f"tokenizer/{name}": data for name, data in tokenizer.files().items()}
    return write_artifact(out, "checkpoint", files, spec)


def make_model(out: Path, *, labels: tuple[str, ...] = ("no", "yes", "maybe"), regression: bool = False) -> Artifact:
    """A small finetuned model with random weights."""
    tokenizer = Tokenizer.from_vocab(vocabulary())
    shape = EncoderShape(
        vocab_size=tokenizer.vocab_size,
        embedding_size=16,
        hidden_size=32,
        layers=2,
        heads=2,
        feed_forward=48,
        positions=48,
    )
    task = {
        "name": "demo",
        "type": "regression" if regression else "single_label",
        "labels": [] if regression else list(labels),
        "text_columns": ["text"],
        "max_length": 32,
        "metrics": ["accuracy"],
        "scale": [0.0, 5.0] if regression else None,
    }
    model = randomized(Classifier(shape, 1 if regression else len(labels)), 6)
    spec = {"architecture": shape.to_dict(), "task": task, "tokenizer": "sha256:" + "0" * 64}
    files = {"model.safetensors": save(to_public(model), {"format": "pt"})}
    files |= {f"tokenizer/{name}": data for name, data in tokenizer.files().items()}
    return write_artifact(out, "model", files, spec)


def batch(folder: Path) -> dict[str, torch.Tensor]:
    """Real text by the exported tokenizer, two of the rows pairs, padded and cut."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    first, second = [ENGLISH, CHINESE, GERMAN], [CHINESE, ENGLISH, KOREAN]
    return dict(tokenizer(first, second, padding=True, truncation=True, return_tensors="pt"))


@torch.inference_mode()
def our_logits(artifact: Artifact, part: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same by our own network, loaded anew from the artifact."""
    asked = Question([], [], inputs["input_ids"], inputs["token_type_ids"], inputs["attention_mask"])
    return read_source(artifact, part).answer(asked)


@dataclass(frozen=True)
class Exported:
    """One export and what it was made from."""

    artifact: Artifact
    part: str
    outcome: Outcome

    @property
    def folder(self) -> Path:
        return self.outcome.artifact.path


# part, narrow embeddings, lower-case, strip accents: between them every value of each
CHECKPOINTS = {
    "discriminator": ("discriminator", True, True, True),
    "wide discriminator": ("discriminator", False, True, False),
    "generator": ("generator", True, False, True),
    "wide generator": ("generator", False, False, False),
    "shared generator": ("generator", True, True, False),
}
LABELS = ("no", "yes", *(f"label {index}" for index in range(2, 48)))  # as many as tokens in a row, see below


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Callable[[str], Exported]:
    """Exports by name, each made once: starting the process that re-reads one takes seconds."""
    made: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name not in made:
            folder = tmp_path_factory.mktemp("exported")
            if name in CHECKPOINTS:
                part, narrow, lowercase, strip = CHECKPOINTS[name]
                casing = {"lowercase": lowercase, "strip": strip}
                shared = name.startswith("shared")
                artifact = make_checkpoint(folder / "checkpoint", narrow=narrow, shared=shared, **casing)
                settings = ExportSettings(part=part, license="apache-2.0")
            else:
                part, settings = "classifier", ExportSettings()
                artifact = make_model(folder / "model", labels=LABELS, regression=name == "regression")
            made[name] = Exported(artifact, part, run(artifact.path, folder / "out", settings=settings))
        return made[name]

    return get


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_gives_the_same_logits_in_transformers(exported, name):
    export = exported(name)
    generator = export.part == "generator"
    auto = transformers.AutoModelForMaskedLM if generator else transformers.AutoModelForPreTraining
    model = auto.from_pretrained(export.folder, local_files_only=True).eval()
    assert type(model).__name__ == ("ElectraForMaskedLM" if generator else "ElectraForPreTraining")
    inputs = batch(export.folder)
    with torch.inference_mode():
        theirs = model(**inputs).logits[inputs["attention_mask"] == 1]
    ours = our_logits(export.artifact, export.part, inputs)
    assert theirs.shape == ours.shape
    assert theirs.abs().max() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * max(1.0, float(theirs.abs().max())))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "regression"])
def test_a_classifier_gives_the_same_logits_and_labels(exported, name):
    export = exported(name)
    auto = transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(export.folder, local_files_only=True).eval()
    inputs = batch(export.folder)
    with torch.inference_mode():
        theirs = model(**inputs).logits
    torch.testing.assert_close(our_logits(export.artifact, "classifier", inputs), theirs, rtol=0, atol=1e-5)
    if name == "regression":
        assert model.config.num_labels == 1
        assert model.config.problem_type == "regression"
        assert "from 0 to 5" in (export.folder / "README.md").read_text(encoding="utf-8")
    else:
        assert model.config.id2label == dict(enumerate(LABELS))
        assert model.config.label2id == {label: index for index, label in enumerate(LABELS)}
        assert model.config.problem_type == "single_label_classification"


@pytest.mark.slow
def test_as_many_labels_as_tokens_in_a_row(exported):
    """(B, C) and (B, L) must not be confused where C = L: the sample sentences are cut at 48 positions here."""
    rows = exported("classifier").outcome.summary["agreement"]
    assert {row["logits"] for row in rows} == {48 * len(sample_texts())}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_ids_are_equal_in_four_languages(exported, name):
    export = exported(name)
    ours = Tokenizer.load(export.artifact.path / "tokenizer")
    theirs = transformers.AutoTokenizer.from_pretrained(export.folder, local_files_only=True)
    texts = [ENGLISH, CHINESE, GERMAN, KOREAN]
    encoded = ours.encode_pairs(texts, max_length=10_000)
    assert [ids.tolist() for ids, _ in encoded] == theirs(texts)["input_ids"]
    pairs = ours.encode_pairs(texts, texts[::-1], max_length=10_000)
    both = theirs(texts, texts[::-1])
    assert [ids.tolist() for ids, _ in pairs] == both["input_ids"]
    assert [len(ids) - sum(types) for (ids, _), types in zip(pairs, both["token_type_ids"], strict=True)] == [
        first for _, first in pairs
    ]
    assert theirs.model_max_length == 48
    assert (theirs.pad_token_id, theirs.mask_token) == (0, "[MASK]")
    assert len({tuple(ids.tolist()) for ids, _ in encoded}) == 4  # not all [UNK]


@pytest.mark.slow
def test_the_folder_holds_what_the_format_asks_for(exported):
    export = exported("discriminator")
    published = export.outcome.artifact
    assert {record.path for record in published.manifest.files} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    with safe_open(published.path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert len(list(file.keys())) == 5 + 2 + 16 * 2 + 4  # embeddings, projection, layers, head (hf-compat.md)
    config = json.loads((published.path / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["architectures"]) == ("electra", ["ElectraForPreTraining"])
    assert (published.kind, published.spec["part"]) == ("export", "discriminator")
    card = (published.path / "README.md").read_text(encoding="utf-8")
    assert 'license: "apache-2.0"' in card
    assert export.artifact.content_id in card


@pytest.mark.slow
def test_both_readers_agree_on_every_sample(exported):
    rows = exported("generator").outcome.summary["agreement"]
    assert [row["reader"] for row in rows] == ["plain reading", f"transformers {transformers.__version__}"]
    assert all(row["texts"] == len(sample_texts()) and row["other_ids"] == 0 for row in rows)
    assert all(0 < row["largest_difference"] < 1e-5 for row in rows)  # 0 would be too good: other arithmetic


@pytest.mark.slow
def test_the_second_run_has_nothing_to_do_and_loads_nothing_heavy(exported):
    export = exported("discriminator")
    # The part is given here and was `auto`-able there: one recipe.
    code = (
        "import sys; from pathlib import Path; from electra_cli.stages.export import ExportSettings, run\n"
        f"outcome = run({str(export.artifact.path)!r}, Path({str(export.folder.parent)!r}), "
        "settings=ExportSettings(license='apache-2.0'))\n"
        "heavy = {'torch', 'pyarrow', 'tokenizers', 'transformers', 'numpy'} & set(sys.modules)\n"
        "print(outcome.status, outcome.artifact.content_id, sorted(heavy))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == f"up to date {export.outcome.artifact.content_id} []"


def test_the_command_prints_one_path_or_one_object(exported):
    export = exported("discriminator")
    command = [
        sys.executable,
        "-m",
        "electra_cli",
        "export",
        str(export.artifact.path),
        "-o",
        str(export.folder.parent),
    ]
    command += ["--to", "hf", "--part", "discriminator", "--set", "license=apache-2.0"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    assert plain.stdout == f"{export.folder}\n"
    answer = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert (answer["status"], answer["path"]) == ("up to date", str(export.folder))
    assert answer["summary"] == export.outcome.summary


@pytest.mark.slow
def test_the_same_artifact_gives_the_same_bytes(exported, tmp_path):
    export = exported("discriminator")
    settings = ExportSettings(license="apache-2.0")
    assert run(export.artifact.path, tmp_path, settings=settings).artifact.content_id == (
        export.outcome.artifact.content_id
    )


class Saboteur(Silent):
    """Changes one weight between writing and checking: stands for any way in which a file can come to be wrong."""

    def __init__(self, out: Path, name: str) -> None:
        self.out, self.name = out, name
        self.done = False

    def note(self, message: str) -> None:
        if "fresh process" in message:
            (file,) = self.out.glob(".v*.partial/model.safetensors")
            tensors = load_file(file)
            tensors[self.name].view(-1)[3] += 0.01
            save_file(tensors, file, {"format": "pt"})
            self.done = True


@pytest.mark.slow
def test_a_changed_weight_publishes_nothing(exported, tmp_path):
    artifact = exported("discriminator").artifact
    saboteur = Saboteur(tmp_path / "out", "electra.encoder.layer.1.attention.self.key.weight")
    with pytest.raises(ArtifactError) as caught:
        run(artifact.path, tmp_path / "out", report=saboteur)
    assert saboteur.done
    assert caught.value.code == "EXPORT_MISMATCH"
    with pytest.raises(ArtifactError):
        open_artifact(tmp_path / "out")
    # The same command without the sabotage then works, whatever lies about.
    assert run(artifact.path, tmp_path / "out").artifact.path.name == "v1"


@pytest.mark.slow
def test_a_weight_that_is_no_number_publishes_nothing(tmp_path):
    artifact = make_checkpoint(tmp_path / "one")
    tensors = load_file(artifact.file("model.safetensors"))
    tensors["discriminator.electra.encoder.layer.0.output.dense.bias"][0] = float("nan")
    files = {record.path: artifact.file(record.path).read_bytes() for record in artifact.manifest.files}
    files["model.safetensors"] = save(tensors, {"format": "pt"})
    broken = write_artifact(tmp_path / "two", "checkpoint", files, artifact.spec)
    with pytest.raises(ArtifactError, match="nan"):
        run(broken.path, tmp_path / "out")


def test_weights_and_manifest_must_fit(tmp_path):
    artifact = make_checkpoint(tmp_path / "one")
    tensors = load_file(artifact.file("model.safetensors"))
    missing = "discriminator.electra.encoder.layer.1.output.dense.bias"
    del tensors[missing]
    files = {record.path: artifact.file(record.path).read_bytes() for record in artifact.manifest.files}
    files["model.safetensors"] = save(tensors, {"format": "pt"})
    broken = write_artifact(tmp_path / "two", "checkpoint", files, artifact.spec)
    with pytest.raises(ArtifactError, match=missing) as caught:
        run(broken.path, tmp_path / "out")
    assert caught.value.code == "SPEC_INCOMPLETE"


def test_a_tensor_without_a_place_is_refused(tmp_path):
    artifact = make_model(tmp_path / "one")
    tensors = load_file(artifact.file("model.safetensors")) | {"electra.pooler.weight": torch.zeros(3)}
    files = {record.path: artifact.file(record.path).read_bytes() for record in artifact.manifest.files}
    files["model.safetensors"] = save(tensors, {"format": "pt"})
    broken = write_artifact(tmp_path / "two", "model", files, artifact.spec)
    with pytest.raises(ArtifactError, match=r"electra\.pooler\.weight has no place") as caught:
        run(broken.path, tmp_path / "out")
    assert caught.value.code == "TENSOR_MISMATCH"


def test_a_flipped_bit_in_the_source_is_found_before_anything_is_written(tmp_path):
    artifact = make_checkpoint(tmp_path / "checkpoint")
    file = artifact.file("model.safetensors")
    data = bytearray(file.read_bytes())
    data[-5] ^= 4
    file.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        run(artifact.path, tmp_path / "out")
    assert caught.value.code == "HASH_MISMATCH"


def test_a_finetuned_model_has_no_generator(tmp_path):
    artifact = make_model(tmp_path / "model")
    with pytest.raises(UsageError) as caught:
        run(artifact.path, tmp_path / "out", settings=ExportSettings(part="generator"))
    assert caught.value.code == "NO_SUCH_PART"


@pytest.mark.slow
@pytest.mark.parametrize(
    "rules",
    [
        WordRules(model="bpe", split_cjk=False, placeholders=("<URL>",)),
        WordRules(model="unigram", lowercase=False, strip_accents=False, split_digits=True),
        WordRules(pre_segmented=True, split_cjk=False),
    ],
    ids=lambda rules: rules.model,
)
def test_tokenizers_of_all_kinds_are_exported(rules: WordRules, tmp_path: Path) -> None:
    """The stage itself compares ids of the sample texts in another process; here of others, by the library."""
    words = words_of({chunk: 2 for text in (ENGLISH, CHINESE, GERMAN, KOREAN) for chunk in text.split()}, rules)
    extra = ("[DOC]", *rules.placeholders)
    tokenizer = Tokenizer(assembled(train(words, Wanted(700, extra=extra), rules), rules, special_tokens=("[DOC]",)))
    folder = run(make_checkpoint(tmp_path / "in", tokenizer=tokenizer).path, tmp_path / "out").artifact.path
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for text in (ENGLISH, CHINESE, GERMAN, KOREAN, f"see <URL>{KOREAN}"):
        ((ids, _),) = tokenizer.encode_pairs([text], [ENGLISH], max_length=999)
        assert theirs(text, ENGLISH).input_ids == ids.tolist()
    assert theirs.model_max_length == 48


@pytest.mark.slow
def test_a_pad_that_is_not_the_first_entry_is_exported_as_what_it_is(tmp_path: Path) -> None:
    first, *others = vocabulary()
    tokenizer = Tokenizer.from_vocab([*others, first])
    folder = run(make_checkpoint(tmp_path / "in", tokenizer=tokenizer).path, tmp_path / "out").artifact.path
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    assert config.pad_token_id == tokenizer.pad_id == len(others)
    assert transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True).pad_token_id == tokenizer.pad_id
