"""What do documents that do not see each other cost in the attention of packed rows on a CPU?

    python benchmarks/packed_attention.py SHARDS [--batch 16] [--hidden 256] [--heads 4] [--rounds 7]

One layer's attention with dropout, forward and backward, on rows of packed shards, in CPU time of one thread: without
any mask, with the mask of `electra pretrain`, making that mask (once for all layers of a network), and with every piece
gathered into a padded row of its own beside pieces of about its length, for which the mask could be exchanged. Best of
several rounds, taken in turn.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from electra_cli.artifacts import open_artifact
from electra_cli.data.shards import ShardSet
from electra_cli.model.attention import attention_bias, products, products_backward
from electra_cli.model.noise import Noise
from electra_cli.model.pieces import pieces_bias

STEP = 32  # pieces are padded to a multiple of this


def groups(starts_BL: np.ndarray, lengths_B: np.ndarray) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pieces of about one length together: the places (flattened) of their tokens, and how many each has."""
    length, found = starts_BL.shape[1], dict[int, list[tuple[int, int]]]()
    for row, (starts, end) in enumerate(zip(starts_BL, lengths_B.tolist(), strict=True)):
        begins = np.flatnonzero(starts).tolist()
        for begin, stop in zip(begins, [*begins[1:], end], strict=True):
            size = stop - begin
            found.setdefault(min(length, -(-size // STEP) * STEP), []).append((row * length + begin, size))
    made = []
    for width, pieces in sorted(found.items()):
        at_P1, size_P1 = (torch.tensor(part)[:, None] for part in zip(*pieces, strict=True))
        made.append((at_P1 + torch.minimum(torch.arange(width)[None, :], size_P1 - 1), size_P1[:, 0]))
    return made


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards")
    for name, number in (("--batch", 16), ("--hidden", 256), ("--heads", 4), ("--rounds", 7)):
        parser.add_argument(name, type=int, default=number)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shards = ShardSet(open_artifact(options.shards, kinds={"shards"}), "train")
    rows = shards.gather(np.random.default_rng(1).integers(0, shards.rows, options.batch))
    starts_BL = rows.piece_starts()
    if starts_BL is None:
        sys.exit("no row of the batch has two pieces")
    starts, lengths = torch.from_numpy(starts_BL), torch.from_numpy(rows.lengths_B.astype(np.int64))
    grouped, width = groups(starts_BL, rows.lengths_B), options.hidden
    print(f"{options.batch} rows of {shards.length}, {starts.sum() / options.batch:.2f} pieces a row; CPU milliseconds")
    for dtype in (torch.bfloat16, torch.float32):
        qkv = torch.randn(options.batch, shards.length, 3 * width).to(dtype)
        grad = torch.randn(options.batch, shards.length, width).to(dtype)
        noise, bias = Noise(1, torch.device("cpu")), pieces_bias(starts, lengths, dtype)

        def whole(
            mask: torch.Tensor | None, qkv: torch.Tensor = qkv, grad: torch.Tensor = grad, noise: Noise = noise
        ) -> None:
            _, *saved = products(qkv, heads=options.heads, bias=mask, p=0.1, noise=noise)
            products_backward(grad, *saved)

        def apart(qkv: torch.Tensor = qkv, grad: torch.Tensor = grad, noise: Noise = noise) -> None:
            flat, flat_grad = qkv.view(-1, 3 * width), grad.view(-1, width)
            out, back = torch.zeros_like(flat_grad), torch.zeros_like(flat)
            for places, sizes in grouped:
                mask = attention_bias(sizes, places.shape[1], flat.dtype)
                a, *saved = products(flat[places], heads=options.heads, bias=mask, p=0.1, noise=noise)
                real = torch.arange(places.shape[1])[None, :] < sizes[:, None]
                out[places[real]] = a[real]
                back[places[real]] = products_backward(flat_grad[places] * real[..., None], *saved)[real]

        ways: dict[str, Callable[[], object]] = {
            "no mask": lambda whole=whole: whole(None),
            "mask": lambda whole=whole, bias=bias: whole(bias),
            "making the mask": lambda dtype=dtype: pieces_bias(starts, lengths, dtype),
            "apart": apart,
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(options.rounds):
            for name, way in ways.items():
                began = time.process_time()
                way()
                best[name] = min(best[name], time.process_time() - began)
        print(f"{str(dtype)[6:]:<9}" + "".join(f"  {name} {1e3 * taken:.1f}" for name, taken in best.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
