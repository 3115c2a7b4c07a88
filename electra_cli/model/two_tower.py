"""Electric's generator: what stands at a position, from everything before it and everything after it.

A left-to-right and a right-to-left stack read the *unmasked* row, each under a causal mask. Their outputs are shifted
by one, so that position t has the first stack's state after t - 1 and the second's after t + 1 and sees everything but
itself, and put side by side (Clark et al., "Pre-Training Transformers as Energy-Based Cloze Models", EMNLP 2020;
released code, `TwoTowerClozeTransformer`; electra.md 3.5). One pass gives a prediction for every position.

At a text's two ends the shift wraps around: `[CLS]` and the last `[SEP]` see themselves there, but those are never
candidates. The released code wraps at the end of the padding; here it is the text's own end, so that neither padding
nor another text in the row changes anything.

Shapes: B batch, L tokens in a row, P masked slots in a row, D width of one tower, E embedding width, N = B * L
positions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from electra_cli.model.encoder import Embeddings, Encoder
from electra_cli.model.generator_head import GeneratorOutput, generator_output
from electra_cli.model.noise import Noise, drop
from electra_cli.model.pieces import apart, begins_and_sizes
from electra_cli.model.shape import EncoderShape


@dataclass(frozen=True)
class Cloze:
    """What the two towers say of every position.

    Attributes:
        generator: their head at the masked slots; its loss is the sum over all candidate positions.
        log_q_BL: log-probability of each token of the filled text, float32, without a gradient.
    """

    generator: GeneratorOutput
    log_q_BL: Tensor


class TwoTower(nn.Module):
    """The two stacks.

    Args:
        shape: of each.
        embeddings: what both read; None makes each its own.
    """

    def __init__(self, shape: EncoderShape, embeddings: Embeddings | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.ltr = Encoder(shape, embeddings)
        self.rtl = Encoder(shape, embeddings)

    def forward(
        self,
        ids_BL: Tensor,
        types_BL: Tensor,
        *,
        lengths_B: Tensor | None = None,
        starts_BL: Tensor | None = None,
        noise: Noise | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """h_BL2D in `dtype`: what is known of each position without looking at it; arguments as `Encoder.forward`."""
        states = []
        for tower, step in ((self.ltr, -1), (self.rtl, 1)):
            h_BLD = drop(tower.embeddings(ids_BL, types_BL, starts_BL), self.shape.dropout, noise).to(dtype)
            if tower.project is not None:
                h_BLD = tower.project(h_BLD)
            bias_B1LL = causal_bias(
                ids_BL.shape[1], lengths_B, starts_BL, backwards=step > 0, dtype=dtype, device=ids_BL.device
            )
            for layer in tower.layers:
                h_BLD = layer(h_BLD, bias_B1LL, noise)
            states.append(neighbour(h_BLD, step, lengths_B=lengths_B, starts_BL=starts_BL))
        return torch.cat(states, -1)


def causal_bias(
    length: int,
    lengths_B: Tensor | None,
    starts_BL: Tensor | None = None,
    *,
    backwards: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Additive bias (B or 1, 1, L, L) that leaves each position itself and those of its text before or behind it."""
    column_L = torch.arange(length, device=device)
    ahead_LL = column_L[None, :] - column_L[:, None]  # of the key, as seen from the query
    hidden_BLL = (ahead_LL < 0 if backwards else ahead_LL > 0)[None]
    if starts_BL is not None:
        hidden_BLL = hidden_BLL | apart(starts_BL, lengths_B)
    elif lengths_B is not None:
        hidden_BLL = hidden_BLL | (column_L >= lengths_B[:, None])[:, None, :]
    bias_BLL = torch.zeros(hidden_BLL.shape, dtype=dtype, device=device)
    return bias_BLL.masked_fill_(hidden_BLL, torch.finfo(dtype).min)[:, None]


def neighbour(h_BLD: Tensor, step: int, *, lengths_B: Tensor | None, starts_BL: Tensor | None = None) -> Tensor:
    """At each position the state `step` further on, around its text's own end; padding gets anything."""
    if lengths_B is None and starts_BL is None:
        return h_BLD.roll(-step, 1)
    column_L = torch.arange(h_BLD.shape[1], device=h_BLD.device)
    if starts_BL is None:
        assert lengths_B is not None
        from_BL = (column_L[None, :] + step) % lengths_B[:, None]
    else:
        begin_BL, size_BL = begins_and_sizes(starts_BL, lengths_B)
        from_BL = begin_BL + (column_L - begin_BL + step) % size_BL
    return h_BLD.gather(1, from_BL[..., None].expand_as(h_BLD))


def cloze(
    h_NE: Tensor,
    word_VE: Tensor,
    bias_V: Tensor,
    *,
    ids_BL: Tensor,
    candidate_BL: Tensor,
    positions_BP: Tensor,
    used_BP: Tensor,
    uniform_BP: Tensor,
) -> Cloze:
    """Score every token of the row, and sample at the masked slots.

    Args:
        h_NE: transformed hidden states of all positions, in the compute type.
        word_VE: output weights (float32).
        bias_V: output bias (float32).
        ids_BL: the original ids.
        candidate_BL: the positions that could have been masked: those that the loss covers.
        positions_BP, used_BP, uniform_BP: the masked slots, as in `MaskedBatch`.
    """
    uniform_BL = uniform_BP.new_zeros(ids_BL.shape).scatter(1, positions_BP, uniform_BP * used_BP)
    every = generator_output(
        h_NE,
        word_VE,
        bias_V,
        target_P=ids_BL.flatten(),
        weight_P=candidate_BL.flatten().float(),
        uniform_P=uniform_BL.flatten(),
    )
    nll_BL = every.nll_P.view(ids_BL.shape)

    def at_slots(x_N: Tensor) -> Tensor:
        return x_N.view(ids_BL.shape).gather(1, positions_BP)

    nll_BP, sample_nll_BP = at_slots(every.nll_P), at_slots(every.sample_nll_P)
    log_q_BL = -nll_BL.scatter(1, positions_BP, torch.where(used_BP, sample_nll_BP, nll_BP))
    generator = GeneratorOutput(
        loss=every.loss,
        nll_P=nll_BP.flatten(),
        sample_P=at_slots(every.sample_P).flatten(),
        sample_nll_P=sample_nll_BP.flatten(),
        correct_P=at_slots(every.correct_P).flatten(),
    )
    return Cloze(generator, log_q_BL)
