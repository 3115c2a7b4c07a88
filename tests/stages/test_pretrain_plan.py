"""Phases, growing batches, averaging, schedules, budgets and dry runs of pretraining, together and exactly resumed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from electra_cli.artifacts import Artifact, Draft, Recipe, open_artifact
from electra_cli.errors import ArtifactError, UsageError
from electra_cli.model import generator_head, sampling
from electra_cli.reporting import Silent
from electra_cli.stages import pretrain, pretrain_budget, pretrain_rehearsal
from electra_cli.stages.pretrain_run import PretrainRun
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.training.history import read_history
from tests.stages.pretraining import make_shards, small_settings, write_text
from tests.stages.test_pretrain import At, PowerCut, cut, same

EVERYTHING = {
    "model.positions": 48,
    "optimizer.ramp_from": 4,
    "optimizer.ramp_steps": 4,
    "optimizer.schedule": "stable-decay",
    "optimizer.decay_share": 0.4,
    "optimizer.decay_form": "1-sqrt",
    "phases.shares": [0.6, 0.4],
    "averaging.every": 2,
    "averaging.start": 0.5,
    "objective.whole_words": True,
    "objective.shown_as_mask": 0.8,
    "objective.shown_as_random": 0.1,
    "objective.temperature": 0.9,
    "objective.disallow_correct": True,
    "generator.embeddings": "gdes",
}


def everything(**flags: object) -> PretrainSettings:
    """Short rows for 7 of 12 steps, then long ones; a batch that grows from 4 to 8; a mean of steps 6, 8, 10 and 12."""
    return small_settings(**{**EVERYTHING, **flags})


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("long"), length=48)


@pytest.fixture(scope="session")
def undisturbed(short: Path, long: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("everything") / "out"
    return pretrain.run([short, long], out, settings=everything()).artifact


@pytest.mark.parametrize("step", [5, 7, 9, 11])
def test_everything_cut_short_and_continued_is_bit_for_bit_the_undisturbed_run(
    step: int, short: Path, long: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(PowerCut):
        pretrain.run([short, long], tmp_path / "out", settings=everything(), report=At(step, cut))
    outcome = pretrain.run([short, long], tmp_path / "out", settings=everything())
    assert outcome.status == "resumed"
    same(outcome.artifact, undisturbed)


def test_each_phase_is_logged_and_evaluated_on_its_own_rows(undisturbed: Artifact) -> None:
    records = read_history(undisturbed.file("metrics.jsonl"))
    train = [record for record in records if record["kind"] == "train"]
    assert [(r["step"], r["phase"]) for r in train] == [(3, 1), (6, 1), (9, 2), (12, 2)]
    held_out = [record for record in records if record["kind"] == "held-out"]
    assert [(r["step"], r["phase"]) for r in held_out] == [(0, 1), (5, 1), (7, 1), (10, 2), (12, 2)]
    assert len({r["tokens"] for r in held_out if r["phase"] == 1}) == 1
    assert held_out[0]["tokens"] != held_out[-1]["tokens"]
    # rows of 32 tokens: 4, 4, 4, 4 (the line 4 + s, in fours), 8, 8, 8; then 8 * 32 // 48 = 5 rows of 48 in a step
    assert [r["tokens_with_padding"] for r in train] == [12 * 32, 32 * 32, 40 * 32 + 10 * 48, 40 * 32 + 25 * 48]
    assert undisturbed.spec["length"] == 48
    assert undisturbed.spec["best"]["step"] > 7  # losses on rows of another length are no comparison


def test_counters_count_what_was_read(undisturbed: Artifact) -> None:
    records = [r for r in read_history(undisturbed.file("metrics.jsonl")) if r["kind"] == "train"]
    assert all(r["padding"] == pytest.approx(1 - r["tokens"] / r["tokens_with_padding"]) for r in records)
    assert 0 < records[-1]["padding"] < 0.3
    assert records[-1]["flops"] == flops_of_everything(undisturbed)
    speed = read_history(undisturbed.path / "speed.jsonl")
    assert speed[0]["peak_flops_per_second"] > 0 and speed[0]["peak_source"] == "measured"
    for line in speed[1:]:
        assert line["mfu"] == pytest.approx(line["flops_per_second"] / speed[0]["peak_flops_per_second"])


def flops_of_everything(artifact: Artifact) -> int:
    """40 rows of 32 tokens and 25 of 48, by the count of a row that is tested against torch's below."""
    from electra_cli.model.shape import EncoderShape
    from electra_cli.training.flops import row_flops

    shapes = [EncoderShape.from_dict(artifact.spec["architecture"][name]) for name in ("discriminator", "generator")]
    return 40 * row_flops(*shapes, length=32, slots=4) + 25 * row_flops(*shapes, length=48, slots=7)


