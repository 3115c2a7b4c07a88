"""An encoder with a classification head, in the layout that the ecosystem loads.

The head is that of the public `ElectraForSequenceClassification` (first token → dropout → dense → GELU → dropout →
linear), so that an export gives the same answers elsewhere; the released TensorFlow code has dropout and one linear
layer (electra.md 6.2).

Shapes: B batch, L tokens, D width, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from electra_cli.model.encoder import Encoder, Linear
from electra_cli.model.noise import Noise, drop
from electra_cli.model.shape import EncoderShape


class Classifier(nn.Module):
    """Token ids → logits over classes, or one number for regression (C = 1)."""

    def __init__(self, shape: EncoderShape, classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape)
        self.dense = Linear(shape.hidden_size, shape.hidden_size)
        self.out = Linear(shape.hidden_size, classes)

    def forward(
        self,
        ids_BL: Tensor,
        types_BL: Tensor,
        *,
        lengths_B: Tensor | None = None,
        noise: Noise | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """logits_BC in float32; arguments as `Encoder.forward`."""
        h_BLD = self.encoder(ids_BL, types_BL, lengths_B=lengths_B, noise=noise, dtype=dtype)
        first_BD = drop(h_BLD[:, 0], self.shape.dropout, noise)
        hidden_BD = drop(F.gelu(self.dense(first_BD)), self.shape.dropout, noise)
        return self.out(hidden_BD).float()  # type: ignore[no-any-return]
