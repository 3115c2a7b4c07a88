"""Train a classifier: one run per seed, what it learnt after each epoch, and the artifact's files.

Every order, dropout pattern and initial weight is a function of (seed, step), so a run that was interrupted and
continued gives the same weights as one that was not.

Shapes: B rows in a batch, N rows of a data set, C classes (1 for regression).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from electra_cli.artifacts import Artifact, Draft, need_space, storage_errors
from electra_cli.errors import Interrupted
from electra_cli.model.classifier import Classifier
from electra_cli.model.noise import Noise
from electra_cli.model.shape import EncoderShape
from electra_cli.reporting import Reporter
from electra_cli.runtime.counters import key
from electra_cli.runtime.machine import Machine, choose_machine, keep_freed_memory
from electra_cli.runtime.signals import stop_flag
from electra_cli.stages.classifiers import (
    answer_in_own_scale,
    answers,
    classifier_from,
    rate,
    rate_majority,
    tensors_of,
    undefined,
)
from electra_cli.tasks.features import Batch, Features, batches, encode, training_order
from electra_cli.tasks.labels import encode_labels
from electra_cli.tasks.layerwise import learning_rate_scale
from electra_cli.tasks.task import Task
from electra_cli.text.tokenizer import Tokenizer
from electra_cli.training.checkpoints import copy_files, write_weights
from electra_cli.training.loop import Losses, train
from electra_cli.training.optimizer import build_optimizer, load_moments, moments
from electra_cli.training.schedule import warmup_then_linear

if TYPE_CHECKING:
    from electra_cli.stages.finetune import ChosenSettings, Rows

DROPOUT = 0x64726F70  # what the random numbers of a step are for ("drop")
MANY_CUT = 0.1  # share of rows at the length limit from which on it is worth a warning


@dataclass(frozen=True)
class Learning:
    """What every seed's run has in common."""

    task: Task
    train: Features
    dev: Mapping[str, Features]
    pad_id: int
    settings: ChosenSettings
    machine: Machine

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training rows."""
        return -(-len(self.train) // self.settings.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of a run."""
        return self.steps_per_epoch * self.settings.epochs


@dataclass
class Progress:
    """How far a run has come: steps taken, loss and rows since the last evaluation, and the evaluated epochs."""

    step: int = 0
    loss: float = 0.0
    rows: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)


def train_and_write(
    checkpoint: Artifact, rows: Rows, draft: Draft, *, settings: ChosenSettings, report: Reporter
) -> dict[str, Any]:
    """Train every seed, write the median run's files into `draft`, and return the artifact's spec."""
    shape = replace(
        EncoderShape.from_dict(checkpoint.spec["architecture"]["discriminator"]),
        dropout=settings.dropout,
        attention_dropout=settings.dropout,
    )
    keep_freed_memory()
    machine = choose_machine(settings.device, settings.precision)
    tokenizer = Tokenizer.load(checkpoint.path / "tokenizer")
    learning = _learning(rows, tokenizer, settings=settings, machine=machine, report=report)
    report.note(
        f"{rows.task.name}: {len(rows.train)} rows to learn from, {learning.steps} steps "
        f"({machine.name}, {machine.precision})"
    )
    runs = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        finished = draft.path / f"run-{seed}.safetensors"
        done = _metadata(finished)
        if done is None:
            model = classifier_from(
                checkpoint, shape, outputs=rows.task.outputs, seed=seed, random=settings.init == "random"
            )
            need_space(draft.path, bytes=16 * sum(p.numel() for p in model.parameters()), what="the model")
            epochs = fit(model, learning, seed=seed, state=draft.path / "state.safetensors", report=report)
            done = {"seed": seed, "score": _main_score(epochs[-1], rows.task), "epochs": epochs}
            answer_in_own_scale(model, rows.task)
            _save(finished, dict(model.named_parameters()), done)
            (draft.path / "state.safetensors").unlink(missing_ok=True)
        runs.append(done)
    chosen = median_run(runs)
    model = Classifier(shape, rows.task.outputs)
    _load(draft.path / f"run-{chosen['seed']}.safetensors", model)
    write_weights(draft, model)
    draft.write_json("metrics.json", _metrics(rows, learning, runs, chosen))
    copy_files(draft, checkpoint, "tokenizer")
    held_out = chosen["epochs"][-1]["held_out"]
    if len(runs) > 1 and held_out:
        listed = ", ".join("null" if run["score"] is None else f"{run['score']:.4g}" for run in runs)
        report.note(f"{rows.task.metrics[0]} of {len(runs)} seeds: {listed}; published is seed {chosen['seed']}")
    for name, scores in held_out.items():
        _comment(name, scores, rows.task, report)
    return {
        "architecture": shape.to_dict(),
        "task": rows.task.to_spec(),
        "tokenizer": checkpoint.spec["tokenizer"],
        "metrics": {name: scores[name] for scores in [*held_out.values()][:1] for name in rows.task.metrics},
    }


