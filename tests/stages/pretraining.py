"""Shards of a toy language, and settings of a run over them that takes a second."""

from __future__ import annotations

import random
from pathlib import Path

from electra_cli.config import resolve
from electra_cli.reporting import Silent
from electra_cli.stages import shard, tokenize
from electra_cli.stages.pretrain_settings import PretrainSettings
from tests.toys import FILLERS


def write_text(path: Path, *, documents: int, seed: int) -> Path:
    """Documents of a few lines in which each word is followed by one of three."""
    dice = random.Random(seed)
    blocks = []
    for _ in range(documents):
        lines = []
        for _ in range(dice.randint(2, 6)):
            word, words = dice.randrange(len(FILLERS)), []
            for _ in range(dice.randint(5, 25)):
                word = (2 * word + dice.randrange(3)) % len(FILLERS)
                words.append(FILLERS[word])
            lines.append(" ".join(words) + ".")
        blocks.append("\n".join(lines))
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def make_shards(folder: Path, *, documents: int = 60, val_fraction: float = 0.2, length: int = 32) -> Path:
    """A tokenizer and shards made of `write_text`; the same tokenizer for every length."""
    text = write_text(folder / "text.txt", documents=documents, seed=1)
    tokenizer = tokenize.run(
        [text], folder / "tokenizer", settings=tokenize.TokenizeSettings(vocab_size=60), report=Silent()
    )
    settings = shard.ShardSettings(length=length, val_fraction=val_fraction, workers=1)
    return shard.run(
        [text], tokenizer.artifact.path, folder / "shards", settings=settings, report=Silent()
    ).artifact.path


def small_settings(**flags: object) -> PretrainSettings:
    """A run of 12 steps with dropout, two micro-batches a step, everything happening often."""
    chosen: dict[str, object] = {
        "model.embedding_size": 16,
        "model.hidden_size": 32,
        "model.layers": 2,
        "model.heads": 2,
        "model.positions": 32,
        "generator.size": 0.5,
        "optimizer.steps": 12,
        "optimizer.batch_size": 8,
        "optimizer.micro_batch": 4,
        "optimizer.warmup_steps": 3,
        "optimizer.learning_rate": 2e-3,
        "evaluation.every": 5,
        "evaluation.rows": 16,
        "checkpoints.every": 4,
        "checkpoints.keep": 2,
        "log_every": 3,
        "device": "cpu",
        **flags,
    }
    return resolve(PretrainSettings, flags=chosen).settings