def test_a_line_with_the_rate_of_each_step(undisturbed: Artifact) -> None:
    """Warm-up over 3 steps, the peak, then the last 5 (0.4 of 12) fall by 1 - sqrt."""
    records = [r for r in read_history(undisturbed.file("metrics.jsonl")) if r["kind"] == "train"]
    fall = [1 - (done / 5) ** 0.5 for done in range(5)]
    rates = [2e-3 * share for share in (0, 1 / 3, 2 / 3, 1, 1, 1, 1, *fall)]
    assert [r["learning_rate"] for r in records] == pytest.approx([rates[step - 1] for step in (3, 6, 9, 12)])


@pytest.mark.slow
def test_published_weights_are_the_mean_of_the_snapshots(short: Path, tmp_path: Path) -> None:
    """Beside a run that keeps the checkpoint of every step."""
    from safetensors.torch import load_file

    often = {"checkpoints.every": 1, "checkpoints.keep": 12}
    averaging = {"averaging.every": 2, "averaging.start": 0.5}
    plain = pretrain.run(short, tmp_path / "plain", settings=small_settings(**often)).artifact
    meant = pretrain.run(short, tmp_path / "mean", settings=small_settings(**often, **averaging)).artifact
    published = load_file(meant.file("model.safetensors"))
    snapshots = [load_file(plain.path / f"checkpoints/step-{n:08d}/model.safetensors") for n in (6, 8, 10, 12)]
    for name, tensor in published.items():
        expected = torch.stack([snapshot[name].double() for snapshot in snapshots]).mean(0)
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-7)
    last = load_file(meant.path / "checkpoints/step-00000012/model.safetensors")
    assert all(torch.equal(tensor, snapshots[-1][name]) for name, tensor in last.items())
    records = {r["kind"]: r for r in read_history(meant.file("metrics.jsonl")) if r["step"] == 12}
    assert meant.spec["weights"] == {"mean_of": 4, "from_step": 6}
    assert meant.spec["held_out"]["loss"] == records["held-out-average"]["loss"]
    assert meant.spec["held_out_last"] == plain.spec["held_out"]
    assert meant.spec["held_out"]["loss"] != plain.spec["held_out"]["loss"]
    assert (plain.path / "checkpoints/step-00000006/model.safetensors").exists()
    assert "weights" not in plain.spec and "held_out_last" not in plain.spec


