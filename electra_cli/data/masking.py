"""Which tokens are hidden from the generator, drawn on the device as a pure function of the sample.

The recipe is the paper's: a fixed share of each row's tokens, special tokens never, 85 % of the drawn positions shown
as [MASK] and 15 % left as they are, all of them predicted and all of them overwritten by the generator's samples
(electra.md 2). Positions are drawn without replacement; the released code draws with it, which its author calls an
oversight (electra.md 2.3, 10).

Shapes: B batch, L tokens in a row, P masked slots in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from electra_cli.runtime.counters import draw_bits, key, uniform

# Purposes of draws: part of the key, so that no two draws of a sample are the same numbers.
POSITIONS, TREATMENT, SAMPLES = 1, 2, 3


@dataclass(frozen=True)
class MaskingRule:
    """How rows are masked.

    Attributes:
        fraction: share of a row's tokens (special ones counted) that is masked; paper .15, large .25.
        shown_as_mask: share of the masked positions that the generator sees as [MASK] (released code: .85).
        special_ids: ids that are never masked ([CLS], [SEP], [MASK], [PAD]; not [UNK]).
        mask_id: the id of [MASK].
    """

    fraction: float
    shown_as_mask: float
    special_ids: tuple[int, ...]
    mask_id: int

    def slots(self, length: int) -> int:
        """P: the most positions that a row of `length` tokens can have masked (electra.md 2.1)."""
        return max(1, int((self.fraction + 0.005) * length))


@dataclass(frozen=True)
class Masks:
    """The draw for one batch; the fields are those of `model.pretraining.MaskedBatch`."""

    masked_BL: Tensor
    positions_BP: Tensor
    used_BP: Tensor
    uniform_BP: Tensor


def candidates(ids_BL: Tensor, lengths_B: Tensor, rule: MaskingRule) -> Tensor:
    """The positions (B, L) that may be masked: no padding and no special ids (electra.md 2.2)."""
    candidate_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device)[None, :] < lengths_B[:, None]
    for special in rule.special_ids:
        candidate_BL &= ids_BL != special
    return candidate_BL


def draw_masks(
    ids_BL: Tensor, lengths_B: Tensor, *, rule: MaskingRule, seed: int, epoch_B: Tensor, sample_B: Tensor
) -> Masks:
    """Draw the masked positions of a batch.

    Args:
        ids_BL: token ids, padded.
        lengths_B: tokens before the padding, special ones counted.
        rule: how to mask.
        seed: the run's seed.
        epoch_B: the epoch that each sample is in: another one, another draw.
        sample_B: each sample's index in the data.

    Returns:
        Masks; a row with fewer maskable tokens than its share uses fewer slots.
    """
    length = ids_BL.shape[1]
    slots = rule.slots(length)
    sample_B = sample_B + (epoch_B << 40)  # 2**40 samples are more than any corpus has
    candidate_BL = candidates(ids_BL, lengths_B, rule)
    order_BL = draw_bits(key(seed, POSITIONS), sample_B, length)
    order_BL = torch.where(candidate_BL, order_BL, torch.iinfo(torch.int64).max)
    positions_BP = order_BL.topk(slots, dim=1, largest=False).indices
    # round() is half to even, as in the released code
    wanted_B = (lengths_B.to(torch.float64) * rule.fraction).round().to(torch.int64).clamp(1, slots)
    wanted_B = torch.minimum(wanted_B, candidate_BL.sum(1))
    used_BP = torch.arange(slots, device=ids_BL.device)[None, :] < wanted_B[:, None]
    positions_BP = torch.where(used_BP, positions_BP, 0)
    hide_BP = used_BP & (uniform(draw_bits(key(seed, TREATMENT), sample_B, slots)) < rule.shown_as_mask)
    shown_BP = torch.where(hide_BP, rule.mask_id, ids_BL.gather(1, positions_BP))
    return Masks(
        masked_BL=ids_BL.scatter(1, positions_BP, shown_BP),
        positions_BP=positions_BP,
        used_BP=used_BP,
        uniform_BP=uniform(draw_bits(key(seed, SAMPLES), sample_B, slots)),
    )
