"""Rules that say from the figures of a run that it is not learning, or that something is wrong with it.

Each rule is a pure function of what the run is (`Plan`), what it has shown so far (`Past`) and one record of
`metrics.jsonl`; it answers with a sentence or with None. A rule whose figures are missing or not finite says nothing.
When and how often a user hears of it is `training.watch`'s business.

No number here has an official source: the released code watches nothing, and its author gave signs, not thresholds
(electra.md 8.2, 10). Each threshold stands with its reason. They were held against four runs of the `tiny` preset that
learnt: none of them sets off a rule.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Record = Mapping[str, Any]

# A plateau at the base rate "for thousands of steps is normal at first; after warm-up it is not" (electra.md 10). Where
# the warm-up is short, a fifth of the run is given, 500 steps at least (by then tiny runs that learn have left the base
# rate, benchmarks/README.md) and 10,000 at most (the paper's warm-up).
PATIENCE_SHARE, PATIENCE_LEAST, PATIENCE_MOST = 0.2, 500, 10_000
START_MARGIN = 0.11  # of the first loss: "about ±5 per seed" around 45 (electra.md 10)
LEAST_ACCURACY = 0.01  # 200 steps, which teach no more than the commonest word, gave 7 % (enwiki) and 4 % (zhwiki)
MOST_SAMPLED = (
    0.9  # of masked tokens sampled right: at 15 % masking 1.5 % of tokens are left to find, not the usual 6 %
)
MOST_SAME = 0.5  # of masked positions filled with one and the same word; the most frequent one of real text has 0.05
AUC_MARGIN = 0.03  # above what knowing the special tokens gives; runs at 0.50 to 0.56 were stuck (benchmarks/README.md)
LOSS_SHARE = 0.99  # of the loss at the base rate; tiny runs that had left it were at 0.985 and falling
LOSS_WORSE = 1.05  # of it, whatever the recall: a discriminator that is not even calibrated to the base rate
LEAST_RECALL = 0.01  # stuck runs had exactly 0 (electra.md 8.2); alone it says little: early on it is normal
EARLY, EARLY_AUC, EARLY_BOTH = 1_000, 0.99, 0.95  # "its accuracy rises to 1 at once" (electra.md 10)
WINDOWS, FEWEST = 20, 8  # log lines that a spike is held against, and the fewest of them
LOSS_SPREADS, LOSS_RISE = 6.0, 0.1  # a spike is beyond 6 robust standard deviations and a tenth above the median
NORM_RISE = 4.0  # times the median: leaving the base rate doubles the norm in runs that learn
# Of the embeddings' norm; tiny runs that learn end at 4 times their start. Narrower tables than the paper's narrowest
# (128, whose rows begin with a length of 0.2) begin lower and end as high.
MOST_GROWTH, LEAST_START = 10.0, 0.2
MOST_COMMON = 0.9  # share of one common vector in the embeddings; tiny runs that learn stay below 0.6


@dataclass(frozen=True)
class Plan:
    """What the rules have to know of a run.

    Attributes:
        vocab_size: V.
        steps: of the whole run.
        warmup_steps: of the learning rate.
        special_fraction: share of the real tokens that are `[CLS]` or `[SEP]`, which are never replaced.
        start_loss: the weighted loss of two networks that know nothing; see `start_loss`. Infinite where it is unknown.
        generator_learns: whether there is a generator with weights.
        judges: whether a discriminator learns to tell replaced tokens among all tokens.
        discriminator_from: the step before which it does not learn yet (two stages).
        changes: steps after which the loss is another one (phases, stages), so that spikes are not looked for across.
    """

    vocab_size: int
    steps: int
    warmup_steps: int
    special_fraction: float
    start_loss: float
    generator_learns: bool = True
    judges: bool = True
    discriminator_from: int = 0
    changes: tuple[int, ...] = ()

    @property
    def settled(self) -> int:
        """The step from which on a run has to show that it learns."""
        share = int(PATIENCE_SHARE * self.steps)
        return max(self.warmup_steps, min(PATIENCE_MOST, max(PATIENCE_LEAST, share)))

    def judged(self, step: int) -> bool:
        """Whether the discriminator has to show at `step` that it learns."""
        return self.judges and step - self.discriminator_from >= self.settled

    def since_change(self, step: int) -> int:
        """The last step before `step` after which the loss became another one, -1 where it never did."""
        return max((change for change in self.changes if change < step), default=-1)


@dataclass
class Past:
    """What earlier records have shown.

    Attributes:
        windows: the last `train` records.
        embeddings: the first `embeddings` record.
    """

    windows: deque[Record] = field(default_factory=lambda: deque(maxlen=WINDOWS))
    embeddings: Record | None = None

    def add(self, record: Record) -> None:
        """Remember a record that has been judged."""
        if record["kind"] == "train":
            self.windows.append(record)
        elif record["kind"] == "embeddings" and self.embeddings is None:
            self.embeddings = record


Check = Callable[[Plan, Past, Record], str | None]


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        code: a stable name.
        kind: the kind of record that it reads.
        check: None, or what is wrong.
        advice: what to do.
        lines: records in a row that must agree before it is raised, and before it is over.
    """

    code: str
    kind: Literal["train", "held-out", "embeddings"]
    check: Check
    advice: str
    lines: int = 1


