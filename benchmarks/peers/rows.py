"""Real rows without padding: the full rows of a shards artifact, published as shards of their own.

Every contestant reads the same ones. Padding is a second factor of speed (the usual recipe wastes half of its tokens on
it) that these comparisons leave out, to the peers' advantage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from electra_cli.artifacts import Recipe, claim, open_artifact
from electra_cli.data.shards import ShardSet, shard_bytes, shard_name
from electra_cli.reporting import Silent


def full_rows(shards: Path, out: Path) -> tuple[Path, int]:
    """Publish the full training rows of `shards` in `out`; the artifact's path and the rows' length.

    Raises:
        SystemExit: there are none, or they are packed, which peers cannot read as we do.
    """
    source = open_artifact(shards, kinds={"shards"})
    if source.spec.get("recipe") == "packed":
        raise SystemExit(f"{shards}: packed rows hold documents that no peer keeps apart; take pairs or stream")
    rows = ShardSet(source, "train")
    everything = rows.gather(np.arange(rows.rows))
    full = everything.lengths_B == rows.length
    count = int(full.sum())
    if count == 0:
        raise SystemExit(f"{shards}: no row is full")
    recipe = Recipe("shards", "full-rows", 1, {}, (source.ref("shards"),))
    with claim(out, recipe, report=Silent()) as held:
        if held.draft is None:
            return held.done.path, rows.length
        for record in source.manifest.files:
            if record.path.startswith("tokenizer/"):
                held.draft.write_bytes(record.path, source.check_file(record.path).read_bytes())
        tokens = count * rows.length
        with held.draft.create(shard_name("train", 0)) as file:
            file.rows, file.tokens = count, tokens
            file.write(
                shard_bytes(
                    everything.ids_BL[full],
                    everything.lengths_B[full],
                    everything.first_B[full],
                    vocab_size=rows.vocab_size,
                )
            )
        nothing = {"rows": 0, "tokens": 0}
        splits = {"train": {"rows": count, "tokens": tokens}, "val": nothing}
        return held.draft.publish(spec={**source.spec, "splits": splits}).path, rows.length
