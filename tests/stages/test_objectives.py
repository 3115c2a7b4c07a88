"""Runs of the other objectives and generators: exact resume, evaluation, finetuning, export, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from electra_cli.artifacts import Artifact, open_artifact
from electra_cli.data.shards import ShardSet
from electra_cli.errors import UsageError
from electra_cli.exporting.card import model_card
from electra_cli.exporting.hf import checked_tensors, config_json
from electra_cli.exporting.parity import Question
from electra_cli.exporting.reference import Reference
from electra_cli.exporting.source import read_source
from electra_cli.model.initialize import initialize
from electra_cli.model.naming import to_public
from electra_cli.model.shape import EncoderShape
from electra_cli.runtime.machine import choose_machine
from electra_cli.stages import evaluate_pretraining, export, pretrain
from electra_cli.stages.classifiers import classifier_from
from electra_cli.stages.evaluate_pretraining import EvaluatePretrainingSettings
from electra_cli.stages.pair import load_pair
from electra_cli.stages.pretrain_pair import build_pair
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.training.history import read_history
from tests.stages.pretraining import make_shards, small_settings
from tests.stages.test_pretrain import At, PowerCut, cut, same

KINDS: dict[str, dict[str, object]] = {
    "mlm": {"objective.kind": "mlm"},
    "electra-15": {"objective.kind": "electra-15"},
    "replace-mlm": {"objective.kind": "replace-mlm", "generator.embeddings": "own"},
    "all-tokens-mlm": {"objective.kind": "all-tokens-mlm"},
    "electric": {"objective.kind": "electric"},
    "uniform": {"generator.kind": "uniform"},
    "unigram": {"generator.kind": "unigram"},
    "own": {"generator.embeddings": "own"},
    "gdes": {"generator.embeddings": "gdes"},
    "two stages": {
        "objective.two_stage_steps": 4,
        "generator.embeddings": "own",
        "generator.size": 1.0,
        "model.embedding_size": 32,
    },
}


def settings_of(kind: str) -> PretrainSettings:
    """A run of 7 steps with a checkpoint after the fourth; of two stages there are more to look at."""
    short = {"optimizer.steps": 7, "evaluation.every": 7, "evaluation.rows": 8, "log_every": 2, "checkpoints.keep": 9}
    saved = {"checkpoints.every": 2 if kind == "two stages" else 4, "optimizer.warmup_steps": 1}
    return small_settings(**short, **saved, **KINDS[kind])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("objectives"), documents=30)


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """Checkpoints by kind, each made once."""
    made: dict[str, Artifact] = {}

    def get(kind: str) -> Artifact:
        if kind not in made:
            out = tmp_path_factory.mktemp("trained") / "out"
            made[kind] = pretrain.run(shards, out, settings=settings_of(kind)).artifact
        return made[kind]

    return get


# the others keep nothing that these do not
@pytest.mark.parametrize("kind", ["mlm", "all-tokens-mlm", "electric", "unigram", "gdes", "two stages"])
def test_cut_short_and_continued_is_the_undisturbed_run(
    kind: str, trained: Callable[[str], Artifact], shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(PowerCut):
        pretrain.run(shards, tmp_path / "out", settings=settings_of(kind), report=At(5, cut))
    outcome = pretrain.run(shards, tmp_path / "out", settings=settings_of(kind))
    assert outcome.status == "resumed"  # from step 4: of two stages that is where the second begins
    same(outcome.artifact, trained(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_measured_again_says_what_the_run_said(
    kind: str, trained: Callable[[str], Artifact], shards: Path
) -> None:
    settings = EvaluatePretrainingSettings(rows=8, batch_size=4)
    metrics = evaluate_pretraining.run(trained(kind).path, [shards], settings=settings)
    assert metrics == trained(kind).spec["held_out"]
    assert metrics["loss"] is not None and metrics["loss"] > 0
    words = kind in ("mlm", "replace-mlm", "all-tokens-mlm")
    assert ("word_loss" in metrics) == words
    assert (metrics["discriminator_loss"] is None) == words
    assert (metrics["generator_loss"] is None) == (kind == "mlm")
    assert (metrics["generator_accuracy"] is None) == (kind in ("mlm", "uniform"))
    assert metrics["masked_tokens"] and metrics["tokens"] and metrics["masked_tokens"] < metrics["tokens"]
    share = metrics["replaced_fraction"]
    assert share is None if kind == "mlm" else 0.05 < share <= 0.16, "of all tokens, whatever the loss covers"
    lines = [record for record in read_history(trained(kind).file("metrics.jsonl")) if record["kind"] == "train"]
    undefined = ("discriminator_precision", "discriminator_recall")  # while nothing is called replaced, or is
    assert all(value is not None for line in lines for name, value in line.items() if name not in undefined)
    assert all(("word_loss" in line) == words and ("generator_loss" in line) == (kind != "mlm") for line in lines)


@pytest.mark.parametrize("kind", ["mlm", "replace-mlm", "all-tokens-mlm", "electric", "unigram", "gdes", "two stages"])
def test_finetuning_starts_from_the_encoder_that_was_trained(kind: str, trained: Callable[[str], Artifact]) -> None:
    checkpoint = trained(kind)
    shape = EncoderShape.from_dict(checkpoint.spec["architecture"]["discriminator"])
    model = classifier_from(checkpoint, shape, outputs=2, seed=1, random=False)
    pretrained = load_pair(checkpoint, choose_machine("cpu", "fp32"))
    ids = torch.arange(5, 25)[None]
    types = torch.zeros_like(ids)
    assert torch.equal(model.encoder(ids, types), pretrained.discriminator(ids, types))
    if kind == "gdes":
        assert pretrained.embeddings.delta.abs().max() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "wanted", "architecture"),
    [
        ("mlm", "auto", "ElectraForMaskedLM"),
        ("replace-mlm", "auto", "ElectraForMaskedLM"),
        ("replace-mlm", "generator", "ElectraForMaskedLM"),
        ("all-tokens-mlm", "auto", "ElectraForMaskedLM"),
        ("electra-15", "discriminator", "ElectraForPreTraining"),
        ("electric", "auto", "ElectraForPreTraining"),
        ("unigram", "auto", "ElectraForPreTraining"),
        ("own", "generator", "ElectraForMaskedLM"),
        ("gdes", "auto", "ElectraForPreTraining"),
        ("gdes", "generator", "ElectraForMaskedLM"),
    ],
)
def test_an_export_read_plainly_says_what_the_checkpoint_says(
    kind: str, wanted: str, architecture: str, trained: Callable[[str], Artifact], tmp_path: Path
) -> None:
    """The folder as `electra export` writes it, read by the independent arithmetic that checks every export."""
    part = export._part(trained(kind), wanted)
    source = read_source(trained(kind), part)
    save_file(checked_tensors(source.network, "here"), tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config_json(source.network)))
    ids = torch.arange(5, 29).view(2, 12)
    types, mask = (ids > 20).long(), torch.ones_like(ids)
    mask[1, 9:] = 0
    reference = Reference(tmp_path)
    assert reference.architecture == architecture
    theirs = reference.logits(ids, types, mask)[mask == 1].float()
    ours = source.answer(Question([], [], ids, types, mask))
    assert theirs.shape == ours.shape and theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    card = model_card(trained(kind), source.network, license_id="", tolerance=1e-5)
    assert ("The energy model" in card) == (kind == "electric")
    assert ("pipeline_tag: fill-mask" in card) == (architecture == "ElectraForMaskedLM")


@pytest.mark.slow
def test_the_whole_export(trained: Callable[[str], Artifact], tmp_path: Path) -> None:
    outcome = export.run(trained("mlm").path, tmp_path / "out")
    assert outcome.artifact.spec["class"] == "ElectraForMaskedLM"
    assert all(row["other_ids"] == 0 for row in outcome.summary["agreement"])


@pytest.mark.parametrize(
    ("kind", "part", "words"),
    [
        ("mlm", "discriminator", "objective.kind = mlm .* has no discriminator"),
        ("mlm", "generator", "has no generator network"),
        ("replace-mlm", "discriminator", "has no discriminator"),
        ("uniform", "generator", "generator.kind = uniform has no generator network"),
        ("electric", "generator", "has no generator that other tools know"),
    ],
)
def test_an_export_of_what_is_not_there_is_refused(
    kind: str, part: str, words: str, trained: Callable[[str], Artifact], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words) as error:
        settings = export.ExportSettings(part=part)  # type: ignore[arg-type]
        export.run(trained(kind).path, tmp_path / "out", settings=settings)
    assert error.value.code == "NO_SUCH_PART" and not (tmp_path / "out" / "v1").exists()


def test_a_unigram_generator_has_the_frequencies_of_the_training_rows(
    trained: Callable[[str], Artifact], shards: Path
) -> None:
    rows = ShardSet(open_artifact(shards), "train")
    special = {int(rows_id) for name, rows_id in open_artifact(shards).spec["special_ids"].items() if name != "unk"}
    counts: Counter[int] = Counter()
    for row in range(rows.rows):
        one = rows.gather(np.array([row]))
        counts.update(int(token) for token in one.ids_BL[0, : one.lengths_B[0]] if int(token) not in special)
    held = load_file(trained("unigram").file("model.safetensors"))["unigram.log_probabilities"]
    counted = {token: max(counts[token], 1) for token in range(rows.vocab_size) if token not in special}
    for token in range(rows.vocab_size):
        share = counted.get(token, 0) / sum(counted.values())
        assert held[token].exp().item() == pytest.approx(share, rel=1e-5)


def test_a_checkpoint_with_disentangled_embeddings_holds_their_sum(trained: Callable[[str], Artifact]) -> None:
    tensors = load_file(trained("gdes").file("model.safetensors"))
    generator = tensors["generator.electra.embeddings.word_embeddings.weight"]
    summed = generator + tensors["gdes.word_embeddings.delta"]
    assert torch.equal(tensors["discriminator.electra.embeddings.word_embeddings.weight"], summed)


def test_two_stages_move_one_network_each(trained: Callable[[str], Artifact], shards: Path) -> None:
    """To the bit: weights and moments of the half that does not learn stay, weight decay included."""
    run, settings = trained("two stages"), settings_of("two stages")
    spec = open_artifact(shards).spec
    start = build_pair(settings, vocab_size=spec["vocab_size"], length=spec["length"])
    initialize(start, seed=settings.seed)

    def files(step: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        at = open_artifact(run.path / "checkpoints" / f"step-{step:08d}")
        return load_file(at.file("model.safetensors")), load_file(at.file("optimizer.safetensors"))

    switch, moments = files(4)
    for name, tensor in to_public(start).items():
        assert torch.equal(tensor, switch[name]) == name.startswith("discriminator"), name
    assert all(m.any() != name.startswith(("embeddings", "discriminator")) for name, m in moments.items())
    after, later = files(6)
    for name, tensor in after.items():
        assert torch.equal(tensor, switch[name]) == name.startswith("generator"), name
    assert all(torch.equal(m, moments[name]) for name, m in later.items() if name.startswith("generator"))
    assert all(m.any() for m in later.values())
    # Two steps of Adam without bias correction move no weight further than a few learning rates from the generator's.
    for name, tensor in switch.items():
        if name.startswith("generator.electra"):
            moved = (after[name.replace("generator", "discriminator", 1)] - tensor).abs().max()
            assert 0 < moved < 12 * settings.optimizer.learning_rate, name
    losses = [r for r in read_history(run.file("metrics.jsonl")) if r["kind"] == "train"]
    assert [("discriminator_loss" in line) for line in losses] == [False, False, True, True]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"objective.kind": "mlm", "generator.kind": "uniform"}, "objective.kind = mlm .* generator.kind = uniform"),
        ({"generator.kind": "unigram", "generator.embeddings": "gdes"}, "generator.kind = unigram .* gdes"),
        ({"objective.two_stage_steps": 3}, "two_stage_steps .* generator.embeddings = own"),
        ({**KINDS["two stages"], "objective.two_stage_steps": 12}, "leaves nothing of optimizer.steps 12"),
    ],
)
def test_settings_that_make_no_sense_are_refused(flags: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        small_settings(**flags)
