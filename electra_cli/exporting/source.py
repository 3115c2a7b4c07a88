"""An artifact of ours as one network to export, and what it answers itself.

Shapes: B batch, L tokens, V vocabulary, C classes, N tokens of a batch that are no padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from electra_cli.artifacts import Artifact
from electra_cli.errors import ArtifactError
from electra_cli.exporting.hf import Network, Part
from electra_cli.exporting.parity import Question
from electra_cli.model.classifier import Classifier
from electra_cli.model.naming import from_public
from electra_cli.model.pretraining import Electra
from electra_cli.model.shape import EncoderShape

OUTPUT_TABLE = "generator_lm_head.weight"  # tied to the word embeddings; the public format leaves it out


@dataclass(frozen=True)
class Source:
    """One network of an artifact.

    Attributes:
        network: its tensors and shape, for the export.
        answer: our own logits, (N,), (N, V) or (B, C) in float32.
    """

    network: Network
    answer: Callable[[Question], Tensor]


def read_source(artifact: Artifact, part: Part) -> Source:
    """Load `part` of a checkpoint or a finetuned model.

    Raises:
        ArtifactError: the weights and the manifest do not fit together (`TENSOR_MISMATCH`, `SPEC_INCOMPLETE`).
    """
    tensors = load_file(artifact.file("model.safetensors"))
    try:
        return _classifier(artifact, tensors) if part == "classifier" else _pretrained(artifact, tensors, part)
    except KeyError as error:
        raise ArtifactError(
            f"neither the weights nor the spec of the manifest has {error.args[0]}",
            code="SPEC_INCOMPLETE",
            where=str(artifact.path),
            hint="the artifact was made by another version or damaged; make it again",
        ) from error
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"the weights do not fit the architecture in the manifest: {error}",
            code="TENSOR_MISMATCH",
            where=str(artifact.path),
            hint="`electra verify` tells whether the artifact is still what was published",
        ) from error


def _pretrained(artifact: Artifact, tensors: Mapping[str, Tensor], part: Part) -> Source:
    shapes = artifact.spec["architecture"]
    model = Electra.from_architecture(shapes)
    from_public(model, tensors)
    network = "generator" if part == "generator" else "discriminator"
    prefix = f"{network}."
    mine = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    for name, original in artifact.spec["ties"].items():
        if name.startswith(prefix) and name.removeprefix(prefix) != OUTPUT_TABLE:
            mine[name.removeprefix(prefix)] = tensors[original]

    @torch.inference_mode()
    def answer(asked: Question) -> Tensor:
        encoder = model.generator if part == "generator" else model.discriminator
        h_BLD = encoder(asked.ids_BL, asked.types_BL, lengths_B=asked.mask_BL.sum(1))
        h_ND = h_BLD[asked.mask_BL == 1]
        if part == "discriminator":
            return model.discriminator_head(h_ND)  # type: ignore[no-any-return]
        head = model.generator_head if part == "generator" else model.word_head
        return F.linear(head(h_ND), encoder.embeddings.word, head.bias)

    return Source(Network(part, shapes[network], mine), answer)


def _classifier(artifact: Artifact, tensors: Mapping[str, Tensor]) -> Source:
    shape, task = artifact.spec["architecture"], artifact.spec["task"]
    network = Network(
        "classifier", shape, tensors, labels=tuple(task["labels"]), regression=task["type"] == "regression"
    )
    model: nn.Module = Classifier(EncoderShape.from_dict(shape), network.outputs)
    from_public(model, tensors)

    @torch.inference_mode()
    def answer(asked: Question) -> Tensor:
        logits_BC: Tensor = model(asked.ids_BL, asked.types_BL, lengths_B=asked.mask_BL.sum(1))
        return logits_BC

    return Source(network, answer)