def test_shards_of_another_tokenizer_are_refused(short: Path, tmp_path: Path) -> None:
    from electra_cli.stages import shard, tokenize

    text = write_text(tmp_path / "text.txt", documents=40, seed=9)
    vocabulary, rows = tokenize.TokenizeSettings(vocab_size=50), shard.ShardSettings(length=48, workers=1)
    other = tokenize.run([text], tmp_path / "tok", settings=vocabulary, report=Silent()).artifact.path
    unfit = shard.run([text], other, tmp_path / "shards", settings=rows, report=Silent()).artifact.path
    with pytest.raises(ArtifactError, match="its tokenizer is") as error:
        pretrain.run([short, unfit], tmp_path / "out", settings=everything())
    assert error.value.code == "TOKENIZER_MISMATCH"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "count", "words"),
    [
        ({"phases.shares": [0.2, 0.3, 0.5]}, 2, "2 shards artifacts are given, phases.shares has 3"),
        ({}, 1, "one shards artifact is given, phases.shares has 2"),
        ({"phases.shares": [0.5, 0.4]}, 2, "not shares of a whole"),
        ({"phases.shares": [1.5, -0.5]}, 2, "not shares of a whole"),
        ({"phases.batch_sizes": [8]}, 2, "one number for each of shares"),
        ({"phases.shares": [0.99, 0.01]}, 2, "phase 2 has no step"),
        ({"optimizer.ramp_steps": 0}, 2, "given together or not at all"),
        ({"optimizer.ramp_steps": 13}, 2, "ramp_steps 13 is more than steps 12"),
        ({"optimizer.ramp_from": 12}, 2, "ramp_from 12 is more than batch_size 8"),
        ({"optimizer.ramp_from": 6}, 2, "micro_batch 4 does not divide ramp_from 6"),
        ({"optimizer.decay_power": 2.0}, 2, "decay_power 2.0 is for schedule linear only"),
        ({"model.positions": 32}, 2, "rows have 48 tokens"),
        ({"budget": "soon"}, 2, "'soon' is no budget"),
    ],
)
def test_plans_that_do_not_fit_are_refused(
    flags: dict[str, object], count: int, words: str, short: Path, long: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        pretrain.run([short, long][:count], tmp_path / "out", settings=everything(**flags))
    assert not list(tmp_path.glob("out/v*/checkpoints"))


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"generator.kind": "unigram"},
        *({"objective.kind": kind} for kind in ("mlm", "electra-15", "replace-mlm", "all-tokens-mlm", "electric")),
    ],
)
def test_useful_work_is_what_torch_counts_in_a_real_step(
    short: Path, tmp_path: Path, flags: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sampling, generator_head):
        monkeypatch.setattr(module, "BLOCK", 1)  # the vocabulary is not filled up, which is no useful work
    recipe = Recipe("checkpoint", "test", 1, {}, ())
    settings = small_settings(precision="fp32", **flags)
    draft = Draft(tmp_path, tmp_path, recipe, resumed=False)
    run = PretrainRun([open_artifact(short)], draft, settings=settings, report=Silent())
    steps = run.steps(run.phases.full_steps(0), first=0)
    with FlopCounterMode(display=False) as counter:
        next(steps)
    assert counter.get_total_flops() == 8 * run.phases.work.stocks[0].flops


def test_a_budget_of_tokens(short: Path, tmp_path: Path) -> None:
    """8 steps of 64 rows in all: of 30 tokens on average (32 with padding), 9 would be over 2,000."""
    settings = small_settings(budget="2000tok", **{"checkpoints.every": 100})
    outcome = pretrain.run(short, tmp_path / "out", settings=settings)
    records = [r for r in read_history(outcome.artifact.file("metrics.jsonl")) if r["kind"] == "train"]
    assert outcome.artifact.spec["step"] == records[-1]["step"] == 8
    assert 0.85 < records[-1]["tokens"] / 2000 < 1.05  # the plan is by the mean of the shards
    # preset's warm-up of 3 steps is more than a tenth of 8: none is left, and the third rate is on the way down
    assert records[0]["learning_rate"] == pytest.approx(2e-3 * (1 - 2 / 8))
    assert json.loads((outcome.artifact.path / "plan.json").read_bytes()) == {"budget": "2000tok", "steps": 8}
    assert pretrain.run(short, tmp_path / "out", settings=settings).status == "up to date"


