"""An independent reading of an exported folder: plain arithmetic on the public tensor names, in float64.

It is written from the format's description alone and shares no code with `electra_cli.model`, so an error there and an
error in the export cannot cancel. It is slow, has no dropout and no gradients, and is exact enough to be the yardstick.

Shapes: B batch, L tokens, D width, E embedding width, H heads, K head width, V vocabulary, C classes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

ARCHITECTURES = ("ElectraForPreTraining", "ElectraForMaskedLM", "ElectraForSequenceClassification")


class Reference:
    """A folder in the Hugging Face layout (`config.json`, `model.safetensors`), ready to compute logits.

    Args:
        folder: the exported folder.

    Raises:
        ValueError: the configuration asks for something that this format does not have.
        KeyError: a tensor or a key of the configuration is missing; the key is its name.
    """

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (self.architecture,) = self.config["architectures"]
        if self.config["model_type"] != "electra" or self.architecture not in ARCHITECTURES:
            raise ValueError(f"{self.config['model_type']}/{self.architecture} is not an ELECTRA class that we export")
        if self.config["hidden_act"] != "gelu":
            raise ValueError(f"hidden_act {self.config['hidden_act']} is not the exact GELU")
        self.tensors: dict[str, Tensor] = {}
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            if (file.metadata() or {}).get("format") != "pt":
                raise ValueError('model.safetensors lacks the metadata {"format": "pt"}')
            for name in file.keys():  # noqa: SIM118 - it is no dictionary
                self.tensors[name] = file.get_tensor(name).double()

    def logits(self, ids_BL: Tensor, types_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """What the folder's class computes: (B, L), (B, L, V) or (B, C), in float64.

        Args:
            ids_BL: token ids.
            types_BL: segment ids.
            mask_BL: 1 for tokens, 0 for padding; logits at padding mean nothing.
        """
        h_BLD = self._encode(ids_BL, types_BL, mask_BL)
        if self.architecture == "ElectraForPreTraining":
            h_BLD = _gelu(self._linear(h_BLD, "discriminator_predictions.dense"))
            return self._linear(h_BLD, "discriminator_predictions.dense_prediction")[:, :, 0]
        if self.architecture == "ElectraForMaskedLM":
            h_BLE = _gelu(self._linear(h_BLD, "generator_predictions.dense"))
            h_BLE = self._norm(h_BLE, "generator_predictions.LayerNorm")
            word = self.tensors["electra.embeddings.word_embeddings.weight"]  # tied: the file has no lm_head.weight
            return torch.einsum("ble,ve->blv", h_BLE, word) + self.tensors["generator_lm_head.bias"]
        first_BD = _gelu(self._linear(h_BLD[:, 0], "classifier.dense"))
        return self._linear(first_BD, "classifier.out_proj")

    def _encode(self, ids_BL: Tensor, types_BL: Tensor, mask_BL: Tensor) -> Tensor:
        at = "electra.embeddings."
        e_BLE = self.tensors[at + "word_embeddings.weight"][ids_BL]
        e_BLE = e_BLE + self.tensors[at + "token_type_embeddings.weight"][types_BL]
        e_BLE = e_BLE + self.tensors[at + "position_embeddings.weight"][: ids_BL.shape[1]]
        h_BLD = self._norm(e_BLE, at + "LayerNorm")
        if self.config["embedding_size"] != self.config["hidden_size"]:
            h_BLD = self._linear(h_BLD, "electra.embeddings_project")
        for layer in range(self.config["num_hidden_layers"]):
            h_BLD = self._layer(h_BLD, mask_BL, f"electra.encoder.layer.{layer}")
        return h_BLD

    def _layer(self, h_BLD: Tensor, mask_BL: Tensor, at: str) -> Tensor:
        heads = self.config["num_attention_heads"]
        width = self.config["hidden_size"] // heads

        def split(name: str) -> Tensor:
            return self._linear(h_BLD, f"{at}.attention.self.{name}").reshape(*h_BLD.shape[:2], heads, width)

        scores_BHLL = torch.einsum("bqhk,bshk->bhqs", split("query"), split("key")) / math.sqrt(width)
        scores_BHLL = scores_BHLL.masked_fill(mask_BL[:, None, None, :] == 0, -math.inf)
        mixed_BLD = torch.einsum("bhqs,bshk->bqhk", torch.softmax(scores_BHLL, -1), split("value")).flatten(-2)
        mixed_BLD = self._linear(mixed_BLD, f"{at}.attention.output.dense")
        h_BLD = self._norm(mixed_BLD + h_BLD, f"{at}.attention.output.LayerNorm")
        f_BLD = _gelu(self._linear(h_BLD, f"{at}.intermediate.dense"))
        return self._norm(self._linear(f_BLD, f"{at}.output.dense") + h_BLD, f"{at}.output.LayerNorm")

    def _linear(self, x: Tensor, at: str) -> Tensor:
        return torch.einsum("...i,oi->...o", x, self.tensors[f"{at}.weight"]) + self.tensors[f"{at}.bias"]

    def _norm(self, x: Tensor, at: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + self.config["layer_norm_eps"]).rsqrt()
        scaled: Tensor = centred * scale * self.tensors[f"{at}.weight"]
        return scaled + self.tensors[f"{at}.bias"]


def _gelu(x: Tensor) -> Tensor:
    """The exact GELU: x times the normal distribution's cumulative probability of x."""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))
