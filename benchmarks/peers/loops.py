"""Pretraining loops over transformers' modules: as people write it, tuned, and the best that a skilled user writes.

`transformers` and `transformers-fp32` (3, 3f): ElectraForMaskedLM and ElectraForPreTraining with shared embeddings, the
masked-language-model loss over the logits of all positions, Gumbel-max samples at the masked ones, torch's AdamW as it
comes, clipping at 1.0, torch's default matmul setting, glibc's default allocator, attention as transformers chooses it.

`tuned` and `tuned-fp32` (4, 4f): the same with our allocator setting and our float32 matmul setting.

`best` (5): (4) with the head and its loss on the masked positions only, samples by inverse cumulative distribution (one
uniform number a row instead of one an id), fused AdamW, and explicit ("eager") attention, which on a CPU in bf16 is
faster than torch's fused kernel.

Rows, masks and segment ids are ours, drawn by `stages.pair.MaskedRows`. Rows are full, so no attention mask
is given.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from benchmarks.peers.contestants import CONTESTANTS, Job, Size
from benchmarks.peers.gate import Gate
from electra_cli.artifacts import open_artifact
from electra_cli.data.shards import ShardSet
from electra_cli.model.encoder import segment_types
from electra_cli.model.pretraining import MaskedBatch
from electra_cli.runtime.machine import Machine, choose_machine, keep_freed_memory
from electra_cli.stages.masking_rule import masking_rule
from electra_cli.stages.pretrain_settings import ObjectiveSettings
from electra_cli.stages.rows import MaskedRows

DISCRIMINATOR_WEIGHT = 50.0


def configurations(size: Size, vocab_size: int) -> tuple[dict[str, int], dict[str, int]]:
    """Arguments of ElectraConfig for the generator and the discriminator; dropout is 0.1 by default there."""
    shared = {"vocab_size": vocab_size, "embedding_size": size.embedding, "num_hidden_layers": size.layers}
    generator = {
        "hidden_size": size.generator_hidden,
        "num_attention_heads": size.generator_heads,
        "intermediate_size": size.generator_feed_forward,
    }
    discriminator = {
        "hidden_size": size.hidden,
        "num_attention_heads": size.heads,
        "intermediate_size": size.feed_forward,
    }
    return {**shared, **generator}, {**shared, **discriminator}


def build(
    size: Size, vocab_size: int, *, share_norm: bool = True, **more: str
) -> tuple[ElectraForMaskedLM, ElectraForPreTraining, list[nn.Parameter]]:
    """Both models with shared embeddings, in training mode, and their distinct parameters.

    Args:
        size: of the model.
        vocab_size: entries of the vocabulary.
        share_norm: share the embeddings' LayerNorm too, not the three tables only.
        more: further arguments of ElectraConfig.
    """
    narrow, wide = configurations(size, vocab_size)
    generator = ElectraForMaskedLM(ElectraConfig(**narrow, **more))
    discriminator = ElectraForPreTraining(ElectraConfig(**wide, **more))
    if share_norm:
        discriminator.electra.embeddings = generator.electra.embeddings
    else:
        for table in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            setattr(discriminator.electra.embeddings, table, getattr(generator.electra.embeddings, table))
    parameters = list({id(p): p for model in (generator, discriminator) for p in model.parameters()}.values())
    return generator.train(), discriminator.train(), parameters


def masked_rows(job: Job) -> tuple[MaskedRows, int]:
    """The rows with our masks, on the CPU, and the size of the vocabulary."""
    source = open_artifact(job.shards, kinds={"shards"})
    machine = Machine(torch.device("cpu"), torch.float32)  # not choose_machine: it would set the matmul precision
    rule = masking_rule(ObjectiveSettings(), source, vocab_size=source.spec["vocab_size"], machine=machine)
    rows = MaskedRows(ShardSet(source, "train"), rule=rule, seed=job.seed, machine=machine)
    return rows, int(source.spec["vocab_size"])


def plain_losses(
    generator: ElectraForMaskedLM, discriminator: ElectraForPreTraining, batch: MaskedBatch
) -> tuple[Tensor, Tensor]:
    """Both losses with logits at all positions and Gumbel-max samples at the masked ones."""
    types_BL = segment_types(batch.first_B, batch.ids_BL.shape[1])
    is_masked_BL = torch.zeros_like(batch.ids_BL, dtype=torch.bool).scatter_(1, batch.positions_BP, batch.used_BP)
    labels_BL = batch.ids_BL.masked_fill(~is_masked_BL, -100)
    guessed = generator(input_ids=batch.masked_BL, token_type_ids=types_BL, labels=labels_BL)
    with torch.no_grad():
        logits_MV = guessed.logits[is_masked_BL].float()
        sample_M = (logits_MV - torch.empty_like(logits_MV).exponential_().log()).argmax(-1)
    filled_BL = batch.ids_BL.clone()
    filled_BL[is_masked_BL] = sample_M
    replaced_BL = (filled_BL != batch.ids_BL).long()
    judged = discriminator(input_ids=filled_BL, token_type_ids=types_BL, labels=replaced_BL)
    return guessed.loss, judged.loss


def lean_losses(
    generator: ElectraForMaskedLM, discriminator: ElectraForPreTraining, batch: MaskedBatch
) -> tuple[Tensor, Tensor]:
    """Both losses with the head on the masked positions only and samples by inverse cumulative distribution."""
    types_BL = segment_types(batch.first_B, batch.ids_BL.shape[1])
    h_BLD = generator.electra(input_ids=batch.masked_BL, token_type_ids=types_BL).last_hidden_state
    row, slot = batch.used_BP.nonzero(as_tuple=True)
    column = batch.positions_BP[row, slot]
    logits_MV = generator.generator_lm_head(generator.generator_predictions(h_BLD[row, column]))
    target_M = batch.ids_BL[row, column]
    guess = F.cross_entropy(logits_MV.float(), target_M)
    with torch.no_grad():
        ends_MV = logits_MV.float().softmax(-1).cumsum(-1)
        wanted_M1 = torch.rand(len(target_M), 1) * ends_MV[:, -1:]
        sample_M = torch.searchsorted(ends_MV, wanted_M1, right=True)[:, 0].clamp_(max=ends_MV.shape[1] - 1)
    filled_BL = batch.ids_BL.clone()
    filled_BL[row, column] = sample_M
    replaced_BL = (filled_BL != batch.ids_BL).long()
    judged = discriminator(input_ids=filled_BL, token_type_ids=types_BL, labels=replaced_BL)
    return guess, judged.loss


def run(job: Job, gate: Gate) -> None:
    """Train until the parent has seen enough."""
    kind, fp32 = job.name.removesuffix("-fp32"), CONTESTANTS[job.name].fp32
    if kind != "transformers":
        keep_freed_memory()
        choose_machine("cpu", "fp32")  # for its float32 matmul setting
    torch.manual_seed(job.seed)
    np.random.seed(job.seed)
    rows, vocab_size = masked_rows(job)
    best = kind == "best"
    generator, discriminator, parameters = build(
        job.size, vocab_size, **({"attn_implementation": "eager"} if best else {})
    )
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.01, fused=True if best else None)
    losses = lean_losses if best else plain_losses
    loss, step = None, 0
    while True:
        gate.passed(loss)
        batch, _ = rows.batch(step * job.batch, job.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=not fp32):
            generator_loss, discriminator_loss = losses(generator, discriminator, batch)
        total = generator_loss + DISCRIMINATOR_WEIGHT * discriminator_loss
        total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss, step = total.detach(), step + 1
