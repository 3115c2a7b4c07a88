"""Settings of `electra pretrain`: sizes, objective, optimizer, cadences."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from electra_cli.config import Settings, setting, table
from electra_cli.model.variants import GeneratorKind, Objective, Sharing, Variant, senseless
from electra_cli.training.budget import parse_budget


class ModelSettings(Settings):
    """The discriminator's size (paper, Table 6)."""

    embedding_size: int = setting(128, "width E of the embeddings that both networks share", ge=1)
    hidden_size: int = setting(256, "width D of the discriminator's layers", ge=1)
    layers: int = setting(12, "transformer layers", ge=1)
    heads: int | None = setting(None, "attention heads; by default hidden_size / 64, at least 1", ge=1)
    feed_forward: int | None = setting(None, "width F of the feed-forward layers; by default 4 * hidden_size", ge=1)
    positions: int = setting(512, "rows of the position table: the longest input of a model trained from this", ge=8)
    dropout: float = setting(0.1, "dropout of embeddings and layers", ge=0, lt=1)
    attention_dropout: float = setting(0.1, "dropout of attention probabilities", ge=0, lt=1)
    start: Literal["paper", "mimetic"] = setting(
        "paper",
        "initial weights; mimetic (ours, for small models on little text): attention starts at tokens that are "
        "alike and at neighbours",
    )


class GeneratorSettings(Settings):
    """What fills the masked positions, and its size beside the discriminator's."""

    kind: GeneratorKind = setting(
        "network",
        "network (paper), or one without parameters: uniform (released code) samples every id alike, unigram (paper, "
        "section 3.2) as often as the training shards have it",
    )
    embeddings: Sharing = setting(
        "shared",
        "shared (paper) with the discriminator; own, as wide as its layers (released code, "
        "untied_generator_embeddings); gdes (arXiv 2111.09543): the discriminator's words are the generator's, without "
        "a gradient, plus a difference",
    )
    size: float = setting(
        0.25, "its width as a share of the discriminator's (paper, section 3.2: 1/4 to 1/2)", gt=0, le=1
    )
    layers: float = setting(1.0, "its depth as a share of the discriminator's", gt=0, le=1)
    shared_encoder: bool = setting(
        False, "share the whole encoder with the discriminator, not the embeddings only (paper, 3.2); needs size 1"
    )


class ObjectiveSettings(Settings):
    """The two losses and the masking (paper, section 2; electra.md 2 and 4)."""

    kind: Objective = setting(
        "electra",
        "what the large network learns: electra (paper); electra-15, replace-mlm, all-tokens-mlm (paper, Table 5); "
        "mlm, without a generator (paper's BERT); electric (EMNLP 2020)",
    )
    two_stage_steps: int | None = setting(
        None,
        "steps that train the generator only; then the discriminator starts from the generator's weights and learns "
        "alone (paper, section 3.2). By default both train together",
        ge=1,
    )
    mask_fraction: float = setting(0.15, "share of a row's tokens that is masked (large: 0.25)", gt=0, lt=0.9)
    shown_as_mask: float = setting(
        0.85, "share of masked positions shown as [MASK]; the others keep their token", ge=0, le=1
    )
    shown_as_random: float = setting(
        0.0, "share of masked positions shown as a random word (BERT: 0.1, with 0.8 shown as [MASK])", ge=0, le=1
    )
    mask_draw: Literal["distinct", "with-replacement"] = setting(
        "distinct",
        "how positions are drawn; with-replacement is the released code's: about 7 of 100 draws hit a position that "
        "was drawn already, and different samples for one position become the mean of their ids",
    )
    whole_words: bool = setting(
        False,
        "mask whole words (the pieces of a word together), as BERT's whole-word masking; a word is a token and the ## "
        "pieces after it, or what the shards' word_starts say",
    )
    disallow_correct: bool = setting(
        False, "never sample the original token, so that every masked token is replaced (released code's setting)"
    )
    generator_weight: float = setting(1.0, "weight of the generator's loss", ge=0)
    discriminator_weight: float = setting(50.0, "weight of the discriminator's loss (paper: 50)", ge=0)
    word_weight: float = setting(
        1.0, "weight of the large network's loss where it predicts words (mlm, replace-mlm, all-tokens-mlm)", ge=0
    )
    temperature: float = setting(1.0, "divides the generator's logits before sampling", gt=0)

    @model_validator(mode="after")
    def _masks_fit(self) -> Self:
        problems = []
        if (shown := self.shown_as_mask + self.shown_as_random) > 1 + 1e-9:
            problems.append(f"shown_as_mask and shown_as_random are shares of the same positions and sum to {shown:g}")
        if self.whole_words and self.mask_draw != "distinct":
            problems.append('whole_words needs mask_draw = "distinct": words are not drawn twice')
        if problems:
            raise ValueError("; ".join(problems))
        return self


