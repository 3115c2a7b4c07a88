"""From a run's settings and a vocabulary to the rule by which rows are masked."""

from __future__ import annotations

import torch

from electra_cli.artifacts import Artifact
from electra_cli.data.masking import MaskingRule
from electra_cli.runtime.machine import Machine
from electra_cli.stages.pretrain_settings import ObjectiveSettings
from electra_cli.text.tokenizer_files import read_parts


def masking_rule(objective: ObjectiveSettings, source: Artifact, *, vocab_size: int, machine: Machine) -> MaskingRule:
    """The rule for the vocabulary of `source`: [UNK] may be masked, the other special ids never.

    Args:
        objective: how to mask.
        source: shards or a checkpoint: its spec holds the special ids, its folder `tokenizer` the vocabulary.
        vocab_size: entries of the vocabulary.
        machine: where the tables lie.

    Raises:
        ArtifactError: the vocabulary is needed and damaged.
    """
    special = {name: int(number) for name, number in source.spec["special_ids"].items()}
    never = tuple(sorted(number for name, number in special.items() if name != "unk"))
    words_W = continues_V = None
    if objective.shown_as_random:
        is_word_V = torch.ones(vocab_size, dtype=torch.bool)
        is_word_V[list(special.values())] = False  # [UNK] too: it is no word
        words_W = is_word_V.nonzero()[:, 0].to(machine.device)
    if objective.whole_words:
        folder = source.check_file("tokenizer/tokenizer.json").parent
        continues_V = torch.tensor(read_parts(folder).continues_word()).to(machine.device)
    return MaskingRule(
        fraction=objective.mask_fraction,
        shown_as_mask=objective.shown_as_mask,
        special_ids=never,
        mask_id=special["mask"],
        shown_as_random=objective.shown_as_random,
        draw=objective.mask_draw,
        whole_words=objective.whole_words,
        words_W=words_W,
        continues_V=continues_V,
    )
