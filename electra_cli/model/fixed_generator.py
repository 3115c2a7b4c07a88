"""Generators without parameters: samples that are uniform over the vocabulary, or as frequent as in the text.

The paper tried the unigram one (section 3.2), the released code has the uniform one (`uniform_generator`, electra.md
3.5).

Shapes: P masked slots (flattened over the batch), V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from electra_cli.model.generator_head import GeneratorOutput

NEVER = -1e4  # log-probability of ids that are never drawn: exp() of it is 0, and unlike -inf it can be saved


class FixedGenerator(nn.Module):
    """One distribution for every position.

    Args:
        vocab_size: V.
        frequencies: whether the distribution is that of the text, to be set with `count`; else it is uniform.
    """

    log_probability_V: Tensor | None

    def __init__(self, vocab_size: int, *, frequencies: bool) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        # A buffer, so that checkpoints hold it; without `count` it would be no distribution.
        self.register_buffer("log_probability_V", torch.full((vocab_size,), NEVER) if frequencies else None)

    def count(self, counts_V: Tensor, *, never: Sequence[int]) -> None:
        """Take the distribution from how often each id occurs; the ids in `never` get none of it.

        An id that does not occur counts as one that occurs once, so that its loss in other text is finite.
        """
        assert self.log_probability_V is not None, "a uniform generator counts nothing"
        counts_V = counts_V.to(self.log_probability_V.device).double().clamp(min=1)
        counts_V[list(never)] = 0
        log_V = (counts_V / counts_V.sum()).log()
        self.log_probability_V.copy_(torch.where(counts_V > 0, log_V, NEVER))

    def forward(self, target_P: Tensor, weight_P: Tensor, uniform_P: Tensor, *, temperature: float) -> GeneratorOutput:
        """As `generator_output`; the loss is a constant, without a gradient."""
        if self.log_probability_V is None:
            nll_P = torch.full(target_P.shape, math.log(self.vocab_size), device=target_P.device)
            sample_P = (uniform_P * self.vocab_size).long().clamp(max=self.vocab_size - 1)
            # Every id is the most probable one; the first stands for all.
            return GeneratorOutput((nll_P * weight_P).sum(), nll_P, sample_P, nll_P, target_P == 0)
        log_V = self.log_probability_V
        drawn_V = log_V > NEVER
        ends_V = torch.where(drawn_V, (log_V.double() / temperature).exp(), 0.0).cumsum(0)
        # Rounding may push the number to the very end: take the last id that has any weight.
        last = self.vocab_size - 1 - drawn_V.flip(0).to(torch.int8).argmax()
        sample_P = torch.minimum(torch.searchsorted(ends_V, uniform_P * ends_V[-1], right=True), last)
        nll_P = -log_V[target_P]
        correct_P = target_P == log_V.argmax()
        return GeneratorOutput((nll_P * weight_P).sum(), nll_P, sample_P, -log_V[sample_P], correct_P)