class OptimizerSettings(Settings):
    """Adam without bias correction, the batch, and the schedule of the rate (electra.md 5)."""

    steps: int = setting(1_000_000, "optimizer steps; a budget sets them", ge=1)
    batch_size: int = setting(128, "rows in a step", ge=1)
    ramp_from: int | None = setting(
        None,
        "rows in the first step of a batch that grows linearly, by multiples of micro_batch; none: no growth",
        ge=1,
    )
    ramp_steps: int = setting(0, "steps over which the batch grows from ramp_from to batch_size", ge=0)
    micro_batch: int | None = setting(
        None, "rows in one forward pass; divides batch_size. By default the whole batch", ge=1
    )
    learning_rate: float = setting(5e-4, "peak rate", gt=0)
    schedule: Literal["linear", "stable-decay"] = setting(
        "linear",
        "of the rate: linear decays over the whole run (released code); stable-decay stays at the peak until the last "
        "decay_share of the steps (arXiv 2405.18392)",
    )
    warmup_steps: int = setting(10_000, "steps of linear warm-up; the linear decay is active at the same time", ge=0)
    decay_power: float = setting(1.0, "power of the linear schedule's decay (released code: lr_decay_power)", gt=0)
    decay_share: float = setting(
        0.2, "share of the steps in which stable-decay falls to 0 (arXiv 2405.18392: 0.1 to 0.2)", gt=0, le=1
    )
    decay_form: Literal["linear", "1-sqrt"] = setting("linear", "how stable-decay falls")
    weight_decay: float = setting(0.01, "decoupled decay of matrices; vectors are not decayed", ge=0)
    beta1: float = setting(0.9, "decay of the first moment", ge=0, lt=1)
    beta2: float = setting(0.999, "decay of the second moment", ge=0, lt=1)
    epsilon: float = setting(1e-6, "added to the root of the second moment", gt=0)
    clip: float = setting(1.0, "largest global gradient norm", gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = []
        if self.warmup_steps > self.steps:
            problems.append(f"warmup_steps {self.warmup_steps} is more than steps {self.steps}")
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            problems.append(f"micro_batch {self.micro_batch} does not divide batch_size {self.batch_size}")
        if self.schedule != "linear" and self.decay_power != 1.0:
            problems.append(f"decay_power {self.decay_power} is for schedule linear only")
        problems += self._ramp_problems()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _ramp_problems(self) -> list[str]:
        if (self.ramp_from is None) != (self.ramp_steps == 0):
            return ["ramp_from and ramp_steps are given together or not at all"]
        problems = []
        if self.ramp_steps > self.steps:
            problems.append(f"ramp_steps {self.ramp_steps} is more than steps {self.steps}")
        if self.ramp_from is not None and self.ramp_from > self.batch_size:
            problems.append(f"ramp_from {self.ramp_from} is more than batch_size {self.batch_size}")
        if self.ramp_from is not None and self.micro_batch is not None and self.ramp_from % self.micro_batch:
            problems.append(f"micro_batch {self.micro_batch} does not divide ramp_from {self.ramp_from}")
        return problems


class PhaseSettings(Settings):
    """Several shards artifacts one after the other, short rows first (BERT: 90 % of the steps at 128, then 512)."""

    shares: tuple[float, ...] | None = setting(
        None, "each phase's share of the steps, in the order of the shards, adding up to 1; none for one phase"
    )
    batch_sizes: tuple[int, ...] | None = setting(
        None, "rows in a step of each phase; by default as many tokens as batch_size rows of the first phase have"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        shares, sizes = self.shares, self.batch_sizes
        if shares is not None and (min(shares, default=0) <= 0 or abs(sum(shares) - 1) > 1e-9):
            raise ValueError(f"shares {list(shares)} are not shares of a whole: above 0, adding up to 1")
        if sizes is not None and (shares is None or len(sizes) != len(shares) or min(sizes) < 1):
            raise ValueError("batch_sizes has one number for each of shares, at least 1")
        return self


class MixtureSettings(Settings):
    """Several shards artifacts side by side: how much of each a run reads."""

    weights: tuple[float, ...] | None = setting(
        None,
        "each artifact's share of the rows, beside the others' (7 and 3 are 0.7 and 0.3), in the artifacts' order; by "
        "default in proportion to their rows^(1 / temperature)",
    )
    temperature: float = setting(
        1.0, "1 leaves the parts as large as they are, above it small ones get more (XLM-R: 3.3)", ge=1, le=100
    )
    most_epochs: float = setting(
        4.0,
        "epochs of one part beyond which a run warns when it begins: so often text can be repeated at little loss "
        "(arXiv 2305.16264)",
        shapes=False,
        gt=0,
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.weights is not None and min(self.weights, default=0) <= 0:
            raise ValueError(f"weights {list(self.weights)} are not all above 0")
        if self.weights is not None and self.temperature != 1:
            raise ValueError("temperature is for weights that follow from the rows, not for given ones")
        return self


class AveragingSettings(Settings):
    """The mean of the weights over the last part of the run (Izmailov et al., 2018); it is what gets published."""

    every: int | None = setting(None, "steps between the snapshots that are averaged; none: no averaging", ge=1)
    start: float = setting(0.8, "share of the run after which snapshots are taken", ge=0, lt=1)


class EvaluationSettings(Settings):
    """Measuring on held-out rows while training."""

    every: int = setting(10_000, "steps between evaluations; there is one at the end too", ge=1)
    rows: int = setting(2_048, "held-out rows that an evaluation reads at most", ge=1)


class CheckpointSettings(Settings):
    """Saving while training."""

    every: int = setting(10_000, "steps between checkpoints", shapes=False, ge=1)
    keep: int = setting(3, "newest checkpoints that are kept; the best one is kept besides", shapes=False, ge=1)


class ExecutionSettings(Settings):
    """How the same arithmetic is carried out; it shapes the result, as rounding and Triton's samples differ."""

    compile: Literal["off", "encoder", "step"] = setting(
        "off",
        "torch.compile of both encoders, or of the whole forward pass as one graph, which needs head = triton; slower "
        "than off on a CPU",
    )
    head: Literal["auto", "plain", "triton"] = setting(
        "auto",
        "kernels of the generator's output over the vocabulary; triton needs a GPU and draws other samples of the same "
        "distribution. auto is plain until triton has been measured on a GPU",
    )
    attention: Literal["plain", "flex"] = setting(
        "plain",
        "attention in packed rows: plain adds a mask; flex leaves out what documents do not see of each other, which "
        "pays in rows of thousands of tokens, and needs a GPU and model.attention_dropout = 0",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.compile == "step" and self.head != "triton":
            raise ValueError("compile = step needs head = triton: no other head can be part of a graph")
        return self


class PretrainSettings(Settings):
    """Settings of `electra pretrain`; without a preset they are the paper's small."""

    preset_folder = "pretrain"

    model: ModelSettings = table(ModelSettings, "the discriminator")
    generator: GeneratorSettings = table(GeneratorSettings, "the generator")
    objective: ObjectiveSettings = table(ObjectiveSettings, "losses and masking")
    optimizer: OptimizerSettings = table(OptimizerSettings, "optimizer, batch and schedule")
    phases: PhaseSettings = table(PhaseSettings, "phases of different row lengths")
    mixture: MixtureSettings = table(MixtureSettings, "mixtures of several corpora", shapes=True)
    averaging: AveragingSettings = table(AveragingSettings, "averaging of weights")
    evaluation: EvaluationSettings = table(EvaluationSettings, "held-out evaluation")
    checkpoints: CheckpointSettings = table(CheckpointSettings, "checkpoints", shapes=True)
    execution: ExecutionSettings = table(ExecutionSettings, "kernels and compilation")
    budget: str | None = setting(
        None,
        "what the run may cost, from which its steps follow: 24h, 90m, 2e9tok (padding not counted) or 1e18flop; "
        "warm-up and ramp are then a tenth of the steps at most",
    )
    seed: int = setting(1, "fixes initial weights, data order, masks, samples and dropout", ge=0, lt=2**31)
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "type of activations; auto is bf16 where the hardware computes it"
    )
    device: str = setting("auto", "auto (a GPU if there is one), cpu, cuda, cuda:1", shapes=False)
    log_every: int = setting(100, "steps between lines of metrics.jsonl; each is the mean since the last", ge=1)

    @model_validator(mode="after")
    def _budget(self) -> Self:
        if self.budget is not None:
            parse_budget(self.budget)
        return self

    @property
    def variant(self) -> Variant:
        """The objective and its generator."""
        objective, generator = self.objective, self.generator
        return Variant(objective.kind, generator.kind, generator.embeddings, objective.mask_fraction)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        objective, generator, model = self.objective, self.generator, self.model
        first = objective.two_stage_steps
        if self.execution.attention == "flex" and model.attention_dropout > 0:
            raise ValueError("execution.attention = flex has no dropout in it: set model.attention_dropout = 0")
        problems = senseless(
            self.variant,
            shared_encoder=generator.shared_encoder,
            temperature=objective.temperature,
            disallow_correct=objective.disallow_correct,
            two_stage=first is not None,
            same_size=generator.size == generator.layers == 1 and model.embedding_size == model.hidden_size,
        )
        if first is not None and first >= self.optimizer.steps:
            problems.append(
                f"objective.two_stage_steps {first} leaves nothing of optimizer.steps {self.optimizer.steps}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self
