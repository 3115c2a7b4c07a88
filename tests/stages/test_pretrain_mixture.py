"""Several corpora in one run: exact resume, exact proportions, masks of their own, and what does not fit refused."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from electra_cli.artifacts import Artifact, Recipe, claim, open_artifact
from electra_cli.cli.dry_run_page import dry_run_page
from electra_cli.data.masking import MaskingRule
from electra_cli.data.order import rank_slice
from electra_cli.data.shards import ShardSet, shard_bytes, shard_name
from electra_cli.errors import ArtifactError, UsageError
from electra_cli.reporting import Silent
from electra_cli.runtime.machine import Machine
from electra_cli.stages import evaluate_pretraining, pretrain, shard, tokenize
from electra_cli.stages.evaluate_pretraining import EvaluatePretrainingSettings
from electra_cli.stages.pretrain_phases import Phases
from electra_cli.stages.pretrain_run import PretrainRun
from electra_cli.stages.rows import MaskedRows
from electra_cli.training.history import read_history
from tests.stages.pretraining import make_shards, small_settings, write_text
from tests.stages.test_pretrain import At, PowerCut, cut, same
from tests.toys import Heard

RULE = MaskingRule(0.15, 0.85, (0, 2, 3, 4), 4)
CPU = Machine(torch.device("cpu"), torch.float32)


def mixed(**flags: object):
    """A run that reads 3 rows of the second part for each of the first, with whole words."""
    return small_settings(**{"mixture.weights": [1, 3], "objective.whole_words": True, **flags})


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("part-one"))


def more(first: Path, folder: Path, *, documents: int = 40, **settings: object) -> Path:
    """Shards of other text with the tokenizer of `first`."""
    text = write_text(folder / "text.txt", documents=documents, seed=7)
    chosen = shard.ShardSettings(**{"length": 32, "val_fraction": 0.2, "workers": 1, **settings})
    tokenizer = first.parent.parent / "tokenizer"
    return shard.run([text], tokenizer, folder / "shards", settings=chosen, report=Silent()).artifact.path


@pytest.fixture(scope="session")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return more(first, tmp_path_factory.mktemp("part-two"))


@pytest.fixture(scope="session")
def undisturbed(first: Path, second: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return pretrain.run([first, second], tmp_path_factory.mktemp("mixed") / "out", settings=mixed()).artifact


@pytest.mark.parametrize("step", [3, 6, 11])
def test_cut_short_and_continued_is_bit_for_bit_the_undisturbed_run(
    step: int, first: Path, second: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(PowerCut):
        pretrain.run([first, second], tmp_path / "out", settings=mixed(), report=At(step, cut))
    same(pretrain.run([first, second], tmp_path / "out", settings=mixed()).artifact, undisturbed)
    assert pretrain.run([first, second], tmp_path / "out", settings=mixed()).status == "up to date"


def test_the_manifest_names_the_parts_and_other_weights_are_another_recipe(
    first: Path, second: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    parts = [open_artifact(path) for path in (first, second)]
    assert [found.content_id for found in undisturbed.manifest.inputs] == [part.content_id for part in parts]
    assert undisturbed.spec["mixture"] == [
        [
            {"shards": part.content_id, "rows": part.spec["splits"]["train"]["rows"], "share": share}
            for part, share in zip(parts, (0.25, 0.75), strict=True)
        ]
    ]
    checkpoint = open_artifact(undisturbed.path / "checkpoints" / "step-00000012")
    assert checkpoint.spec["mixture"] == undisturbed.spec["mixture"]
    other = pretrain.run([first, second], tmp_path / "out", settings=mixed(**{"mixture.weights": [1, 2]})).artifact
    assert other.manifest.recipe_id != undisturbed.manifest.recipe_id


def test_the_log_counts_what_was_read_of_each_part(first: Path, second: Path, undisturbed: Artifact) -> None:
    sets = [ShardSet(open_artifact(path), "train") for path in (first, second)]
    order = MaskedRows(
        ShardSet([open_artifact(path) for path in (first, second)], "train"),
        rule=RULE,
        seed=small_settings().seed,
        machine=CPU,
        weights=(1, 3),
    ).order
    for record in read_history(undisturbed.file("metrics.jsonl")):
        if record["kind"] == "train":
            rows = 8 * record["step"]
            counts = Counter((order.rows(0, rows)[0] >= sets[0].rows).tolist())
            assert record["part_shares"] == [counts[False] / rows, counts[True] / rows]
            assert record["part_epochs"] == [counts[False] / sets[0].rows, counts[True] / sets[1].rows]


def test_held_out_rows_are_measured_together_and_by_part(
    first: Path, second: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    """Each part's figures are those that `evaluate` gives for as many of its rows."""
    records = read_history(undisturbed.file("metrics.jsonl"))
    last = [record for record in records if record["step"] == 12 and record["kind"].startswith("held-out")]
    assert [(record["kind"], record.get("part")) for record in last] == [
        ("held-out", None),
        ("held-out-part", 1),
        ("held-out-part", 2),
    ]
    whole, *parts = last
    for path, rows, found in zip((first, second), (4, 12), parts, strict=True):
        settings = EvaluatePretrainingSettings(rows=rows, batch_size=4)
        alone = evaluate_pretraining.run(undisturbed.path, [path], settings=settings)
        assert alone == {key: found[key] for key in alone}
    for count in ("tokens", "masked_tokens"):
        assert whole[count] == sum(part[count] for part in parts)
    mean = sum(part["generator_loss"] * part["masked_tokens"] for part in parts) / whole["masked_tokens"]
    assert whole["generator_loss"] == pytest.approx(mean, rel=1e-6)
    assert undisturbed.spec["held_out"]["loss"] == whole["loss"]