def fit(model: Classifier, learning: Learning, *, seed: int, state: Path, report: Reporter) -> list[dict[str, Any]]:
    """Train `model` in place and return a record of each epoch: its step, training loss and held-out scores.

    A signal stops it after the step at hand: everything is saved in the file `state`, and Interrupted is raised. A
    `state` that is there is continued.
    """
    settings, machine = learning.settings, learning.machine
    model.to(machine.device)
    scale = partial(
        learning_rate_scale,
        layers=model.shape.layers,
        decay=settings.layerwise_decay,
        skips_depth=settings.layerwise_decay_skips_depth,
    )
    optimizer = build_optimizer(model.named_parameters(), weight_decay=settings.weight_decay, lr_scale=scale)
    progress = _restore(state, model, optimizer, seed=seed)
    if progress.step:
        report.note(f"seed {seed} continues after step {progress.step}")
    steps = train(
        model,
        optimizer,
        ([batch] for batch in _training_batches(learning, seed=seed, start=progress.step)),
        partial(_losses, model, learning=learning, seed=seed),
        schedule=partial(
            warmup_then_linear,
            peak=settings.learning_rate,
            total=learning.steps,
            warmup=int(settings.warmup_proportion * learning.steps),
        ),
        clip=settings.clip,
        start_step=progress.step,
    )
    with (
        stop_flag() as stop,
        report.progress(f"finetune (seed {seed})", total=learning.steps, unit="steps", done=progress.step) as meter,
    ):
        for step in steps:
            step.ensure_finite()
            progress.step = step.number
            progress.loss += float(step.parts["loss"])
            progress.rows += int(step.parts["rows"])
            meter.advance()
            meter.show({"loss": float(step.loss), "lr": step.learning_rate})
            epoch, inside = divmod(step.number, learning.steps_per_epoch)
            if not inside and (epoch % settings.evaluate_every == 0 or epoch == settings.epochs):
                _measure(model, learning, progress, epoch=epoch)
            if stop and step.number < learning.steps:
                named = list(model.named_parameters())
                tensors = {**{name: p.detach() for name, p in named}, **moments(optimizer, named)}
                _save(state, tensors, {"seed": seed, **vars(progress)})
                raise Interrupted(
                    f"{stop.name} after step {step.number} of {learning.steps}, saved",
                    code="INTERRUPTED",
                    hint="run the same command again to continue",
                )
    return progress.epochs


