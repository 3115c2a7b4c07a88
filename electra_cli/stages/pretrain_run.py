"""One pretraining run: from a growing directory, perhaps with checkpoints in it, to a published checkpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from electra_cli.artifacts import Artifact, Draft
from electra_cli.errors import ArtifactError, Interrupted
from electra_cli.model.initialize import initialize
from electra_cli.model.naming import ties
from electra_cli.model.noise import Noise
from electra_cli.reporting import Reporter
from electra_cli.runtime.counters import key
from electra_cli.runtime.machine import choose_machine, keep_freed_memory
from electra_cli.runtime.peak import peak_of
from electra_cli.runtime.prefetch import ahead
from electra_cli.runtime.signals import StopFlag, stop_flag
from electra_cli.stages.diverged import describe_failure
from electra_cli.stages.execution import prepare, uncompiled
from electra_cli.stages.masking_rule import masking_rule
from electra_cli.stages.outcome import Outcome
from electra_cli.stages.pair import Weights, count_text, measure_parts, pair_losses, stage_of
from electra_cli.stages.pretrain_pair import build_pair, build_watch
from electra_cli.stages.pretrain_phases import Phases
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.stages.rows import CountedBatch
from electra_cli.training.averaging import WeightAverage
from electra_cli.training.checkpoints import (
    AVERAGE,
    Checkpoints,
    Saved,
    checkpoint_name,
    copy_files,
    read_weights,
    restore,
    write_weights,
)
from electra_cli.training.history import History
from electra_cli.training.loop import Losses, Step, train
from electra_cli.training.metrics import embedding_figures
from electra_cli.training.objective_metrics import Metrics
from electra_cli.training.optimizer import build_optimizer
from electra_cli.training.progress import Progress
from electra_cli.training.schedule import warmup_stable_decay, warmup_then_linear
from electra_cli.training.speed import SpeedLog
from electra_cli.training.watch import WatchedHistory

METRICS, SPEED, PLAN = "metrics.jsonl", "speed.jsonl", "plan.json"
DROPOUT = 11  # purpose of a draw, part of its key
PREFETCH = 2  # steps whose batches are made while an accelerator computes


def pretrain(sources: Sequence[Artifact], draft: Draft, *, settings: PretrainSettings, report: Reporter) -> Outcome:
    """Run to the end and publish; see `stages.pretrain.run`."""
    keep_freed_memory()
    run = PretrainRun(sources, draft, settings=settings, report=report)
    with stop_flag() as stop:
        return run.complete(stop)


class PretrainRun:
    """Everything that one run holds."""

    def __init__(
        self, sources: Sequence[Artifact], draft: Draft, *, settings: PretrainSettings, report: Reporter
    ) -> None:
        self.source, self.draft, self.settings, self.report = sources[0], draft, settings, report
        self.machine = choose_machine(settings.device, settings.precision)
        objective, optimizer = settings.objective, settings.optimizer
        spec = self.source.spec
        longest = max(source.spec["length"] for source in sources)
        self.model = build_pair(settings, vocab_size=spec["vocab_size"], length=longest)
        self.weights = Weights(
            objective.generator_weight,
            objective.discriminator_weight,
            objective.word_weight,
            objective.temperature,
            objective.disallow_correct,
        )
        rule = masking_rule(objective, self.source, vocab_size=spec["vocab_size"], machine=self.machine)
        self.phases = Phases(sources, settings, rule=rule, model=self.model, machine=self.machine)
        initialize(self.model, seed=settings.seed, scheme=settings.model.start)
        self.model.to(self.machine.device)
        prepare(self.model, settings.execution, self.machine)
        self.optimizer = build_optimizer(
            self.model.named_parameters(),
            weight_decay=optimizer.weight_decay,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
        )
        averaging = settings.averaging
        self.average: WeightAverage | None = None
        if averaging.every is not None:
            self.average = WeightAverage(
                self.model, every=averaging.every, start=averaging.start, steps=optimizer.steps
            )
        self.checkpoints = Checkpoints(draft.path, draft.recipe, keep=settings.checkpoints.keep)
        self.spec: dict[str, Any] = {
            "architecture": self.model.architecture(),
            "objective": objective.model_dump(),
            "tokenizer": spec["tokenizer"],
            "special_ids": spec["special_ids"],
            "length": longest,
            "ties": ties(self.model),
            "start": settings.model.start,
        }
        if self.phases.rows[0].shards.word_starts:
            self.spec["word_starts"] = True
        if (made := self.source.spec.get("recipe", "pairs")) != "pairs":
            self.spec["recipe"] = made
        if any(len(parts) > 1 for parts in self.phases.parts):
            told = ("shards", "rows", "share")
            self.spec["mixture"] = [[{key: part[key] for key in told} for part in parts] for parts in self.phases.parts]
        self.progress = Progress()
        self.read: deque[int] = deque()  # tokens of the steps whose batches were made, oldest first

    @property
    def phase(self) -> int:
        """The number of the phase, from 0, that the last step taken belongs to."""
        return self.phases.plan.at(max(0, self.progress.step - 1))

    def complete(self, stop: StopFlag) -> Outcome:
        """Resume if there is something to resume, train to the last step, publish."""
        settings = self.settings
        if (saved := self.checkpoints.newest(report=self.report)) is not None:
            restore(saved, self.model, self.optimizer)
            self.progress = Progress.from_state(saved.state)
            self._restore_average(saved)
            self.report.note(f"continuing after step {self.progress.step} from {saved.artifact.path}")
        self._introduce()
        kept = self.progress.step if saved else -1
        watch = build_watch(self.model, settings, work=self.phases.work)
        history = WatchedHistory(self.draft.path / METRICS, last_step=kept, watch=watch, report=self.report)
        speed = History(self.draft.path / SPEED, last_step=kept)
        try:
            if saved is None:
                count_text(self.model, self.phases.rows)
                self._evaluate(history)
                self.progress.before, self.progress.best = self.progress.held_out, None
            log = SpeedLog(
                speed, machine=self.machine, peak=peak_of(self.machine), work=self.phases.work, step=self.progress.step
            )
            self._train(history, log, stop)
        finally:
            history.close()
            speed.close()
        with self.average.in_place() if self.average is not None else nullcontext():
            write_weights(self.draft, self.model)
        copy_files(self.draft, self.source, "tokenizer")
        self.draft.add(METRICS)
        last = self.progress.held_out or {}
        held_out = last if self.average is None else self.progress.averaged or {}
        spec = {**self.spec, "step": self.progress.step, "held_out": held_out, "best": self.progress.best}
        spec["held_out_before"] = self.progress.before or {}
        if self.average is not None:
            snapshots = self.average.snapshots(self.progress.step)
            spec |= {"weights": {"mean_of": snapshots, "from_step": self.average.first}, "held_out_last": last}
        artifact = self.draft.publish(
            spec=spec,
            provenance={"device": self.machine.name, "precision": self.machine.precision, "torch": torch.__version__},
            logs=[SPEED, PLAN],
        )
        return Outcome(artifact, "resumed" if saved else "built", {"step": settings.optimizer.steps, **held_out})

    def _restore_average(self, saved: Saved) -> None:
        if self.average is None or not self.average.snapshots(self.progress.step):
            return
        try:
            self.average.load(read_weights(saved.artifact, AVERAGE))
        except (KeyError, ValueError) as error:
            raise ArtifactError(
                f"unfit average of weights: {error}", code="BAD_STATE", where=str(saved.artifact.path)
            ) from error

    def _introduce(self) -> None:
        parameters = sum(p.numel() for p in self.model.parameters())
        self.report.note(f"{parameters:,} parameters on {self.machine.name}, {self.machine.precision}")
        for phase, rows, epochs in zip(
            self.phases.plan.phases, self.phases.rows, self.phases.work.epochs(), strict=True
        ):
            self.report.note(
                f"{phase.steps:,} steps of {phase.rows * phase.length:,} tokens from {rows.shards.rows:,} rows of "
                f"{phase.length}, {epochs:.2g} epochs"
            )
        measured = {part.source.path for held_out in self.phases.held_out for part in held_out}
        for source in self.phases.sources:
            if source.path not in measured:
                self.report.warn(
                    f"{source.path} holds no held-out rows, so nothing is evaluated on it; shard with --val-fraction"
                )
        self._introduce_parts()

    def _introduce_parts(self) -> None:
        """Tell what a mixture is made of, and warn of parts that are read so often that they are learnt by heart."""
        most = self.settings.mixture.most_epochs
        sources = iter(self.phases.sources)
        for parts in self.phases.parts:
            for part, source in zip(parts, sources, strict=False):
                if len(parts) > 1:
                    told = f"{part['share']:.1%} of the rows are from {source.path}, {part['epochs']:.2g} epochs of it"
                    self.report.note(told)
                    if part["epochs"] > most:
                        self.report.warn(f"{told}: more than mixture.most_epochs = {most:g}; give it a smaller weight")

    def steps(self, batches: Iterable[Sequence[CountedBatch]], *, first: int) -> Iterator[Step]:
        """Take one optimizer step for each of `batches`, the first of them as step `first`."""
        return train(
            self.model,
            self.optimizer,
            batches,
            self._losses,
            schedule=self._rate,
            clip=self.settings.optimizer.clip,
            start_step=first,
            describe=self._describe,
        )

    def _describe(self, step: int) -> str:
        """Which rows made the loss of the step that follows `step` steps something that is not finite."""
        shards = self.phases.rows[self.phases.plan.at(step)].shards
        batches = next(self.phases.batches(step))
        stage = stage_of(step, self.settings.objective.two_stage_steps)
        how: dict[str, Any] = {"weights": self.weights, "dtype": self.machine.dtype, "stage": stage}
        return describe_failure(self.model, batches, shards=shards, **how)

    def _rate(self, step: int) -> float:
        optimizer = self.settings.optimizer
        peak, total, warmup = optimizer.learning_rate, optimizer.steps, optimizer.warmup_steps
        if optimizer.schedule == "linear":
            return warmup_then_linear(step, peak=peak, total=total, warmup=warmup, power=optimizer.decay_power)
        share, form = optimizer.decay_share, optimizer.decay_form
        return warmup_stable_decay(step, peak=peak, total=total, warmup=warmup, decay_share=share, form=form)

    def _read(self, first: int) -> Iterator[list[CountedBatch]]:
        """The batches from step `first` on; what they hold is remembered until their step is taken."""
        for pieces in self.phases.batches(first):
            self.read.append(pieces[0].tokens)
            yield pieces

    def _train(self, history: History, speed: SpeedLog, stop: StopFlag) -> None:
        settings, total = self.settings, self.settings.optimizer.steps
        batches: Iterator[list[CountedBatch]] = self._read(self.progress.step)
        if self.machine.device.type != "cpu":
            batches = ahead(batches, depth=PREFETCH)
        looking = (settings.log_every, settings.evaluation.every, settings.checkpoints.every)
        with self.report.progress("pretraining", total=total, unit="steps", done=self.progress.step) as meter:
            for step in self.steps(batches, first=self.progress.step):
                self.progress.add(step)
                self.progress.tokens += self.read.popleft()
                if self.average is not None:
                    self.average.after(step.number)
                meter.advance()
                last = step.number == total
                if last or stop or any(step.number % every == 0 for every in looking) or self.phases.ends(step.number):
                    step.ensure_finite()
                if step.number % settings.log_every == 0 or last:
                    meter.show(self._log(step, history, speed))
                due = step.number % settings.evaluation.every == 0 or self.phases.ends(step.number)
                improved = due and self._evaluate(history)
                if last:
                    self._evaluate_average(history)
                if step.number % settings.checkpoints.every == 0 or improved or last or stop:
                    history.sync()
                    self.save()
                if stop and not last:
                    raise Interrupted(
                        f"stopped by {stop.name} after step {step.number}; everything is saved",
                        code="INTERRUPTED",
                        where=str(self.draft.path),
                        hint="run the same command again to continue",
                    )

    def _log(self, step: Step, history: History, speed: SpeedLog) -> dict[str, float | str]:
        """Write a line of both logs; return what the progress display shows."""
        means, label = self.progress.take_window(), self.phases.label(step.number)
        counters = self.phases.work.counters(step.number, tokens=self.progress.tokens)
        record = {"step": step.number, "kind": "train", **label, "learning_rate": step.learning_rate}
        history.append({**record, **means, **counters, **self.phases.mixed(step.number)})
        rate, share = speed.line(step.number)
        return {"loss": means["loss"], "tokens/s": rate, "MFU": f"{share:.1%}"}

    def _losses(self, batch: CountedBatch, step: int, _number: int) -> Losses:
        shape = self.model.discriminator.shape
        dropping = shape.dropout > 0 or shape.attention_dropout > 0
        noise = Noise(key(self.settings.seed, DROPOUT, batch.number), self.machine.device) if dropping else None
        first = self.settings.objective.two_stage_steps
        if step == first:  # for each micro-batch of that step alike: nothing has moved in between
            self.model.start_discriminator_from_generator()
        stage = stage_of(step, first)
        return pair_losses(self.model, batch, weights=self.weights, noise=noise, dtype=self.machine.dtype, stage=stage)

    def measured(self, phase: int, *, limit: int) -> list[Metrics]:
        """Held-out metrics on about `limit` rows of a phase, which has some: of all, and of each part of a mixture."""
        size = self.phases.plan.phases[phase].largest_pass
        parts = self.phases.evaluated(phase, limit=limit)
        with uncompiled(self.settings.execution):
            return measure_parts(self.model, parts, batch_size=size, weights=self.weights)

    def _evaluate(self, history: History) -> bool:
        """Measure on held-out rows; True for the lowest loss so far, which is saved whatever the cadence."""
        better = self._measure(history)
        figures = embedding_figures(self.model.embeddings.word)
        history.append({"step": self.progress.step, "kind": "embeddings", **figures})
        return better

    def _measure(self, history: History) -> bool:
        if not self.phases.held_out[self.phase]:
            return False
        metrics = self._tell(history, kind="held-out")
        self.progress.held_out = metrics
        loss, best = metrics["loss"], self.progress.best
        if best is not None and self.phases.plan.at(best["step"] - 1) != self.phase:
            best = None  # losses on rows of another length are no comparison
        if loss is None or (best is not None and loss >= best["loss"]):
            return False
        self.progress.best = {
            "checkpoint": checkpoint_name(self.progress.step),
            "step": self.progress.step,
            "loss": loss,
        }
        return True

    def _evaluate_average(self, history: History) -> None:
        """Measure the averaged weights, which are those to be published."""
        if self.average is None or not self.phases.held_out[self.phase]:
            return
        with self.average.in_place():
            self.progress.averaged = self._tell(history, kind="held-out-average")

    def _tell(self, history: History, *, kind: str) -> Metrics:
        """Measure, write it down and tell it; return the metrics of all parts together."""
        step, label = self.progress.step, self.phases.label(self.progress.step)
        metrics, *alone = self.measured(self.phase, limit=self.settings.evaluation.rows)
        history.append({"step": step, "kind": kind, **label, **metrics})
        self.report.note(f"step {step:,}: {kind} {_headline(metrics)}")
        for part, own in zip(self.phases.held_out[self.phase], alone, strict=False):
            history.append({"step": step, "kind": f"{kind}-part", **label, "part": part.part, **own})
            self.report.note(f"step {step:,}: {kind} of {part.source.path}: {_headline(own)}")
        return metrics

    def save(self) -> None:
        """Publish a checkpoint of where the run is."""
        progress = self.progress
        self.checkpoints.save(
            self.model,
            self.optimizer,
            progress.state(),
            spec={**self.spec, "step": progress.step},
            carry=self.source,
            best=progress.best["checkpoint"] if progress.best else None,
            average=self.average.mean if self.average is not None else None,
        )


def _headline(metrics: Metrics) -> str:
    """The figures of an evaluation that matter most, of the networks that there are."""
    found = []
    if (loss := metrics["generator_loss"]) is not None:
        found.append(f"generator accuracy {_shown(metrics['generator_accuracy'])}, loss {loss:.3f}")
    if (loss := metrics["discriminator_loss"]) is not None:
        found.append(f"discriminator AUC {_shown(metrics['discriminator_auc'])}, loss {loss:.4f}")
    if (loss := metrics.get("word_loss")) is not None:
        found.append(f"word accuracy {_shown(metrics['word_accuracy'])}, loss {loss:.3f}")
    return "; ".join(found)


def _shown(value: float | int | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