def by_hand(out: Path, parts: list[np.ndarray]) -> list[Artifact]:
    """Shards artifacts of full rows, two files each."""
    made = []
    for number, ids in enumerate(parts):
        with claim(out / str(number), Recipe("shards", "make", 1, {"n": number}, ()), report=Silent()) as found:
            assert found.draft is not None
            half, length = len(ids) // 2, ids.shape[1]
            for place, rows in enumerate((ids[:half], ids[half:])):
                full = np.full(len(rows), length)
                with found.draft.create(shard_name("train", place)) as file:
                    file.write(shard_bytes(rows, full, full, vocab_size=1000))
                    file.rows, file.tokens = len(rows), rows.size
            splits = {"train": {"rows": len(ids), "tokens": ids.size}}
            made.append(found.draft.publish(spec={"length": length, "vocab_size": 1000, "splits": splits}))
    return made


def numbered(count: int, *, first: int) -> np.ndarray:
    """Rows of 16 tokens of which the second says which row it is; all else is the same in all of them."""
    ids = np.full((count, 16), 900)
    ids[:, 1] = first + np.arange(count)
    return ids


def test_a_single_part_is_read_and_masked_as_before_there_were_mixtures(tmp_path: Path) -> None:
    """The digest was recorded before."""
    ids = (np.arange(37)[:, None] * 31 + np.arange(16) * 17) % 900 + 5
    rows = MaskedRows(ShardSet(by_hand(tmp_path, [ids]), "train"), rule=RULE, seed=5, machine=CPU)
    batch, index = rows.batch(30, 20)
    digest = hashlib.sha256(index.tobytes())
    for tensor in (batch.ids_BL, batch.masked_BL, batch.positions_BP, batch.used_BP, batch.uniform_BP):
        digest.update(tensor.contiguous().numpy().tobytes())
    assert digest.hexdigest() == RECORDED


RECORDED = "3bd8e18b4ecf43b3d6e1ce54486ee68d57dbf551bf77f5820f55546ea8d120d9"


