"""Our parameter names ↔ the public ELECTRA names that files carry.

In memory query, key and value are one matrix and the embeddings one module; in a file every tensor has the name and
shape of the public implementation (hf-compat.md), so that any tool can read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

_EMBEDDINGS = {
    "word": "word_embeddings.weight",
    "position": "position_embeddings.weight",
    "segment": "token_type_embeddings.weight",
    "norm.weight": "LayerNorm.weight",
    "norm.bias": "LayerNorm.bias",
}
_LAYER = {
    "attention_out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
_QKV = ("query", "key", "value")
_PAIR_HEADS = {
    "discriminator_head.dense.": "discriminator.discriminator_predictions.dense.",
    "discriminator_head.out.": "discriminator.discriminator_predictions.dense_prediction.",
    "generator_head.dense.": "generator.generator_predictions.dense.",
    "generator_head.norm.": "generator.generator_predictions.LayerNorm.",
    "generator_head.bias": "generator.generator_lm_head.bias",
}
_CLASSIFIER_HEADS = {"dense.": "classifier.dense.", "out.": "classifier.out_proj."}

# What the generator always shares with the discriminator; files hold it once, under the discriminator's names.
_TIES = {
    **{
        f"generator.electra.embeddings.{name}": f"discriminator.electra.embeddings.{name}"
        for name in _EMBEDDINGS.values()
    },
    "generator.generator_lm_head.weight": "discriminator.electra.embeddings.word_embeddings.weight",
}


def ties(model: torch.nn.Module) -> dict[str, str]:
    """The generator's tensors that files hold under the discriminator's names, by the public name of each."""
    found = dict(_TIES)
    if getattr(model, "shared_encoder", False):
        for name in to_public(model):
            if name.startswith("discriminator.electra.") and name not in _TIES.values():
                found[name.replace("discriminator.", "generator.", 1)] = name
    return found


def _public(name: str) -> tuple[str, ...]:
    """The public name of one of our parameters; three of them for a fused query-key-value."""
    if match := re.fullmatch(r"(?:discriminator\.|generator\.|encoder\.)?embeddings\.(.+)", name):
        owner = "" if name.startswith("encoder.") else "discriminator."
        return (f"{owner}electra.embeddings.{_EMBEDDINGS[match[1]]}",)
    if match := re.fullmatch(r"(discriminator|generator|encoder)\.(project|layers)\.(.+)", name):
        owner = "" if match[1] == "encoder" else f"{match[1]}."
        if match[2] == "project":
            return (f"{owner}electra.embeddings_project.{match[3]}",)
        layer, part, kind = match[3].split(".")
        prefix = f"{owner}electra.encoder.layer.{layer}"
        if part == "qkv":
            return tuple(f"{prefix}.attention.self.{which}.{kind}" for which in _QKV)
        return (f"{prefix}.{_LAYER[part]}.{kind}",)
    for table in (_PAIR_HEADS, _CLASSIFIER_HEADS):
        for ours, public in table.items():
            if name.startswith(ours):
                return (public + name[len(ours) :],)
    raise KeyError(name)


def _parameters(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter once, under its first name."""
    for name, parameter in model.named_parameters():
        yield name, parameter.detach()


def to_public(model: torch.nn.Module) -> dict[str, Tensor]:
    """The model's tensors under their public names, contiguous, shared ones once."""
    return rename(dict(_parameters(model)))


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors keyed by our parameter names → keyed by public names (fused ones split)."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        names = _public(name)
        for public, piece in zip(names, tensor.chunk(len(names)) if len(names) > 1 else (tensor,), strict=True):
            found[public] = piece.contiguous()
    return found


def gather(names: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `rename` for the parameters in `names` (our name → parameter of the wanted shape).

    Raises:
        KeyError: a public name is missing; the key is its name.
        ValueError: a shape differs, saying which.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in names.items():
        pieces = []
        for public in _public(name):
            if public not in tensors:
                raise KeyError(public)
            pieces.append(tensors[public])
        whole = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        if whole.shape != parameter.shape:
            raise ValueError(f"{_public(name)[0]}: shape {tuple(whole.shape)}, wanted {tuple(parameter.shape)}")
        found[name] = whole
    return found


def from_public(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load public tensors into `model`, in place.

    Raises:
        KeyError: a tensor is missing; the key is its public name.
        ValueError: a shape differs.
    """
    wanted = dict(_parameters(model))
    for name, tensor in gather(wanted, tensors).items():
        wanted[name].copy_(tensor)


def discriminator_as_encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's discriminator as the bare public names that finetuning loads (`electra.*`)."""
    prefix = "discriminator.electra."
    return {name.removeprefix("discriminator."): t for name, t in tensors.items() if name.startswith(prefix)}
