"""The two networks of a pretraining run, and what judges them while they learn."""

from __future__ import annotations

import math

from electra_cli.errors import UsageError
from electra_cli.model.pretraining import Electra
from electra_cli.model.shape import HEAD_WIDTH, EncoderShape, generator_shape
from electra_cli.stages.pretrain_settings import PretrainSettings
from electra_cli.training.bands import size_of
from electra_cli.training.health import Plan, start_loss
from electra_cli.training.watch import Watch
from electra_cli.training.work import Work


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
        chosen, variant = settings.generator, settings.variant
        generator = generator_shape(
            discriminator, size=chosen.size, layers=chosen.layers, own_embeddings=chosen.embeddings == "own"
        )
        return Electra(
            discriminator,
            generator if variant.has_generator_network else None,
            shared_encoder=chosen.shared_encoder,
            variant=variant,
        )
    except ValueError as error:
        raise UsageError(str(error), code="BAD_SETTINGS", where="model", hint="choose sizes that divide") from error


def build_watch(model: Electra, settings: PretrainSettings, *, work: Work) -> Watch:
    """What judges the figures of a run on `model` while it goes on."""
    optimizer, objective = settings.optimizer, settings.objective
    stock, variant = work.stocks[0], model.variant
    first = objective.two_stage_steps or 0
    plan = Plan(
        vocab_size=model.discriminator.shape.vocab_size,
        steps=optimizer.steps,
        warmup_steps=optimizer.warmup_steps,
        special_fraction=min(0.5, stock.special_tokens / stock.tokens),
        start_loss=_start_loss(model, settings),
        generator_learns=variant.has_generator_network,
        judges=variant.objective == "electra",
        discriminator_from=first,
        changes=tuple(sorted({*([first] if first else ()), *(phase.stop for phase in work.plan.phases)})),
    )
    size = size_of(sum(p.numel() for p in model.discriminator.parameters()))
    return Watch(plan, size=size, tokens_per_step=optimizer.batch_size * stock.tokens / stock.rows)


def _start_loss(model: Electra, settings: PretrainSettings) -> float:
    objective, variant = settings.objective, model.variant
    vocab_size = model.discriminator.shape.vocab_size
    if variant.objective == "electric":  # its logits hold the generator's probabilities: no simple number
        return math.inf
    generator_weight = 0.0 if variant.objective == "mlm" else objective.generator_weight
    if variant.predicts_words:
        generator_weight += objective.word_weight
    return start_loss(
        vocab_size=vocab_size,
        generator_weight=generator_weight,
        discriminator_weight=0.0 if variant.predicts_words else objective.discriminator_weight,
    )
