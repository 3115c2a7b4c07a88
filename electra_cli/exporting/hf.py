"""Our artifacts as a folder in the Hugging Face layout: names, configuration.

Everything here is a pure function of the artifact, so the same artifact gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from electra_cli.errors import ArtifactError

Part = Literal["discriminator", "generator", "masked-lm", "classifier"]
"""`masked-lm` is the large network of an objective that predicts words, in the discriminator's place."""

CLASS_OF: dict[Part, str] = {
    "discriminator": "ElectraForPreTraining",
    "generator": "ElectraForMaskedLM",
    "masked-lm": "ElectraForMaskedLM",
    "classifier": "ElectraForSequenceClassification",
}
AUTO_CLASS_OF = {
    "ElectraForPreTraining": "AutoModelForPreTraining",
    "ElectraForMaskedLM": "AutoModelForMaskedLM",
    "ElectraForSequenceClassification": "AutoModelForSequenceClassification",
}


@dataclass(frozen=True)
class Network:
    """What one exported class needs to know of its network.

    Attributes:
        part: which network.
        shape: the fields of its encoder's shape, as the artifact's spec has them.
        tensors: its tensors by public name, without the prefix that tells generator from discriminator.
        labels: class names in id order; empty for the pretraining networks and for regression.
        regression: whether the one output is a number.
    """

    part: Part
    shape: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    labels: Sequence[str] = ()
    regression: bool = False

    @property
    def outputs(self) -> int:
        """Width C of the classifier's output."""
        return 1 if self.regression else len(self.labels)


def config_json(network: Network, *, pad_id: int = 0) -> dict[str, Any]:
    """The `config.json` that 4.x and 5.x of the public library read alike."""
    shape = network.shape
    config: dict[str, Any] = {
        "architectures": [CLASS_OF[network.part]],
        "model_type": "electra",
        "vocab_size": shape["vocab_size"],
        "embedding_size": shape["embedding_size"],
        "hidden_size": shape["hidden_size"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "intermediate_size": shape["feed_forward"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": shape["dropout"],
        "attention_probs_dropout_prob": shape["attention_dropout"],
        "max_position_embeddings": shape["positions"],
        "type_vocab_size": shape["types"],
        "initializer_range": 0.02,
        "layer_norm_eps": shape["eps"],
        "pad_token_id": pad_id,
        "summary_type": "first",
        "summary_use_proj": True,
        "summary_activation": "gelu",
        "summary_last_dropout": 0.1,
        "use_cache": True,
        "classifier_dropout": None,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    if network.part == "classifier":
        names = ["score"] if network.regression else list(network.labels)
        config["id2label"] = {str(index): name for index, name in enumerate(names)}
        config["label2id"] = {name: index for index, name in enumerate(names)}
        config["problem_type"] = "regression" if network.regression else "single_label_classification"
    return config


def expected_tensors(network: Network) -> dict[str, tuple[int, ...]]:
    """Names and shapes of every tensor that the exported class stores (hf-compat.md).

    Written from the format, not from our modules: what the artifact holds is compared with it.
    """
    shape = network.shape
    vocabulary, narrow, wide, inner = (
        shape[k] for k in ("vocab_size", "embedding_size", "hidden_size", "feed_forward")
    )

    def linear(at: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        return {f"{at}.weight": (outputs, inputs), f"{at}.bias": (outputs,)}

    def norm(at: str, width: int) -> dict[str, tuple[int, ...]]:
        return {f"{at}.weight": (width,), f"{at}.bias": (width,)}

    at = "electra.embeddings"
    found: dict[str, tuple[int, ...]] = {
        f"{at}.word_embeddings.weight": (vocabulary, narrow),
        f"{at}.position_embeddings.weight": (shape["positions"], narrow),
        f"{at}.token_type_embeddings.weight": (shape["types"], narrow),
        **norm(f"{at}.LayerNorm", narrow),
    }
    if narrow != wide:
        found |= linear("electra.embeddings_project", narrow, wide)
    for layer in range(shape["layers"]):
        at = f"electra.encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            found |= linear(f"{at}.attention.self.{name}", wide, wide)
        found |= linear(f"{at}.attention.output.dense", wide, wide) | norm(f"{at}.attention.output.LayerNorm", wide)
        found |= linear(f"{at}.intermediate.dense", wide, inner) | linear(f"{at}.output.dense", inner, wide)
        found |= norm(f"{at}.output.LayerNorm", wide)
    if network.part == "discriminator":
        found |= linear("discriminator_predictions.dense", wide, wide)
        return found | linear("discriminator_predictions.dense_prediction", wide, 1)
    if network.part in ("generator", "masked-lm"):
        found |= linear("generator_predictions.dense", wide, narrow) | norm("generator_predictions.LayerNorm", narrow)
        return found | {"generator_lm_head.bias": (vocabulary,)}
    found |= linear("classifier.dense", wide, wide)
    return found | linear("classifier.out_proj", wide, network.outputs)


def checked_tensors(network: Network, where: str) -> dict[str, Tensor]:
    """The network's tensors in float32 and contiguous, after comparing names and shapes with the format's.

    Args:
        network: what to export.
        where: the artifact, for the error.

    Raises:
        ArtifactError: a tensor is missing, unknown or of another shape (`TENSOR_MISMATCH`).
    """
    expected = expected_tensors(network)
    problems = [f"{name} is missing" for name in expected if name not in network.tensors]
    for name, tensor in network.tensors.items():
        if name not in expected:
            problems.append(f"{name} has no place in {CLASS_OF[network.part]}")
        elif tuple(tensor.shape) != expected[name]:
            problems.append(f"{name} has shape {tuple(tensor.shape)} and needs {expected[name]}")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ArtifactError(
            f"the weights do not fit the architecture in the manifest: {'; '.join(problems[:3])}{more}",
            code="TENSOR_MISMATCH",
            where=where,
            hint="`electra verify` tells whether the artifact is still what was published",
        )
    return {name: network.tensors[name].float().contiguous() for name in sorted(expected)}
