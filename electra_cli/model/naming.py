"""Our parameter names ↔ the public ELECTRA names that files carry.

In memory query, key and value are one matrix and the embeddings one module; in a file every tensor has the name and
shape of the public implementation (hf-compat.md), so that any tool can read it. What that implementation does not have
(Electric's towers, the copy gate, a unigram generator's frequencies, the difference of gdes) has a name of ours, which
begins neither with `discriminator.` nor with `generator.`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from electra_cli.model.embedding_sharing import DisentangledEmbeddings
from electra_cli.model.pretraining import Electra

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
    "word_head.dense.": "discriminator.generator_predictions.dense.",
    "word_head.norm.": "discriminator.generator_predictions.LayerNorm.",
    "word_head.bias": "discriminator.generator_lm_head.bias",
    "copy_gate.": "copy_gate.",
    "fixed.log_probability_V": "unigram.log_probabilities",
}
_CLASSIFIER_HEADS = {"dense.": "classifier.dense.", "out.": "classifier.out_proj."}

# Whose a module is, by the start of our name; `embeddings.…` alone are the discriminator's, and shared ones too.
_OWNERS = {
    "": "discriminator.",
    "discriminator.": "discriminator.",
    "generator.": "generator.",
    "towers.ltr.": "generator_ltr.",
    "towers.rtl.": "generator_rtl.",
    "encoder.": "",
}
_WORDS = "electra.embeddings.word_embeddings.weight"
_DELTA = "gdes.word_embeddings.delta"


def ties(model: Electra) -> dict[str, str]:
    """The tensors that files hold under another's name, by the public name of each."""
    found: dict[str, str] = {}
    variant = model.variant
    readers = ["generator_ltr", "generator_rtl"] if variant.objective == "electric" else ["generator"]
    if variant.has_generator_network:
        owner = "discriminator" if variant.embeddings == "shared" else readers[0]
        for reader in {"shared": readers, "gdes": readers[1:], "own": []}[variant.embeddings]:
            found |= {
                f"{reader}.electra.embeddings.{n}": f"{owner}.electra.embeddings.{n}" for n in _EMBEDDINGS.values()
            }
        found["generator.generator_lm_head.weight"] = f"{owner}.{_WORDS}"
    if variant.predicts_words:
        found["discriminator.generator_lm_head.weight"] = f"discriminator.{_WORDS}"
    if model.shared_encoder:
        for name in to_public(model):
            if name.startswith("discriminator.electra."):
                found[name.replace("discriminator.", "generator.", 1)] = name
    return found


def _public(name: str) -> tuple[str, ...]:
    """The public name of one of our parameters; three of them for a fused query-key-value."""
    if name == "embeddings.delta":
        return (_DELTA,)
    if match := re.fullmatch(
        r"((?:discriminator|generator|encoder|towers\.[lr]t[lr])\.|)(embeddings|project|layers)\.(.+)", name
    ):
        owner, rest = _OWNERS[match[1]], match[3]
        if match[2] == "embeddings":
            return (f"{owner}electra.embeddings.{_EMBEDDINGS[rest]}",)
        if match[2] == "project":
            return (f"{owner}electra.embeddings_project.{rest}",)
        layer, part, kind = rest.split(".")
        prefix = f"{owner}electra.encoder.layer.{layer}"
        if part == "qkv":
            return tuple(f"{prefix}.attention.self.{which}.{kind}" for which in _QKV)
        return (f"{prefix}.{_LAYER[part]}.{kind}",)
    for table in (_PAIR_HEADS, _CLASSIFIER_HEADS):
        for ours, public in table.items():
            if name.startswith(ours):
                return (public + name[len(ours) :],)
    raise KeyError(name)


def _tensors(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and every counted table once, under its first name."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        yield name, tensor.detach()


def to_public(model: torch.nn.Module) -> dict[str, Tensor]:
    """The model's tensors under their public names, contiguous, shared ones once.

    With disentangled embeddings the discriminator's word table, a sum, is among them beside the difference that it is
    made with: the one for whoever reads a discriminator, the other to continue from.
    """
    found = rename(dict(_tensors(model)))
    for module in model.modules():
        if isinstance(module, DisentangledEmbeddings):
            found[f"discriminator.{_WORDS}"] = module.word.detach()
    return found


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
    wanted = dict(_tensors(model))
    for name, tensor in gather(wanted, tensors).items():
        wanted[name].copy_(tensor)


def discriminator_as_encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's discriminator as the bare public names that finetuning loads (`electra.*`)."""
    prefix = "discriminator.electra."
    return {name.removeprefix("discriminator."): t for name, t in tensors.items() if name.startswith(prefix)}