def number(record: Record, name: str) -> float:
    """A figure of a record; NaN, which no comparison holds for, where it is missing."""
    value = record.get(name)
    return math.nan if value is None else float(value)


def start_loss(*, vocab_size: int, generator_weight: float, discriminator_weight: float) -> float:
    """The loss before the first step: ln V for the generator and ln 2 for the discriminator (44.98, electra.md 4)."""
    return generator_weight * math.log(vocab_size) + discriminator_weight * math.log(2)


def base_rate_loss(replaced: float, special: float) -> float:
    """The discriminator's loss (nats a token) when it knows how many tokens are replaced and which ones are special.

    That is the entropy of the replaced share of the tokens that can be replaced at all; special ones cost nothing.
    """
    share = min(1.0, replaced / (1.0 - special))
    if share in (0.0, 1.0):
        return 0.0
    return (1.0 - special) * -(share * math.log(share) + (1.0 - share) * math.log(1.0 - share))


def base_rate_auc(replaced: float, special: float) -> float:
    """The area under the curve of a discriminator that only ranks special tokens lowest."""
    return 0.5 + 0.5 * special / (1.0 - replaced)


def _not_finite(plan: Plan, past: Past, record: Record) -> str | None:
    return None if math.isfinite(number(record, "loss")) else "the loss on held-out rows is not finite"


def _above_start(plan: Plan, past: Past, record: Record) -> str | None:
    if (loss := number(record, "loss")) > plan.start_loss * (1 + START_MARGIN):
        return f"the loss is {loss:.2f}; knowing nothing costs {plan.start_loss:.2f}"
    return None


def _generator_lost(plan: Plan, past: Past, record: Record) -> str | None:
    if record["step"] < plan.settled or not plan.generator_learns:
        return None
    loss, uniform = number(record, "generator_loss"), math.log(plan.vocab_size)
    if loss >= uniform:
        return f"the generator's loss is {loss:.2f}, no better than the {uniform:.2f} of guessing any of the words"
    if (accuracy := number(record, "generator_accuracy")) < LEAST_ACCURACY:
        return (
            f"the generator is right for {accuracy:.2%} of masked tokens; always saying the commonest word gives more"
        )
    return None


def _generator_perfect(plan: Plan, past: Past, record: Record) -> str | None:
    if (sampled := number(record, "generator_sampled_accuracy")) > MOST_SAMPLED:
        return (
            f"the generator's samples are right for {sampled:.1%} of masked tokens, so that only "
            f"{number(record, 'replaced_fraction'):.2%} of tokens are left for the discriminator to find"
        )
    return None


def _generator_monotone(plan: Plan, past: Past, record: Record) -> str | None:
    late = plan.generator_learns and record["step"] >= plan.settled
    if late and (share := number(record, "generator_top_share")) > MOST_SAME:
        return f"the generator draws the same word at {share:.0%} of masked positions"
    return None


def _at_chance(plan: Plan, past: Past, record: Record) -> str | None:
    auc = number(record, "discriminator_auc")
    known = base_rate_auc(number(record, "replaced_fraction"), plan.special_fraction)
    if plan.judged(record["step"]) and auc < known + AUC_MARGIN:
        return f"the discriminator's AUC on held-out rows is {auc:.3f}; knowing only special tokens gives {known:.3f}"
    return None


def _at_base_rate(plan: Plan, past: Past, record: Record) -> str | None:
    loss, recall = number(record, "discriminator_loss"), number(record, "discriminator_recall")
    known = base_rate_loss(number(record, "replaced_fraction"), plan.special_fraction)
    if not plan.judged(record["step"]):
        return None
    if loss >= LOSS_WORSE * known or (loss >= LOSS_SHARE * known and recall < LEAST_RECALL):
        return (
            f"the discriminator's loss is {loss:.4f} and knowing only how many tokens are replaced costs {known:.4f}; "
            f"it finds {recall:.2%} of them"
        )
    return None