def median_run(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run whose score is the median (the lower of the two in the middle); the first when there are no scores."""
    ranked = sorted((run for run in runs if run["score"] is not None), key=lambda run: (run["score"], run["seed"]))
    return ranked[(len(ranked) - 1) // 2] if ranked else runs[0]


def _learning(
    rows: Rows, tokenizer: Tokenizer, *, settings: ChosenSettings, machine: Machine, report: Reporter
) -> Learning:
    task = rows.task
    train_rows = rows.train.with_swapped_pairs() if task.swap else rows.train
    features = encode(tokenizer, train_rows, encode_labels(train_rows, task), max_length=task.max_length)
    at_limit = int((features.lengths_N == task.max_length).sum())
    if at_limit > MANY_CUT * len(features):
        report.warn(
            f"{at_limit} of {len(features)} training rows fill all {task.max_length} tokens and are probably cut; "
            "--set max_length=… allows more"
        )
    dev = {
        name: encode(tokenizer, examples, encode_labels(examples, task), max_length=task.max_length)
        for name, examples in rows.dev.items()
    }
    return Learning(task, features, dev, tokenizer.pad_id, settings, machine)


def _training_batches(learning: Learning, *, seed: int, start: int) -> Iterator[Batch]:
    """Yields the batches of every step from `start` on."""
    first = start // learning.steps_per_epoch
    for epoch in range(first, learning.settings.epochs):
        order = training_order(
            learning.train.lengths_N, batch_size=learning.settings.batch_size, seed=seed, epoch=epoch
        )
        skipped = start - first * learning.steps_per_epoch if epoch == first else 0
        yield from batches(learning.train, order[skipped:], pad_id=learning.pad_id, max_length=learning.task.max_length)


def _losses(model: Classifier, batch: Batch, step: int, _: int, *, learning: Learning, seed: int) -> Losses:
    """The mean loss of a batch, and its sum and rows for the record."""
    device = learning.machine.device
    ids_BL, types_BL, lengths_B = tensors_of(batch, device)
    noise = Noise(key(seed, DROPOUT, step), device)
    outputs_BC = model(ids_BL, types_BL, lengths_B=lengths_B, noise=noise, dtype=learning.machine.dtype)
    assert batch.targets_B is not None
    targets_B = torch.from_numpy(batch.targets_B).to(device)
    if learning.task.kind == "regression":
        total = F.mse_loss(outputs_BC[:, 0], targets_B, reduction="sum")
    else:
        total = F.cross_entropy(outputs_BC, targets_B, reduction="sum")
    return Losses(total / len(targets_B), {"loss": total.detach(), "rows": torch.tensor(len(targets_B))})


def _measure(model: Classifier, learning: Learning, progress: Progress, *, epoch: int) -> None:
    """Note the training loss since the last time and the held-out scores after `epoch`."""
    held_out = {}
    for name, features in learning.dev.items():
        outputs_NC = answers(model, features, pad_id=learning.pad_id, device=learning.machine.device)
        assert features.targets_N is not None
        scores = rate(learning.task, outputs_NC, features.targets_N)
        collapsed = learning.task.kind == "single_label" and len(set(outputs_NC.argmax(1).tolist())) == 1
        held_out[name] = {**scores, "one_label_predicted": collapsed}
    progress.epochs.append(
        {
            "epoch": epoch,
            "step": progress.step,
            "training_loss": progress.loss / progress.rows,
            "held_out": held_out,
        }
    )
    progress.loss, progress.rows = 0.0, 0


def _main_score(epoch: Mapping[str, Any], task: Task) -> float | None:
    first = next(iter(epoch["held_out"].values()), None)
    return None if first is None else first[task.metrics[0]]


def _metrics(rows: Rows, learning: Learning, runs: list[dict[str, Any]], chosen: dict[str, Any]) -> dict[str, Any]:
    """The contents of `metrics.json`."""
    targets_N = learning.train.targets_N
    first = next(iter(learning.dev.values()), None)
    majority = None
    if first is not None and first.targets_N is not None and targets_N is not None:
        majority = rate_majority(rows.task, targets_N, first.targets_N)
    return {
        "task": rows.task.name,
        "metric": rows.task.metrics[0],
        "held_out": chosen["epochs"][-1]["held_out"],
        "majority": majority,
        "rows": {"train": len(rows.train), **{name: len(examples) for name, examples in rows.dev.items()}},
        "seed": chosen["seed"],
        "runs": runs,
    }


def _comment(name: str, scores: Mapping[str, Any], task: Task, report: Reporter) -> None:
    """Say what is odd about the scores of one held-out set."""
    if (problem := undefined(scores, task.metrics)) is not None:
        report.warn(f"{name}: {problem}")
    if scores["one_label_predicted"]:
        report.warn(
            f"{name}: the model predicts one label for every row; another seed or learning rate may help "
            "(--set seeds=5, --set learning_rate=…)"
        )


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON into one file that is there whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    with storage_errors(path):
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(on_cpu, temporary, metadata={"json": json.dumps(metadata, allow_nan=False)})
        os.replace(temporary, path)


def _metadata(path: Path) -> dict[str, Any] | None:
    """The JSON of a file that `_save` wrote, None when there is none or it is damaged."""
    with suppress(SafetensorError, OSError, ValueError, KeyError), safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()["json"]))
    return None


def _restore(state: Path, model: Classifier, optimizer: torch.optim.Optimizer, *, seed: int) -> Progress:
    """Continue from a saved state of the same seed, or start."""
    saved = _metadata(state)
    if saved is None or saved.pop("seed") != seed:
        return Progress()
    load_moments(optimizer, list(model.named_parameters()), _load(state, model))
    return Progress(**saved)


def _load(path: Path, model: Classifier) -> dict[str, Tensor]:
    """Put the parameters of a file that `_save` wrote into `model`, and return all of its tensors."""
    with safe_open(path, framework="pt") as file, torch.no_grad():
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])
    return tensors
