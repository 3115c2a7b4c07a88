"""One pretraining run: from a growing directory, perhaps with checkpoints in it, to a published checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from electra_cli.artifacts import Artifact, Draft
from electra_cli.data.shards import ShardSet
from electra_cli.errors import Interrupted, UsageError
from electra_cli.model.initialize import initialize
from electra_cli.model.naming import ties
from electra_cli.model.noise import Noise
from electra_cli.model.pretraining import Electra
from electra_cli.model.shape import HEAD_WIDTH, EncoderShape, generator_shape
from electra_cli.reporting import Reporter
from electra_cli.runtime.counters import key
from electra_cli.runtime.machine import choose_machine, keep_freed_memory
from electra_cli.runtime.prefetch import ahead
from electra_cli.runtime.signals import StopFlag, stop_flag
from electra_cli.stages.execution import prepare, uncompiled
from electra_cli.stages.masking_rule import masking_rule
from electra_cli.stages.outcome import Outcome
from electra_cli.stages.pair import (
    HELD_OUT_SEED,
    CountedBatch,
    MaskedRows,
    Weights,
    measure,
    pair_losses,
)
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.training.checkpoints import Checkpoints, checkpoint_name, copy_files, restore, write_weights
from electra_cli.training.history import History
from electra_cli.training.loop import Losses, train
from electra_cli.training.optimizer import build_optimizer
from electra_cli.training.progress import Progress
from electra_cli.training.schedule import warmup_then_linear

METRICS, SPEED = "metrics.jsonl", "speed.jsonl"
DROPOUT = 11  # purpose of a draw, part of its key
PREFETCH = 2  # steps whose batches are made while an accelerator computes


def pretrain(source: Artifact, draft: Draft, *, settings: PretrainSettings, report: Reporter) -> Outcome:
    """Run to the end and publish; see `stages.pretrain.run`."""
    keep_freed_memory()
    run = PretrainRun(source, draft, settings=settings, report=report)
    with stop_flag() as stop:
        return run.complete(stop)


def build_pair(settings: PretrainSettings, *, vocab_size: int, length: int) -> Electra:
    """The two networks, weights not yet drawn.

    Raises:
        UsageError: sizes that do not fit each other or the rows.
    """
    model = settings.model
    if length > model.positions:
        raise UsageError(
            f"rows have {length} tokens, the model has {model.positions} positions",
            code="TOO_FEW_POSITIONS",
            where="model.positions",
            hint=f"--set model.positions={length}",
        )
    try:
        discriminator = EncoderShape(
            vocab_size=vocab_size,
            embedding_size=model.embedding_size,
            hidden_size=model.hidden_size,
            layers=model.layers,
            heads=model.heads or max(1, model.hidden_size // HEAD_WIDTH),
            feed_forward=model.feed_forward or 4 * model.hidden_size,
            positions=model.positions,
            dropout=model.dropout,
            attention_dropout=model.attention_dropout,
        )
        generator = generator_shape(discriminator, size=settings.generator.size, layers=settings.generator.layers)
        return Electra(discriminator, generator, shared_encoder=settings.generator.shared_encoder)
    except ValueError as error:
        raise UsageError(str(error), code="BAD_SETTINGS", where="model", hint="choose sizes that divide") from error


class PretrainRun:
    """Everything that one run holds."""

    def __init__(self, source: Artifact, draft: Draft, *, settings: PretrainSettings, report: Reporter) -> None:
        self.source, self.draft, self.settings, self.report = source, draft, settings, report
        self.machine = choose_machine(settings.device, settings.precision)
        objective, optimizer = settings.objective, settings.optimizer
        self.micro_batch = optimizer.micro_batch or optimizer.batch_size
        spec = source.spec
        self.model = build_pair(settings, vocab_size=spec["vocab_size"], length=spec["length"])
        self.weights = Weights(
            objective.generator_weight,
            objective.discriminator_weight,
            objective.temperature,
            objective.disallow_correct,
        )
        rule = masking_rule(objective, source, vocab_size=spec["vocab_size"], machine=self.machine)
        self.rows = MaskedRows(ShardSet(source, "train"), rule=rule, seed=settings.seed, machine=self.machine)
        self.held_out: MaskedRows | None = None
        if spec["splits"].get("val", {}).get("rows", 0):
            self.held_out = MaskedRows(ShardSet(source, "val"), rule=rule, seed=HELD_OUT_SEED, machine=self.machine)
        initialize(self.model, seed=settings.seed, scheme=settings.model.start)
        self.model.to(self.machine.device)
        prepare(self.model, settings.execution, self.machine)
        self.optimizer = build_optimizer(
            self.model.named_parameters(),
            weight_decay=optimizer.weight_decay,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
        )
        self.checkpoints = Checkpoints(draft.path, draft.recipe, keep=settings.checkpoints.keep)
        self.spec: dict[str, Any] = {
            "architecture": self.model.architecture(),
            "objective": objective.model_dump(),
            "tokenizer": spec["tokenizer"],
            "special_ids": spec["special_ids"],
            "length": spec["length"],
            "ties": ties(self.model),
            "start": settings.model.start,
        }
        if self.rows.shards.word_starts:
            self.spec["word_starts"] = True
        self.progress = Progress()

    def complete(self, stop: StopFlag) -> Outcome:
        """Resume if there is something to resume, train to the last step, publish."""
        settings = self.settings
        if (saved := self.checkpoints.newest(report=self.report)) is not None:
            restore(saved, self.model, self.optimizer)
            self.progress = Progress(**saved.state)
            self.report.note(f"continuing after step {self.progress.step} from {saved.artifact.path}")
        self._introduce()
        kept = self.progress.step if saved else -1
        history = History(self.draft.path / METRICS, last_step=kept)
        speed = History(self.draft.path / SPEED, last_step=kept)
        try:
            if saved is None:
                self._evaluate(history)
                self.progress.before, self.progress.best = self.progress.held_out, None
            self._train(history, speed, stop)
        finally:
            history.close()
            speed.close()
        write_weights(self.draft, self.model)
        copy_files(self.draft, self.source, "tokenizer")
        self.draft.add(METRICS)
        held_out = self.progress.held_out or {}
        spec = {**self.spec, "step": self.progress.step, "held_out": held_out, "best": self.progress.best}
        spec["held_out_before"] = self.progress.before or {}
        artifact = self.draft.publish(
            spec=spec,
            provenance={"device": self.machine.name, "precision": self.machine.precision, "torch": torch.__version__},
            logs=[SPEED],
        )
        return Outcome(artifact, "resumed" if saved else "built", {"step": settings.optimizer.steps, **held_out})

    def _introduce(self) -> None:
        parameters = sum(p.numel() for p in self.model.parameters())
        tokens = self.settings.optimizer.batch_size * self.rows.shards.length
        epochs = self.settings.optimizer.steps * self.settings.optimizer.batch_size / self.rows.shards.rows
        rows, length = self.rows.shards.rows, self.rows.shards.length
        self.report.note(
            f"{parameters:,} parameters on {self.machine.name}, {self.machine.precision}; {rows:,} rows of {length}; "
            f"{self.settings.optimizer.steps:,} steps of {tokens:,} tokens, {epochs:.2g} epochs"
        )
        if self.held_out is None:
            self.report.warn("the shards hold no held-out rows, so nothing is evaluated; shard with --val-fraction")

    def _train(self, history: History, speed: History, stop: StopFlag) -> None:
        settings, optimizer = self.settings, self.settings.optimizer
        batches = self._batches(self.progress.step)
        if self.machine.device.type != "cpu":
            batches = ahead(batches, depth=PREFETCH)
        steps = train(
            self.model,
            self.optimizer,
            batches,
            self._losses,
            schedule=lambda step: warmup_then_linear(
                step, peak=optimizer.learning_rate, total=optimizer.steps, warmup=optimizer.warmup_steps
            ),
            clip=optimizer.clip,
            start_step=self.progress.step,
            describe=self._describe,
        )
        clock, logged = time.perf_counter(), self.progress.step
        looking = (settings.log_every, settings.evaluation.every, settings.checkpoints.every)
        with self.report.progress("pretraining", total=optimizer.steps, unit="steps", done=self.progress.step) as meter:
            for step in steps:
                self.progress.add(step)
                meter.advance()
                last = step.number == optimizer.steps
                if last or stop or any(step.number % every == 0 for every in looking):
                    step.ensure_finite()
                if step.number % settings.log_every == 0 or last:
                    means = self.progress.take_window()
                    history.append({"step": step.number, "kind": "train", "learning_rate": step.learning_rate, **means})
                    seconds = time.perf_counter() - clock
                    rate = (step.number - logged) * optimizer.batch_size * self.rows.shards.length / seconds
                    speed.append({"step": step.number, "seconds": seconds, "tokens_per_second": rate})
                    clock, logged = time.perf_counter(), step.number
                    meter.show({"loss": means["loss"], "tokens/s": rate})
                improved = (step.number % settings.evaluation.every == 0 or last) and self._evaluate(history)
                if step.number % settings.checkpoints.every == 0 or improved or last or stop:
                    history.sync()
                    self._save()
                if stop and not last:
                    raise Interrupted(
                        f"stopped by {stop.name} after step {step.number}; everything is saved",
                        code="INTERRUPTED",
                        where=str(self.draft.path),
                        hint="run the same command again to continue",
                    )

    def _batches(self, first: int) -> Iterator[list[CountedBatch]]:
        """Yield the micro-batches of each step from step `first` (from 0) to the last."""
        optimizer = self.settings.optimizer
        return self.rows.steps(
            first=first, last=optimizer.steps, batch_size=optimizer.batch_size, micro_batch=self.micro_batch
        )

    def _describe(self, step: int) -> str:
        """What to say of the data of the step that follows `step` steps."""
        rows = [int(row) for batch in next(self._batches(step)) for row in batch.rows_B[:8]]
        return f"rows {rows} …"

    def _losses(self, batch: CountedBatch, step: int, number: int) -> Losses:
        shape = self.model.discriminator.shape
        dropping = shape.dropout > 0 or shape.attention_dropout > 0
        noise = Noise(key(self.settings.seed, DROPOUT, step, number), self.machine.device) if dropping else None
        return pair_losses(self.model, batch, weights=self.weights, noise=noise, dtype=self.machine.dtype)

    def _evaluate(self, history: History) -> bool:
        """Measure on held-out rows; True for the lowest loss so far, which is saved whatever the cadence."""
        if self.held_out is None:
            return False
        with uncompiled(self.settings.execution):
            metrics = measure(
                self.model,
                self.held_out,
                limit=self.settings.evaluation.rows,
                batch_size=self.micro_batch,
                weights=self.weights,
            )
        self.progress.held_out = metrics
        history.append({"step": self.progress.step, "kind": "held-out", **metrics})
        self.report.note(
            f"step {self.progress.step:,}: held-out generator accuracy {metrics['generator_accuracy']:.3f}, "
            f"loss {metrics['generator_loss']:.3f}; discriminator AUC {_shown(metrics['discriminator_auc'])}, "
            f"loss {metrics['discriminator_loss']:.4f}"
        )
        loss, best = metrics["loss"], self.progress.best
        if loss is None or (best is not None and loss >= best["loss"]):
            return False
        self.progress.best = {
            "checkpoint": checkpoint_name(self.progress.step),
            "step": self.progress.step,
            "loss": loss,
        }
        return True

    def _save(self) -> None:
        progress = self.progress
        self.checkpoints.save(
            self.model,
            self.optimizer,
            vars(progress),
            spec={**self.spec, "step": progress.step},
            carry=self.source,
            best=progress.best["checkpoint"] if progress.best else None,
        )


def _shown(value: float | int | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
