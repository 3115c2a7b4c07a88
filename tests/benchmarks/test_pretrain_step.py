"""The race between pretraining steps: its arithmetic, its turnstile, its rows, and one race of a tiny model."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.peers.contestants import CONTESTANTS, SMALL, TINY, Job
from benchmarks.peers.fleet import Results, Sample, busy_seconds, fit_together, race
from benchmarks.peers.profiling import group_of, profile_table
from benchmarks.peers.report import ratios, summarize, table, utilization
from benchmarks.peers.rows import full_rows
from electra_cli.artifacts import open_artifact
from electra_cli.data.shards import ShardSet
from tests.conftest import REPOSITORY
from tests.stages.pretraining import make_shards


@pytest.fixture(scope="module")
def toy_shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("shards"))


def sample(name, speed, *, batch=16, others=0.0, peak=1000.0, round=0):
    return Sample(
        name=name,
        batch=batch,
        round=round,
        steps=2,
        seconds=1.0,
        tokens_per_second=speed,
        own_cores=2.0,
        other_cores=others,
        peak_mb=peak,
    )


def test_the_median_is_over_quiet_samples_only():
    speeds = [(6000, 0.0), (6200, 0.2), (100, 1.5), (6400, 0.1), (50, 0.9)]
    (line,) = summarize([sample("ours", speed, others=others) for speed, others in speeds])
    assert (line.tokens_per_second, line.lowest, line.highest) == (6200, 6000, 6400)
    assert (line.used, line.taken, line.noisy) == (3, 5, False)
    assert line.tokens_per_cpu_second == 3100  # two cores each


def test_with_too_few_quiet_samples_all_count_and_the_line_says_so():
    speeds = [(6000, 0.0), (100, 1.5), (50, 0.9)]
    (line,) = summarize([sample("ours", speed, others=others) for speed, others in speeds])
    assert (line.tokens_per_second, line.used, line.noisy) == (100, 3, True)
    assert "noisy" in table([line], [], [])


def test_goals_belong_to_batch_sizes_and_memory_is_a_share():
    samples = [
        sample("ours", 7000, batch=16),
        sample("transformers", 2000, batch=16),
        sample("ours", 6000, batch=128, peak=4000),
        sample("transformers", 1500, batch=128, peak=10_000),
        sample("best", 3000, batch=128),
    ]
    found = {(item.what, item.batch, item.peer): item for item in ratios(summarize(samples))}
    small = found["speed", 16, "transformers"]
    assert (small.ratio, small.wanted, small.met) == (3.5, 3.5, True)
    large = found["speed", 128, "transformers"]
    assert (large.ratio, large.wanted, large.met) == (4.0, 4.5, False)
    memory = found["memory", 128, "transformers"]
    assert (memory.ratio, memory.wanted, memory.met) == (0.4, 0.35, False)
    assert found["memory", 16, "transformers"].wanted is None
    assert (found["speed", 128, "best"].ratio, found["speed", 128, "best"].met) == (2.0, None)


def test_fp32_is_compared_with_fp32():
    samples = [sample("ours", 6000), sample("ours-fp32", 3600), sample("tuned-fp32", 2000)]
    found = {(item.ours, item.peer): item for item in ratios(summarize(samples))}
    assert (found["ours-fp32", "tuned-fp32"].ratio, found["ours-fp32", "tuned-fp32"].met) == (1.8, True)
    assert found["ours", "tuned-fp32"].wanted is None


def test_useful_arithmetic_is_what_the_reference_counts():
    from benchmarks.peers.roofline import useful_flops

    # performance.md, section 2: 61.9 + 4.8 + 3.5 MFLOP a token with the head on 19 of 128 positions; 90.2 on all
    assert useful_flops(SMALL, length=128, masked=19, vocab_size=30_522) / 1e6 == pytest.approx(70.2, abs=0.05)
    assert useful_flops(SMALL, length=128, masked=128, vocab_size=30_522) / 1e6 == pytest.approx(90.2, abs=0.1)


def test_utilization_is_achieved_over_measured():
    lines = summarize([sample("ours", 6400), sample("best", 1)])
    gflops = {"best own": 930.0, "weighted own": 800.0, "best large": 1000.0}
    answer = {"batch": 16, "quiet": True, "gflops": gflops, "flops_per_token": 70.2e6}
    noisy = {**answer, "quiet": False, "gflops": dict.fromkeys(gflops, 1.0)}
    (used,) = utilization(lines, [noisy, answer])
    assert used["achieved_gflops"] == pytest.approx(449.28)
    assert used["share"]["best own"] == pytest.approx(0.4831, abs=1e-4)
    assert "48.3% of best own" in table(lines, [], [used])


def test_busy_time_leaves_out_idle_waiting_and_guests():
    tick = os.sysconf("SC_CLK_TCK")
    assert busy_seconds("cpu  1 2 3 1000 500 4 5 6 1 0\ncpu0 9 9") * tick == pytest.approx(1 + 2 + 3 + 4 + 5 + 6)


def test_large_batches_do_not_stay_in_memory_side_by_side():
    assert fit_together(["ours"], batch=1)
    assert not fit_together(list(CONTESTANTS), batch=100_000)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("aten::mm", "linears"),
        ("aten::addmm", "linears"),
        ("mkldnn::_linear_pointwise", "linears"),
        ("aten::bmm", "attention products"),
        ("aten::_softmax_backward_data", "softmax"),
        ("aten::_log_softmax", "log-softmax, loss"),
        ("aten::random_", "RNG, dropout"),
        ("aten::native_dropout_backward", "RNG, dropout"),
        ("aten::copy_", "copies, casts"),
        ("aten::native_layer_norm", "layer norm"),
        ("aten::gelu_backward", "gelu"),
        ("aten::_fused_adamw_", "optimizer, clipping"),
        ("aten::linalg_vector_norm", "optimizer, clipping"),
        ("aten::mul", "mul, add, compare"),
        ("aten::sum", "reductions"),
        ("autograd::engine::evaluate_function: AddmmBackward0", "autograd, Python"),
        ("AddmmBackward0", "autograd, Python"),
    ],
)
def test_operators_find_their_group(name, group):
    assert group_of(name) == group


def test_a_profile_is_told_per_step():
    rows = [{"name": "aten::mm", "ms": 30.0, "calls": 4}, {"name": "aten::random_", "ms": 10.0, "calls": 2}]
    text = profile_table(rows, steps=2, wall_ms=25.0)
    assert "15.0   75.0%  linears" in text
    assert "5.0       1  aten::random_ (RNG, dropout)" in text


def test_the_gate_lets_exactly_the_asked_steps_pass():
    program = (
        "from benchmarks.peers.gate import Channel, Gate\n"
        "gate, steps = Gate(Channel()), 0\n"
        "while True:\n"
        "    gate.passed(steps)\n"
        "    steps += 1\n"
        "    print('noise on stdout')\n"
    )
    commands = "".join(json.dumps({"steps": steps}) + "\n" for steps in (1, 5, 2))
    done = subprocess.run(
        [sys.executable, "-c", program], input=commands, capture_output=True, text=True, cwd=REPOSITORY, timeout=60
    )
    ready, *answers = map(json.loads, done.stdout.splitlines())
    assert ready["ready"]
    assert [(answer["steps"], answer["loss"]) for answer in answers] == [(1, 1.0), (5, 6.0), (2, 8.0)]
    assert done.returncode == 0
    assert done.stderr.count("noise") == 8


def test_full_rows_are_all_rows_without_padding(toy_shards, tmp_path):
    path, length = full_rows(toy_shards, tmp_path / "rows")
    before = ShardSet(open_artifact(toy_shards, kinds={"shards"}), "train")
    every = before.gather(np.arange(before.rows))
    after = ShardSet(open_artifact(path, kinds={"shards"}), "train")
    kept = after.gather(np.arange(after.rows))
    assert 0 < after.rows < before.rows
    assert (kept.lengths_B == length).all()
    wanted = every.lengths_B == length
    assert np.array_equal(kept.ids_BL, every.ids_BL[wanted])
    assert np.array_equal(kept.first_B, every.first_B[wanted])
    after.check()


@pytest.mark.slow
def test_the_loops_train_our_model_and_agree_on_its_loss(toy_shards, tmp_path):
    import torch

    from benchmarks.peers.loops import build, lean_losses, masked_rows, plain_losses
    from benchmarks.peers.ours import settings_of
    from electra_cli.stages.pretrain_pair import build_pair

    shards, length = full_rows(toy_shards, tmp_path / "rows")
    job = Job("transformers", shards, tmp_path, 4, 1, TINY)
    rows, vocab_size = masked_rows(job)
    torch.manual_seed(1)
    generator, discriminator, parameters = build(TINY, vocab_size)
    ours = build_pair(settings_of(job), vocab_size=vocab_size, length=length)
    assert sum(p.numel() for p in parameters) == sum(p.numel() for p in ours.parameters())
    batch, _ = rows.batch(0, 4)
    generator.eval(), discriminator.eval()
    plain, lean = plain_losses(generator, discriminator, batch), lean_losses(generator, discriminator, batch)
    assert lean[0].item() == pytest.approx(plain[0].item(), rel=1e-5)  # head on masked positions = labels of -100
    assert plain[0].item() == pytest.approx(np.log(vocab_size), rel=0.05)
    assert lean[1].item() == pytest.approx(np.log(2), rel=0.1)


@pytest.mark.slow
def test_a_contestant_whose_process_dies_is_out_of_the_race(tmp_path):
    results, said = Results(), []
    job = Job("ours", tmp_path / "no shards here", tmp_path / "work", 4, 1, TINY)
    race([job], results, length=32, rounds=2, steps=1, warmup=1, dice=random.Random(1), say=said.append)
    assert (results.failed, results.samples) == ({"ours"}, [])
    assert sum("is out" in line and "no shards here" in line for line in said) == 1


@pytest.mark.slow
def test_a_race_of_a_tiny_model_ends_with_numbers(toy_shards, tmp_path):
    command = [sys.executable, "benchmarks/pretrain_step.py", "--shards", str(toy_shards), "--size", "tiny"]
    flags = ["--batch", "4", "--threads", "1", "--rounds", "2", "--steps-per-sample", "3", "--warmup", "1"]
    done = subprocess.run(
        [*command, *flags, "--json", str(tmp_path / "out.json"), "--contestants", "ours", "roofline"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert [item["name"] for item in found["samples"]] == ["ours", "ours"]
    for item in found["samples"]:
        assert item["tokens_per_second"] == pytest.approx(3 * 4 * 32 / item["seconds"])
        assert item["peak_mb"] > 100
    assert found["roofline"][0]["gflops"]["best large"] > 1
    assert "electra pretrain, bf16" in done.stdout
