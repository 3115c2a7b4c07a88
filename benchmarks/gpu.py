"""Check the GPU path of pretraining against the CPU, and measure it. Needs one CUDA device; not run on one so far.

    python benchmarks/gpu.py [--steps 50]

1. The same weights and the same batch on both devices in float32: masks and samples equal, losses to 1e-4, gradients to
   1e-3 of their norm.
2. Tokens a second of `small` at 128 rows of 128 tokens in bf16, beside a plain bf16 loop over transformers' modules in
   the same run, as a ratio.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import torch

from electra_cli.data.masking import MaskingRule, draw_masks
from electra_cli.model.initialize import initialize
from electra_cli.model.noise import Noise
from electra_cli.model.pretraining import Electra, MaskedBatch
from electra_cli.model.shape import EncoderShape, generator_shape
from electra_cli.training.optimizer import build_optimizer, set_learning_rate

SMALL = EncoderShape(30_522, 128, 256, 12, 4, 1024)
RULE = MaskingRule(0.15, 0.85, (0, 101, 102, 103), 103)


def batch_on(device: torch.device, *, rows: int, length: int, short: bool) -> MaskedBatch:
    """Random rows with their masks, drawn on `device`."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1000, 30_522, (rows, length), generator=generator)
    ids[:, 0], ids[:, length // 2], ids[:, -1] = 101, 102, 102
    lengths = torch.full((rows,), length)
    if short:
        lengths[::3] = length - 10
    index = torch.arange(rows)
    ids, lengths, index = ids.to(device), lengths.to(device), index.to(device)
    masks = draw_masks(ids, lengths, rule=RULE, seed=3, epoch_B=torch.zeros_like(index), sample_B=index)
    first = torch.full_like(lengths, length // 2 + 1)
    fields = (masks.masked_BL, masks.positions_BP, masks.used_BP, masks.uniform_BP)
    return MaskedBatch(ids, lengths if short else None, first, *fields)


def step(model: Electra, batch: MaskedBatch, dtype: torch.dtype, noise: Noise | None) -> torch.Tensor:
    output = model(batch, noise=noise, dtype=dtype)
    loss = output.generator.loss / batch.used_BP.sum() + 50 * output.discriminator_loss / batch.tokens
    loss.backward()
    return loss.detach()


def check(device: torch.device) -> bool:
    """Whether both devices agree."""
    shape = replace(SMALL, dropout=0.0, attention_dropout=0.0)
    found = []
    for where in (torch.device("cpu"), device):
        model = Electra(shape, generator_shape(shape, size=0.25))
        initialize(model, seed=1)
        model.to(where)
        batch = batch_on(where, rows=8, length=128, short=True)
        loss = step(model, batch, torch.float32, None)
        gradient = torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None])
        found.append((batch.masked_BL.cpu(), loss.item(), gradient))
    (masks_a, loss_a, gradient_a), (masks_b, loss_b, gradient_b) = found
    off = (gradient_a - gradient_b).norm() / gradient_a.norm()
    print(
        f"masks equal: {torch.equal(masks_a, masks_b)}; loss {loss_a:.6f} and {loss_b:.6f}; gradients off by {off:.1e}"
    )
    return torch.equal(masks_a, masks_b) and abs(loss_a - loss_b) < 1e-4 * loss_a and off.item() < 1e-3


def rate(device: torch.device, take_step, *, steps: int, tokens: int) -> float:
    """Tokens a second of `take_step`, after a tenth of warm-up."""
    for number in range(max(3, steps // 10)):
        take_step(number)
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for number in range(steps):
        take_step(number)
    torch.cuda.synchronize(device)
    return steps * tokens / (time.perf_counter() - started)


def ours(device: torch.device):
    model = Electra(SMALL, generator_shape(SMALL, size=0.25))
    initialize(model, seed=1)
    model.to(device)
    optimizer = build_optimizer(model.named_parameters(), weight_decay=0.01)
    batch = batch_on(device, rows=128, length=128, short=False)

    def take_step(number: int) -> None:
        step(model, batch, torch.bfloat16, Noise(number, device))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        set_learning_rate(optimizer, 1e-4)
        optimizer.step()
        optimizer.zero_grad()

    return take_step


def theirs(device: torch.device):
    from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

    small = ElectraConfig()
    narrow = ElectraConfig(hidden_size=64, num_attention_heads=1, intermediate_size=256)
    generator, discriminator = ElectraForMaskedLM(narrow).to(device), ElectraForPreTraining(small).to(device)
    discriminator.electra.embeddings = generator.electra.embeddings
    parameters = list({id(p): p for m in (generator, discriminator) for p in m.parameters()}.values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    batch = batch_on(device, rows=128, length=128, short=False)

    def take_step(number: int) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            labels = torch.full_like(batch.ids_BL, -100).scatter(
                1, batch.positions_BP, batch.ids_BL.gather(1, batch.positions_BP)
            )
            output = generator(batch.masked_BL, labels=labels)
            noise = torch.rand_like(output.logits, dtype=torch.float32)
            sample = (output.logits.float() - (-noise.log()).log()).argmax(-1)
            filled = torch.where(labels >= 0, sample, batch.ids_BL)
            judged = discriminator(filled, labels=(filled != batch.ids_BL).long())
        (output.loss + 50 * judged.loss).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return take_step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    steps = parser.parse_args().steps
    if not torch.cuda.is_available():
        print("no CUDA device here")
        return 75
    device = torch.device("cuda")
    agreed = check(device)
    mine = rate(device, ours(device), steps=steps, tokens=128 * 128)
    peer = rate(device, theirs(device), steps=steps, tokens=128 * 128)
    print(
        f"{torch.cuda.get_device_name()}: {mine:,.0f} tokens/s, transformers' modules {peer:,.0f}: {mine / peer:.2f} x"
    )
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
