"""Gradient-disentangled embedding sharing: the discriminator reads the generator's words and does not write them.

From DeBERTa V3 (He, Gao and Chen, arXiv 2111.09543). With shared embeddings the two losses pull the one
table into different directions; here the discriminator's table is the generator's, through which no gradient passes,
plus a difference of its own that starts at zero.

Letters: E embedding width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from electra_cli.model.encoder import Embeddings
from electra_cli.model.shape import EncoderShape


class DisentangledEmbeddings(Embeddings):
    """Embeddings whose word table is another's plus a difference; positions, segments and LayerNorm are their own.

    Args:
        shape: of the network that reads them.
        source: the generator's embeddings, with a word table of the same width.

    Raises:
        ValueError: the tables differ in width.
    """

    def __init__(self, shape: EncoderShape, source: Embeddings) -> None:
        super().__init__(shape)
        if source.word.shape != self.word.shape:
            raise ValueError("generator.embeddings = gdes needs word tables of one width in both networks")
        del self.word  # the sum below takes its name
        self.delta = nn.Parameter(torch.empty(shape.vocab_size, shape.embedding_size))
        self._source = (source,)  # a tuple, since its parameters are not ours

    @property
    def word(self) -> Tensor:  # type: ignore[override]
        """The word table (V, E) that the network sees; its gradient is the difference's."""
        return self._source[0].word.detach() + self.delta
