"""Our networks as the public library's modules with the same weights: another implementation to agree with."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from electra_cli.model.naming import rename, ties, to_public
from electra_cli.model.pretraining import Electra, MaskedBatch
from electra_cli.model.shape import EncoderShape


def public_config(shape: EncoderShape, **changes: Any) -> Any:
    """The public library's configuration of an encoder, dropout off."""
    transformers = pytest.importorskip("transformers")
    return transformers.ElectraConfig(
        vocab_size=shape.vocab_size,
        embedding_size=shape.embedding_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **changes,
    )


def public_module(model: Electra, kind: str, which: str, *, shape: EncoderShape | None = None, **changes: Any) -> Any:
    """transformers' class `kind` with the weights that `model` stores under `which`."""
    transformers = pytest.importorskip("transformers")
    tensors = to_public(model)
    tensors |= {name: tensors[source] for name, source in ties(model).items()}
    shape = shape or (model.generator.shape if which == "generator" else model.discriminator.shape)
    public = getattr(transformers, kind)(public_config(shape, **changes))
    own = {name.removeprefix(f"{which}."): t for name, t in tensors.items() if name.startswith(f"{which}.")}
    if kind == "ElectraModel":
        own = {name.removeprefix("electra."): t for name, t in own.items() if name.startswith("electra.")}
    missing, unexpected = public.load_state_dict(own, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing)
    return public.train()


def public_pair(model: Electra) -> tuple[Any, Any]:
    """transformers' generator and discriminator (or what is in its place), sharing what `model` shares."""
    generator = public_module(model, "ElectraForMaskedLM", "generator")
    large = "ElectraForMaskedLM" if model.variant.predicts_words else "ElectraForPreTraining"
    discriminator = public_module(model, large, "discriminator")
    if model.shared_encoder:
        discriminator.electra = generator.electra
    elif model.variant.embeddings == "shared":
        discriminator.electra.embeddings = generator.electra.embeddings
    if model.variant.predicts_words:
        discriminator.generator_lm_head.weight = discriminator.electra.embeddings.word_embeddings.weight
    return generator, discriminator


def inputs(ids: torch.Tensor, batch: MaskedBatch) -> dict[str, torch.Tensor]:
    """What the public modules are called with."""
    columns = torch.arange(ids.shape[1])[None, :]
    assert batch.lengths_B is not None
    attention = (columns < batch.lengths_B[:, None]).long()
    return {"input_ids": ids, "attention_mask": attention, "token_type_ids": (columns >= batch.first_B[:, None]).long()}


def assert_same_gradients(
    model: Electra, modules: dict[str, Any], extra: dict[str, torch.Tensor] | None = None
) -> None:
    """Every gradient of `model` equals that of the public modules, by public name; `extra` has those of no module."""
    theirs: dict[str, torch.Tensor] = dict(extra or {})
    for which, module in modules.items():
        theirs |= {f"{which}.{name}": p.grad for name, p in module.named_parameters()}
    for tied, source in ties(model).items():  # one tensor there too, under two names
        theirs.pop(tied, None)
        assert theirs[source] is not None
    parameters = dict(model.named_parameters())
    found = rename({name: p.grad for name, p in parameters.items() if p.grad is not None})
    if "gdes.word_embeddings.delta" in found:
        found["discriminator.electra.embeddings.word_embeddings.weight"] = found.pop("gdes.word_embeddings.delta")
    assert found.keys() == theirs.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