def _at_once(plan: Plan, past: Past, record: Record) -> str | None:
    if not 0 < record["step"] <= EARLY or not plan.judges:
        return None
    recall, precision = number(record, "discriminator_recall"), number(record, "discriminator_precision")
    if (auc := number(record, "discriminator_auc")) > EARLY_AUC:
        return f"the discriminator finds nearly everything within {record['step']} steps: AUC {auc:.3f}"
    if recall > EARLY_BOTH and precision > EARLY_BOTH:
        return (
            f"the discriminator finds nearly everything within {record['step']} steps: recall {recall:.1%}, "
            f"precision {precision:.1%}"
        )
    return None


def _lately(plan: Plan, past: Past, record: Record, name: str) -> list[float]:
    """A figure of the last lines that can be compared with this one."""
    since = plan.since_change(record["step"])
    lines = (window for window in past.windows if window["step"] > since)
    return [value for line in lines if math.isfinite(value := number(line, name))]


def _loss_spike(plan: Plan, past: Past, record: Record) -> str | None:
    values = _lately(plan, past, record, "loss")
    if len(values) < FEWEST:
        return None
    middle, loss = median(values), number(record, "loss")
    spread = 1.4826 * median(abs(value - middle) for value in values)  # a normal distribution's standard deviation
    if loss > middle + max(LOSS_SPREADS * spread, LOSS_RISE * abs(middle)):
        return f"the loss is {loss:.3f}; the median of the {len(values)} lines before is {middle:.3f}"
    return None


def _norm_spike(plan: Plan, past: Past, record: Record) -> str | None:
    values = _lately(plan, past, record, "gradient_norm")
    if len(values) < FEWEST:
        return None
    middle, norm = median(values), number(record, "gradient_norm")
    if norm > NORM_RISE * middle:
        return f"the gradient's norm is {norm:.3g}; the median of the {len(values)} lines before is {middle:.3g}"
    return None


def _embedding_norm(plan: Plan, past: Past, record: Record) -> str | None:
    norm, start = number(record, "word_norm"), number(past.embeddings or record, "word_norm")
    if norm > MOST_GROWTH * max(start, LEAST_START):
        return f"the word embeddings' norm is {norm:.3g}, {norm / start:.1f} times what it was at the start"
    return None


def _embedding_common(plan: Plan, past: Past, record: Record) -> str | None:
    if record["step"] >= plan.settled and (common := number(record, "word_common")) > MOST_COMMON:
        return f"{common:.0%} of the word embeddings' length is one vector that all words share"
    return None


_SLOWER = "lower optimizer.learning_rate or lengthen optimizer.warmup_steps"
_SPIKE = f"often it comes back; if it does not within some lines, stop, and {_SLOWER}"
_WORSE = f"before the first step: the initial weights are wrong; later: the run diverges, {_SLOWER}"

RULES: tuple[Rule, ...] = (
    Rule("HELD_OUT_NOT_FINITE", "held-out", _not_finite, f"activations overflow: {_SLOWER}"),
    Rule("LOSS_ABOVE_START", "held-out", _above_start, _WORSE),
    Rule("LOSS_ABOVE_START", "train", _above_start, _WORSE),
    Rule("GENERATOR_NOT_LEARNING", "train", _generator_lost, f"{_SLOWER}; look at the data with electra inspect", 3),
    Rule(
        "GENERATOR_TOO_GOOD",
        "train",
        _generator_perfect,
        "take a smaller generator (generator.size), mask more (objective.mask_fraction), or look for repeated text",
        3,
    ),
    Rule("GENERATOR_ONE_WORD", "held-out", _generator_monotone, f"{_SLOWER}; look whether the text is varied"),
    Rule(
        "DISCRIMINATOR_AT_CHANCE",
        "held-out",
        _at_chance,
        f"{_SLOWER}; on little text a small model needs model.start=mimetic or more steps",
    ),
    Rule("DISCRIMINATOR_AT_BASE_RATE", "train", _at_base_rate, f"{_SLOWER}; see objective.discriminator_weight", 3),
    Rule("DISCRIMINATOR_AT_ONCE", "train", _at_once, "it sees what was masked, or the replacements are nonsense"),
    Rule("DISCRIMINATOR_AT_ONCE", "held-out", _at_once, "it sees what was masked, or the replacements are nonsense"),
    Rule("LOSS_SPIKE", "train", _loss_spike, _SPIKE),
    Rule("GRADIENT_SPIKE", "train", _norm_spike, _SPIKE),
    Rule("EMBEDDINGS_GROW", "embeddings", _embedding_norm, f"{_SLOWER}, or raise optimizer.weight_decay"),
    Rule("EMBEDDINGS_ALIKE", "embeddings", _embedding_common, f"{_SLOWER}; the vocabulary may be too large"),
)
