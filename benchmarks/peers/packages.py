"""The two packages that `pip install` gives today, driven as they come.

**simpletransformers**: nothing of it is rebuilt. A `LanguageModelingModel("electra", None, …)` is made from scratch
with our tokenizer's files and the two configurations, and its own `train()` runs, unchanged, over our rows: its
RandomSampler and DataLoader, its `mask_tokens` (15 %, Bernoulli, all shown as [MASK]), its
`ElectraForLanguageModelingModel.forward` (logits, softmax and multinomial at all positions, word embeddings tied), its
AdamW, clipping and scheduler, its tensorboard writer. float32: its `fp16` flag is CUDA's. The gate stands where the
dataset hands out the first row of a batch, so between two passes lies one whole turn of its loop. Only saving is off.

**electra-pytorch**: its `Electra` wrapper around transformers' two models as its repository's training script builds it
(`pretraining/openwebtext/pretrain.py`: LogitsAdapter, tied word, position and type embeddings, `mask_prob` 0.15,
[CLS] and [SEP] never masked), under bf16 autocast, with AdamW, clipping at 1.0 and the losses read every step as there.
No attention mask, since rows are full (the script gives one, which costs it a little more).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmarks.peers.contestants import Job
from benchmarks.peers.gate import Gate
from benchmarks.peers.loops import build, configurations
from electra_cli.artifacts import open_artifact
from electra_cli.data.shards import ShardSet
from electra_cli.model.encoder import segment_types


class GatedRows(Dataset[torch.Tensor]):
    """Our rows one by one; the gate is passed before the first of each batch."""

    def __init__(self, rows: ShardSet, gate: Gate, *, batch: int) -> None:
        self._rows, self._gate, self._batch, self._asked = rows, gate, batch, 0

    def __len__(self) -> int:
        return self._rows.rows

    def __getitem__(self, index: int) -> torch.Tensor:
        if self._asked % self._batch == 0:
            self._gate.passed()
        self._asked += 1
        return torch.from_numpy(self._rows.gather(np.array([index])).ids_BL[0]).long()


def run_simpletransformers(job: Job, gate: Gate) -> None:
    """`LanguageModelingModel.train` over our rows."""
    from simpletransformers.language_modeling import LanguageModelingModel  # type: ignore[import-not-found]

    source = open_artifact(job.shards, kinds={"shards"})
    rows = ShardSet(source, "train")
    narrow, wide = configurations(job.size, int(source.spec["vocab_size"]))
    model = LanguageModelingModel(
        "electra",
        None,
        args={
            "tokenizer_name": str(source.path / "tokenizer"),
            "vocab_size": int(source.spec["vocab_size"]),
            "config": wide,
            "generator_config": narrow,
            "discriminator_config": wide,
            "train_batch_size": job.batch,
            "max_seq_length": rows.length,
            "manual_seed": job.seed,
            "save_steps": -1,
            "no_save": True,
            "no_cache": True,
            "silent": True,
            "use_multiprocessing": False,
            "tensorboard_dir": str(job.work / "tensorboard"),
        },
        use_cuda=False,
    )
    model._move_model_to_device()  # as its train_model() does before train()
    model.train(GatedRows(rows, gate, batch=job.batch), str(job.work / "out"), show_running_loss=False)


class LogitsAdapter(torch.nn.Module):
    """Only the logits of a transformers model, which is what `Electra` wants."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *arguments: Any, **named: Any) -> torch.Tensor:
        return self.inner(*arguments, **named)[0]


def run_electra_pytorch(job: Job, gate: Gate) -> None:
    """`electra_pytorch.Electra` under bf16 autocast."""
    from electra_pytorch import Electra  # type: ignore[import-not-found]

    source = open_artifact(job.shards, kinds={"shards"})
    special = source.spec["special_ids"]
    rows = ShardSet(source, "train")
    torch.manual_seed(job.seed)
    generator, discriminator, _ = build(job.size, int(source.spec["vocab_size"]), share_norm=False)
    model = Electra(
        LogitsAdapter(generator),
        LogitsAdapter(discriminator),
        num_tokens=int(source.spec["vocab_size"]),
        mask_token_id=special["mask"],
        pad_token_id=special["pad"],
        mask_prob=0.15,
        mask_ignore_token_ids=[special["cls"], special["sep"]],
        random_token_prob=0.0,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.1)
    dice, loss = np.random.default_rng(job.seed), None
    while True:
        gate.passed(loss)
        batch = rows.gather(dice.integers(rows.rows, size=job.batch))
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            types_BL = segment_types(torch.from_numpy(batch.first_B).long(), rows.length)
            results = model(torch.from_numpy(batch.ids_BL).long(), token_type_ids=types_BL)
        results.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss, *_ = [float(value) for value in results[:5]]


def run(job: Job, gate: Gate) -> None:
    """Train until the parent has seen enough."""
    {"simpletransformers": run_simpletransformers, "electra-pytorch": run_electra_pytorch}[job.name](job, gate)
