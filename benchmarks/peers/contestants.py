"""Who takes part, what is asked of us, and the size of the model that all of them train."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Size:
    """The model: ELECTRA-small of the paper unless said otherwise; the generator is a quarter as wide."""

    embedding: int = 128
    hidden: int = 256
    layers: int = 12
    heads: int = 4
    feed_forward: int = 1024
    generator: float = 0.25

    @property
    def generator_hidden(self) -> int:
        return round(self.hidden * self.generator)

    @property
    def generator_heads(self) -> int:
        return max(1, self.heads * self.generator_hidden // self.hidden)

    @property
    def generator_feed_forward(self) -> int:
        return round(self.feed_forward * self.generator)


SMALL = Size()
TINY = Size(embedding=16, hidden=32, layers=2, heads=2, feed_forward=64, generator=0.5)


@dataclass(frozen=True)
class Job:
    """What a worker is told.

    Attributes:
        name: a key of CONTESTANTS.
        shards: an artifact of shards whose rows are all full (`rows.full_rows`).
        work: a folder that the worker may write to.
        batch: rows in a step.
        threads: of torch.
        size: of the model.
        seed: of whatever the contestant lets us seed.
    """

    name: str
    shards: Path
    work: Path
    batch: int
    threads: int
    size: Size
    seed: int = 1

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "shards": str(self.shards), "work": str(self.work)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Job:
        paths = {key: Path(fields[key]) for key in ("shards", "work")}
        return cls(**{**fields, **paths, "size": Size(**fields["size"])})


@dataclass(frozen=True)
class Contestant:
    """One training loop.

    Attributes:
        title: what it is, for the table.
        fp32: it computes in float32.
        module: where its `run(job, gate)` is, under benchmarks.peers.
        packages: distributions that must be installed.
        keeps_memory: it holds what it freed, so that an idle worker is as large as a busy one.
        mb_per_row: rough growth of its peak with the batch at 128 tokens a row; it only decides whether the workers fit
            into memory side by side.
    """

    title: str
    module: str
    packages: tuple[str, ...] = ()
    fp32: bool = False
    keeps_memory: bool = False
    mb_per_row: float = 110.0

    def missing(self) -> list[str]:
        """Which of its packages are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name.replace("-", "_")) is None]

    def versions(self) -> str:
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in self.packages)


ROOFLINE = "roofline"

_HF = ("transformers",)

CONTESTANTS = {
    "ours": Contestant("electra pretrain, bf16", "ours", keeps_memory=True, mb_per_row=35),
    "ours-fp32": Contestant("electra pretrain, fp32", "ours", fp32=True, keeps_memory=True, mb_per_row=65),
    "simpletransformers": Contestant(
        "(1) simpletransformers, fp32", "packages", ("simpletransformers", *_HF), fp32=True, mb_per_row=140
    ),
    "electra-pytorch": Contestant("(2) electra-pytorch, bf16 autocast", "packages", ("electra-pytorch", *_HF)),
    "transformers": Contestant("(3) transformers loop, bf16 autocast", "loops", _HF),
    "transformers-fp32": Contestant("(3f) transformers loop, fp32", "loops", _HF, fp32=True),
    "tuned": Contestant("(4) = (3) + allocator, matmul setting", "loops", _HF, keeps_memory=True),
    "tuned-fp32": Contestant(
        "(4f) = (3f) + allocator, matmul setting", "loops", _HF, fp32=True, keeps_memory=True, mb_per_row=120
    ),
    "best": Contestant(
        "(5) = (4) + masked-only head, cheap sampling, fused AdamW", "loops", _HF, keeps_memory=True, mb_per_row=80
    ),
    ROOFLINE: Contestant("F.linear in bf16 on the model's shapes and on large ones", "roofline", mb_per_row=5),
}


@dataclass(frozen=True)
class Goal:
    """At the batch sizes in `batches`, `ours` is to be at least `ratio` times as fast as `peer`."""

    ours: str
    peer: str
    batches: tuple[int, ...]
    ratio: float


SPEED_GOALS = (
    Goal("ours", "simpletransformers", (16, 32), 7.0),
    Goal("ours", "electra-pytorch", (16, 32), 4.5),
    Goal("ours", "transformers", (16, 32), 3.5),
    Goal("ours", "transformers", (128,), 4.5),
    Goal("ours", "tuned", (16, 32), 2.5),
    Goal("ours", "best", (16, 32), 1.7),
    Goal("ours-fp32", "tuned-fp32", (16, 32), 1.8),
)
MEMORY_GOAL = Goal("ours", "transformers", (128,), 0.35)  # here: at most this share of the peer's peak
ROOFLINE_GOAL = 0.55  # of the best bf16 product of the model's own shapes, on two threads