def test_rows_of_different_parts_have_different_masks(tmp_path: Path) -> None:
    """Although the rows themselves are the same: a sample's number counts through all parts."""
    same_rows = [numbered(300, first=5), numbered(300, first=5)]
    rows = MaskedRows(ShardSet(by_hand(tmp_path, same_rows), "train"), rule=RULE, seed=1, machine=CPU)
    batch, _ = rows.batch(0, 600)
    drawn = [tuple(pair) for pair in np.stack(rows.order.rows(0, 600), axis=1).tolist()]
    position = {pair: place for place, pair in enumerate(drawn)}
    pairs = [
        (place, position[row + 300, epoch])
        for (row, epoch), place in position.items()
        if (row + 300, epoch) in position
    ]
    assert len(pairs) > 50
    alike = [torch.equal(batch.uniform_BP[a], batch.uniform_BP[b]) for a, b in pairs]
    assert not any(alike)
    assert all(torch.equal(batch.ids_BL[a], batch.ids_BL[b]) for a, b in pairs)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_any_number_of_ranks_has_the_same_global_batches(world: int, tmp_path: Path) -> None:
    """Rows and masks, over the boundary of an epoch and of a block."""
    made = by_hand(tmp_path, [numbered(60, first=5), numbered(200, first=100)])
    whole = MaskedRows(ShardSet(made, "train"), rule=RULE, seed=3, machine=CPU, weights=(2, 1))
    for start in (0, 1000):
        expected, index = whole.batch(start, 50)
        ranks = []
        for rank in range(world):
            own = MaskedRows(ShardSet(made, "train"), rule=RULE, seed=3, machine=CPU, weights=(2, 1))
            ranks.append(own.batch(*rank_slice(start, 50, rank=rank, world=world)))
        assert np.concatenate([found for _, found in ranks]).tolist() == index.tolist()
        for name in ("ids_BL", "masked_BL", "positions_BP", "used_BP", "uniform_BP"):
            assert torch.equal(torch.cat([getattr(batch, name) for batch, _ in ranks]), getattr(expected, name))
        assert (expected.ids_BL[:, 1] == torch.from_numpy(np.where(index < 60, index + 5, index + 40))).all()


def test_phases_may_each_be_a_mixture(first: Path, second: Path, tmp_path: Path) -> None:
    """The artifacts of the first phase, then those of the second, mixed by the same weights."""
    settings = mixed(**{"phases.shares": [0.5, 0.5], "optimizer.steps": 4})
    out = pretrain.run([first, second, second, first], tmp_path / "out", settings=settings).artifact
    assert [[part["share"] for part in phase] for phase in out.spec["mixture"]] == [[0.25, 0.75]] * 2
    ids = [[part["shards"] for part in phase] for phase in out.spec["mixture"]]
    assert ids[0] == ids[1][::-1]
    records = [r for r in read_history(out.file("metrics.jsonl")) if r["kind"] == "held-out-part"]
    assert {(record["phase"], record["part"]) for record in records} == {(1, 1), (1, 2), (2, 1), (2, 2)}


