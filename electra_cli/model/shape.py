"""The size of one encoder, and how the generator's follows from the discriminator's."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

HEAD_WIDTH = 64  # hidden units per attention head in every published ELECTRA (electra.md 3.2)


@dataclass(frozen=True)
class EncoderShape:
    """Everything that fixes an encoder's parameters and arithmetic (paper, Table 6)."""

    vocab_size: int
    embedding_size: int
    hidden_size: int
    layers: int
    heads: int
    feed_forward: int
    positions: int = 512
    types: int = 2
    dropout: float = 0.1
    attention_dropout: float = 0.1
    eps: float = 1e-12

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")

    @property
    def head_width(self) -> int:
        """Width K of one attention head."""
        return self.hidden_size // self.heads

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The shape that `to_dict` described."""
        return cls(**fields)


def generator_shape(
    discriminator: EncoderShape, *, size: float, layers: float = 1.0, own_embeddings: bool = False
) -> EncoderShape:
    """The generator beside `discriminator`: `size` times its width and `layers` times its depth.

    Width is rounded, heads and feed-forward follow from it (released code, `get_generator_config`). The embeddings are
    the discriminator's, so their width stays; with `own_embeddings` they are as wide as the generator's layers and
    need no projection (released code, `untied_generator_embeddings`).
    """
    hidden = round(discriminator.hidden_size * size)
    ratio = discriminator.feed_forward / discriminator.hidden_size
    return replace(
        discriminator,
        embedding_size=hidden if own_embeddings else discriminator.embedding_size,
        hidden_size=hidden,
        layers=max(1, round(discriminator.layers * layers)),
        heads=max(1, hidden // discriminator.head_width),
        feed_forward=round(ratio * hidden),
    )
