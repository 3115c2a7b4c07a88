"""Pretraining loops over transformers' modules on a GPU: as people write it, and the best that a skilled user writes.

`plain` (3): autocast to bfloat16, ElectraForMaskedLM and ElectraForPreTraining with shared embeddings, the loss over
the logits of all positions, Gumbel-max samples at the masked ones, torch's AdamW as it comes, clipping at 1.0. The
tricks that make a tuned loop (4) of it on a CPU (allocator, float32 products) do nothing on a GPU, so there is no (4).

`best` (5): the same with the head and its loss on the masked positions only, samples by inverse cumulative distribution
with one uniform number a row, fused AdamW, nothing that waits for the device.

Each also with its two losses compiled by torch.compile, and (5) in its mode with CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.gpu_arithmetic import Size
from benchmarks.gpu_steps import make_batch
from electra_cli.model.encoder import segment_types
from electra_cli.model.pretraining import MaskedBatch
from electra_cli.model.shape import EncoderShape

PEERS = {
    "(3) plain": ("plain", "off"),
    "(5) best": ("best", "off"),
    "(3) plain, compiled": ("plain", "default"),
    "(5) best, compiled": ("best", "default"),
    "(5) best, compiled with CUDA graphs": ("best", "reduce-overhead"),
}


def theirs(
    kind: str, mode: str, size: Size, device: torch.device, *, rows: int, length: int
) -> Callable[[int], Tensor]:
    """A function that takes one step of a peer's loop and returns its loss, on the device."""
    generator, discriminator, parameters = build(size, device)
    best = kind == "best"
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.01, fused=True if best else None)
    batches = [make_batch(size, device, rows=rows, length=length, number=number).batch for number in range(4)]
    compute = best_loss if best else plain_loss
    if mode != "off":
        compute = torch.compile(compute, mode=mode, dynamic=False)

    def take(number: int) -> Tensor:
        if mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(device.type, torch.bfloat16):
            loss = compute(generator, discriminator, batches[number % len(batches)])
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return take


def build(size: Size, device: torch.device) -> tuple[nn.Module, nn.Module, list[nn.Parameter]]:
    """Both models with shared embeddings, in training mode, and their distinct parameters."""
    from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

    def configuration(shape: EncoderShape) -> ElectraConfig:
        return ElectraConfig(
            vocab_size=shape.vocab_size,
            embedding_size=shape.embedding_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.feed_forward,
            max_position_embeddings=shape.positions,
        )

    generator = ElectraForMaskedLM(configuration(size.narrow)).to(device)
    discriminator = ElectraForPreTraining(configuration(size.shape)).to(device)
    discriminator.electra.embeddings = generator.electra.embeddings
    parameters = list({id(p): p for model in (generator, discriminator) for p in model.parameters()}.values())
    return generator.train(), discriminator.train(), parameters


def plain_loss(generator: nn.Module, discriminator: nn.Module, batch: MaskedBatch) -> Tensor:
    """Logits at all positions, Gumbel-max at the masked ones."""
    types_BL = segment_types(batch.first_B, batch.ids_BL.shape[1])
    is_masked_BL = torch.zeros_like(batch.ids_BL, dtype=torch.bool).scatter_(1, batch.positions_BP, batch.used_BP)
    labels_BL = batch.ids_BL.masked_fill(~is_masked_BL, -100)
    guessed = generator(input_ids=batch.masked_BL, token_type_ids=types_BL, labels=labels_BL)
    with torch.no_grad():
        index = batch.positions_BP[..., None].expand(-1, -1, guessed.logits.shape[-1])
        logits_BPV = guessed.logits.gather(1, index).float()
        sample_BP = (logits_BPV - torch.empty_like(logits_BPV).exponential_().log()).argmax(-1)
    return guessed.loss + 50 * judged(discriminator, batch, types_BL, sample_BP)


def best_loss(generator: nn.Module, discriminator: nn.Module, batch: MaskedBatch) -> Tensor:
    """The head at the masked positions only (as many in every full row), samples by inverse cumulative distribution."""
    types_BL = segment_types(batch.first_B, batch.ids_BL.shape[1])
    h_BLD = generator.electra(input_ids=batch.masked_BL, token_type_ids=types_BL).last_hidden_state
    h_PD = h_BLD.gather(1, batch.positions_BP[..., None].expand(-1, -1, h_BLD.shape[-1])).flatten(0, 1)
    logits_PV = generator.generator_lm_head(generator.generator_predictions(h_PD)).float()
    guess = F.cross_entropy(logits_PV, batch.ids_BL.gather(1, batch.positions_BP).flatten())
    with torch.no_grad():
        ends_PV = logits_PV.softmax(-1).cumsum(-1)
        wanted_P1 = torch.rand(len(ends_PV), 1, device=ends_PV.device) * ends_PV[:, -1:]
        sample_P = torch.searchsorted(ends_PV, wanted_P1, right=True)[:, 0].clamp_(max=ends_PV.shape[1] - 1)
    return guess + 50 * judged(discriminator, batch, types_BL, sample_P.view_as(batch.positions_BP))


def judged(discriminator: nn.Module, batch: MaskedBatch, types_BL: Tensor, sample_BP: Tensor) -> Tensor:
    """The discriminator's loss on the filled rows."""
    filled_BL = batch.ids_BL.scatter(1, batch.positions_BP, sample_BP)
    replaced_BL = (filled_BL != batch.ids_BL).long()
    loss: Tensor = discriminator(input_ids=filled_BL, token_type_ids=types_BL, labels=replaced_BL).loss
    return loss