@pytest.fixture(scope="module")
def unfit(first: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Shards that do not belong with `first`, each by one thing."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("longer", "words", "other")}
    text = write_text(folders["other"] / "text.txt", documents=40, seed=9)
    vocabulary = tokenize.TokenizeSettings(vocab_size=50)
    other = tokenize.run([text], folders["other"] / "tok", settings=vocabulary, report=Silent()).artifact.path
    rows = shard.ShardSettings(length=32, workers=1)
    made = shard.run([text], other, folders["other"] / "shards", settings=rows, report=Silent()).artifact.path
    return {
        "length": more(first, folders["longer"], length=48),
        "word starts": more(first, folders["words"], word_starts=True),
        "tokenizer": made,
    }


@pytest.mark.parametrize("what", ["length", "word starts", "tokenizer"])
def test_parts_that_do_not_fit_are_refused_by_name(
    what: str, first: Path, unfit: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=f"its {what} is .*, that of {re.escape(str(first))} is") as error:
        pretrain.run([first, unfit[what]], tmp_path / "out", settings=small_settings())
    assert str(unfit[what]) in str(error.value.where) and error.value.exit_code == 4
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "count", "words"),
    [
        ({"mixture.weights": [1]}, 2, "2 shards artifacts are given, mixture.weights has 1 weights"),
        ({"mixture.weights": [1, 2]}, 1, "one shards artifact is given, mixture.weights has 2 weights"),
        ({"mixture.weights": [1, 0]}, 2, "are not all above 0"),
        ({"mixture.weights": [1, 1], "mixture.temperature": 2.0}, 2, "not for given ones"),
        ({"phases.shares": [0.5, 0.5]}, 3, "3 shards artifacts are given, phases.shares has 2 shares"),
        ({"phases.shares": [0.5, 0.5], "mixture.weights": [1, 1]}, 2, "for 2 phases, mixture.weights has 2 weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    flags: dict[str, object], count: int, words: str, first: Path, second: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        pretrain.run([first, second, first][:count], tmp_path / "out", settings=small_settings(**flags))
    assert not (tmp_path / "out").exists()


def test_a_part_that_is_read_again_and_again_is_warned_of(first: Path, second: Path, tmp_path: Path) -> None:
    heard = Heard()
    run_of([first, second], tmp_path, heard, **{"mixture.weights": [1, 3], "mixture.most_epochs": 0.2})._introduce()
    assert len(heard.warnings) == 1 and f"75.0% of the rows are from {second}, 0.4" in heard.warnings[0]
    heard = Heard()
    run_of([first, second], tmp_path, heard, **{"mixture.weights": [1, 3]})._introduce()
    assert heard.warnings == [] and any(str(first) in note for note in heard.notes)


def run_of(paths: list[Path], folder: Path, heard: Silent, **flags: object) -> PretrainRun:
    from electra_cli.artifacts import Draft

    draft = Draft(folder, folder, Recipe("checkpoint", "test", 1, {}, ()), resumed=False)
    return PretrainRun([open_artifact(p) for p in paths], draft, settings=small_settings(**flags), report=heard)


def test_a_failure_names_the_shard_with_its_artifact(first: Path, second: Path, tmp_path: Path) -> None:
    phases: Phases = run_of([first, second], tmp_path, Silent()).phases
    shards = phases.rows[0].shards
    names = [min(path.glob("train-*")) for path in (first, second)]
    assert shards.place(0) == (str(names[0]), 0)
    assert shards.place(shards.part_rows[0] + 2) == (str(names[1]), 2)


def test_frequencies_are_those_of_the_mixture(first: Path, second: Path, tmp_path: Path) -> None:
    from electra_cli.stages.pair import _expected_counts

    run = run_of([first, second], tmp_path, Silent(), **{"mixture.weights": [1, 3]})
    rows = run.phases.rows[0]
    counts = [rows.shards.count_ids(part=part) for part in (0, 1)]
    expected = sum(share * found / found.sum() for share, found in zip((0.25, 0.75), counts, strict=True))
    found = _expected_counts(rows)
    np.testing.assert_allclose(found / found.sum(), expected, rtol=1e-9)


def test_a_budget_of_tokens_goes_by_the_rows_that_the_weights_choose(first: Path, second: Path, tmp_path: Path) -> None:
    settings = mixed(budget="2000tok", **{"checkpoints.every": 100})
    outcome = pretrain.run([first, second], tmp_path / "out", settings=settings)
    records = [r for r in read_history(outcome.artifact.file("metrics.jsonl")) if r["kind"] == "train"]
    assert 0.85 < records[-1]["tokens"] / 2000 < 1.05


@pytest.mark.slow
def test_the_command_mixes_and_foresees(electra, first: Path, second: Path, tmp_path: Path) -> None:
    from electra_cli.config import flatten

    sets = [f"--set={k}={json.dumps(v)}" for k, v in flatten(small_settings().model_dump(mode="json")) if v is not None]
    foreseen = electra("pretrain", first, second, "--mix", "7,3", "-o", tmp_path / "out", "--dry-run", "--json", *sets)
    assert foreseen.returncode == 0, foreseen.stderr
    figures = json.loads(foreseen.stdout)["summary"]
    (phase,) = figures["data"]["phases"]
    assert [part["share"] for part in phase["parts"]] == pytest.approx([0.7, 0.3], abs=1e-9)
    assert sum(part["epochs"] * part["rows"] for part in phase["parts"]) == 12 * 8
    page = dry_run_page(figures)
    assert "epochs of part 2" in page and "(30.0%)" in page
    wrong = electra("pretrain", first, second, "--mix", "7;3", "-o", tmp_path / "out", *sets)
    assert wrong.returncode == 2 and "no list of weights" in wrong.stderr
