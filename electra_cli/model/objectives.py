"""What the large network learns of the filled text, and the arithmetic of each objective's loss.

`judge` is ELECTRA's (and Electric's), the others predict words: the rows of the paper's Table 5 that show where
ELECTRA's gain comes from. Losses are sums; what divides them is in `variants.Variant`.

Shapes: B batch, L tokens in a row, P masked slots in a row, N = B * L positions, E embedding width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from electra_cli.model.generator_head import GeneratorOutput, generator_output


class Judgement(NamedTuple):
    """What the discriminator says; the last four fields of `PairOutput`.

    Attributes:
        logits_BL: positive means "replaced", float32.
        labels_BL: what it should say.
        judged_BL: the positions that count.
        loss: sum over them of the binary cross-entropy.
    """

    logits_BL: Tensor
    labels_BL: Tensor
    judged_BL: Tensor
    loss: Tensor


@dataclass(frozen=True)
class WordOutput:
    """One forward pass of an objective in which the large network predicts words.

    Attributes:
        generator: the generator's head at the masked slots, flattened to (B * P); None where there is no generator.
        replaced_BL: where the large network's input differs from the original by a sample; None without a generator.
        loss: sum of the large network's cross-entropy over the positions that count, with a gradient.
        correct_P: whether its most probable word is the original at each masked slot (copying left out), flattened.
    """

    generator: GeneratorOutput | None
    replaced_BL: Tensor | None
    loss: Tensor
    correct_P: Tensor


def judge(logits_BL: Tensor, labels_BL: Tensor, judged_BL: Tensor) -> Judgement:
    """The binary cross-entropy of telling replaced tokens, over `judged_BL` (electra.md 4)."""
    bce_BL = F.binary_cross_entropy_with_logits(logits_BL, labels_BL.float(), reduction="none")
    return Judgement(logits_BL, labels_BL, judged_BL, (bce_BL * judged_BL).sum())


def counted(lengths_B: Tensor | None, shape: torch.Size, device: torch.device) -> Tensor:
    """The positions (B, L) that are no padding."""
    if lengths_B is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    return torch.arange(shape[1], device=device)[None, :] < lengths_B[:, None]


def at_slots(x_BL: Tensor, positions_BP: Tensor) -> Tensor:
    """The values (B, L, …) at the masked slots, flattened to (B * P, …)."""
    if x_BL.ndim == 3:
        positions_BP = positions_BP[..., None].expand(-1, -1, x_BL.shape[-1])
    return x_BL.gather(1, positions_BP).flatten(0, 1)


def copying(
    h_NE: Tensor,
    word_VE: Tensor,
    bias_V: Tensor,
    *,
    gate_N: Tensor,
    target_N: Tensor,
    copied_N: Tensor,
    weight_N: Tensor,
) -> tuple[Tensor, Tensor]:
    """The loss of predicting every token with a copy mechanism (paper, Table 5, "All-Tokens MLM").

    p(x) = D 1[x = input] + (1 - D) softmax(x), with D = sigmoid(gate).

    The head gives its loss without ever holding all logits, and has to know each row's weight beforehand. The weight
    of the softmax in the gradient of -log p is its share of p, so there are two passes: one to learn the shares, and
    one for the gradient.

    Args:
        h_NE: transformed hidden states.
        word_VE: output weights.
        bias_V: output bias.
        gate_N: logit of copying, float32.
        target_N: original ids.
        copied_N: where the input is the original.
        weight_N: weight of each position in the loss, float32.

    Returns:
        The weighted sum of -log p(target), and whether the softmax's most probable id is the target.
    """
    nothing_N = torch.zeros(len(target_N), dtype=torch.float64, device=target_N.device)
    first = generator_output(
        h_NE.detach(), word_VE.detach(), bias_V.detach(), target_P=target_N, weight_P=weight_N, uniform_P=nothing_N
    )
    predicted_N = F.logsigmoid(-gate_N) - first.nll_P
    log_p_N = torch.where(copied_N, torch.logaddexp(F.logsigmoid(gate_N), predicted_N), predicted_N)
    loss = -(log_p_N * weight_N).sum()
    if not torch.is_grad_enabled():
        return loss, first.correct_P
    share_N = (predicted_N - log_p_N).detach().exp()
    again = generator_output(h_NE, word_VE, bias_V, target_P=target_N, weight_P=weight_N * share_N, uniform_P=nothing_N)
    return loss + again.loss - again.loss.detach(), first.correct_P
