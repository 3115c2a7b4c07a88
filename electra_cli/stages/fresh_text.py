"""Fresh text as rows for an evaluation: sharded into a temporary folder with a checkpoint's tokenizer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from electra_cli.artifacts import Artifact, Recipe, claim
from electra_cli.errors import ArtifactError
from electra_cli.reporting import Reporter
from electra_cli.stages.shard import ShardSettings
from electra_cli.stages.shard import run as shard

if TYPE_CHECKING:
    from electra_cli.data.shards import ShardSet


def is_artifact(path: Path) -> bool:
    """Whether `path` means one of our artifacts rather than text."""
    from electra_cli.artifacts.opening import locate

    try:
        locate(path)
    except ArtifactError:
        return False
    return True


@contextmanager
def rows_of_text(checkpoint: Artifact, texts: Sequence[Path], *, report: Reporter) -> Iterator[ShardSet]:
    """Rows of `texts` as the checkpoint's own shards would have them, for the length of a `with` block.

    Raises:
        DataError: the text cannot be read, or there is none.
    """
    from electra_cli.data.shards import ShardSet

    with tempfile.TemporaryDirectory(prefix="electra-") as folder:
        tokenizer = _own_tokenizer(checkpoint, Path(folder) / "tokenizer", report)
        settings = ShardSettings(
            length=checkpoint.spec["length"],
            val_fraction=0.0,
            word_starts=checkpoint.spec.get("word_starts", False),
            recipe=checkpoint.spec.get("recipe", "pairs"),
        )
        outcome = shard(texts, tokenizer, Path(folder) / "shards", settings=settings, report=report)
        yield ShardSet(outcome.artifact, "train")


def _own_tokenizer(checkpoint: Artifact, out: Path, report: Reporter) -> Path:
    """The tokenizer that a checkpoint carries, as an artifact by itself."""
    recipe = Recipe("tokenizer", "unpack", 1, {}, (checkpoint.ref("checkpoint"),))
    with claim(out, recipe, report=report) as held:
        assert held.draft is not None
        for record in checkpoint.manifest.files:
            if record.path.startswith("tokenizer/"):
                data = checkpoint.check_file(record.path).read_bytes()
                held.draft.write_bytes(record.path.removeprefix("tokenizer/"), data)
        shape = checkpoint.spec["architecture"]["discriminator"]
        spec = {"vocab_size": shape["vocab_size"], "special_ids": checkpoint.spec["special_ids"]}
        return held.draft.publish(spec=spec).path