def test_a_budget_of_operations(short: Path, long: Path) -> None:
    """For a run with everything on, beside a count step by step."""
    sources = [open_artifact(path) for path in (short, long)]
    settings = everything(budget="5e9flop")
    found = pretrain_budget.steps_within(sources, settings, rehearsal=None)
    plans = [pretrain_budget.with_steps(settings, steps) for steps in (found, found + 1)]
    assert all(plan.optimizer.ramp_steps == min(4, plan.optimizer.steps // 10) for plan in plans)
    costs = [added_up(sources, plan) for plan in plans]
    assert costs[0] <= 5e9 < costs[1]


def added_up(sources: list[Artifact], settings: PretrainSettings) -> int:
    """The operations of a run, summed over its steps one by one."""
    draft = Draft(Path("unused"), Path("unused"), Recipe("checkpoint", "test", 1, {}, ()), resumed=False)
    phases = PretrainRun(sources, draft, settings=settings, report=Silent()).phases
    return sum(sum(step.sizes) * phases.work.stocks[step.phase].flops for step in phases.plan.walk(0))


@pytest.mark.slow
def test_a_time_budget_is_measured_once_and_kept(short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain_rehearsal, "ENOUGH_SECONDS", 0.05)  # a loaded machine has to have time for six steps
    settings = small_settings(budget="0.1m", **{"checkpoints.every": 2, "evaluation.every": 1000})
    with pytest.raises(PowerCut):
        pretrain.run(short, tmp_path / "out", settings=settings, report=At(5, cut))
    plan = json.loads((tmp_path / "out" / "v1" / "plan.json").read_bytes())
    assert plan["steps"] > 5 and plan["step_seconds"][0] > 0 and plan["checkpoint_seconds"] > 0
    assert not list((tmp_path / "out" / "v1").glob(".rehearsal*"))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured a second time")

    monkeypatch.setattr(pretrain_budget, "rehearse", never)
    outcome = pretrain.run(short, tmp_path / "out", settings=settings)
    assert outcome.status == "resumed" and outcome.artifact.spec["step"] == plan["steps"]
    assert json.loads((outcome.artifact.path / "plan.json").read_bytes()) == plan


def test_a_budget_too_small_for_a_step_leaves_nothing_behind(short: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too little for a single step") as error:
        pretrain.run(short, tmp_path / "out", settings=small_settings(budget="100tok"))
    assert error.value.code == "BUDGET_TOO_SMALL"
    assert pretrain.run(short, tmp_path / "out", settings=small_settings()).artifact.path.name == "v1"


def test_a_damaged_plan_is_told(short: Path, tmp_path: Path) -> None:
    settings = small_settings(budget="3000tok")
    with pytest.raises(PowerCut):
        pretrain.run(short, tmp_path / "out", settings=settings, report=At(6, cut))
    (tmp_path / "out" / "v1" / "plan.json").write_bytes(b'{"steps": "many"}')
    with pytest.raises(ArtifactError, match="plan is damaged"):
        pretrain.run(short, tmp_path / "out", settings=settings)


@pytest.mark.slow
def test_dry_run_tells_and_leaves_nothing(short: Path, long: Path, undisturbed: Artifact, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    found = pretrain.dry_run([short, long], settings=everything())
    assert sorted(tmp_path.iterdir()) == before
    shape = undisturbed.spec["architecture"]["discriminator"]
    parts = found["parameters"]
    assert parts["embeddings"] == (shape["vocab_size"] + 48 + 2) * 16 + 2 * 16
    assert parts["total"] == sum(count for name, count in parts.items() if name != "total")
    # the file holds the sum of both word tables beside the difference, which is the parameter
    tensors = load_all(undisturbed)
    tensors.pop("discriminator.electra.embeddings.word_embeddings.weight")
    weights = sum(t.numel() for t in tensors.values())
    assert parts["total"] == weights
    last = read_history(undisturbed.file("metrics.jsonl"))
    train = [r for r in last if r["kind"] == "train"][-1]
    assert found["flops"]["run"] == train["flops"]
    assert found["data"]["tokens_with_padding"] == train["tokens_with_padding"]
    assert found["data"]["tokens"] == pytest.approx(train["tokens"], rel=0.05)
    assert [phase["steps"] for phase in found["data"]["phases"]] == [7, 5]
    assert found["memory"]["moments"] == 8 * weights and found["memory"]["average"] == 4 * weights
    assert found["time"]["hours"] * 3600 > sum(found["time"]["step_seconds"])
    assert all(0 < share < 1.5 for share in found["time"]["mfu"])


def load_all(artifact: Artifact) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(artifact.file("model.safetensors"))


@pytest.mark.slow
def test_dry_run_and_budget_on_the_command_line(electra, short: Path, tmp_path: Path) -> None:
    size = ["model.hidden_size=16", "model.layers=1", "model.embedding_size=8", "model.heads=1", "generator.size=1.0"]
    sets = [f"--set={item}" for item in [*size, "optimizer.batch_size=4"]]
    command = ("pretrain", short, "-o", tmp_path / "out", "--budget", "5000tok", *sets)
    page = electra(*command, "--dry-run")
    assert page.returncode == 0, page.stderr
    assert "(for 5000tok)" in page.stdout and "seconds a step" in page.stdout
    assert not (tmp_path / "out").exists()
    both = electra(*command, "--steps", "20000", "--json")
    assert both.returncode == 2 and json.loads(both.stdout)["error"]["code"] == "BUDGET_AND_STEPS"
