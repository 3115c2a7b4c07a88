from __future__ import annotations

import pytest
import torch

from electra_cli.model.encoder import Encoder
from electra_cli.model.initialize import initialize
from electra_cli.model.mimetic import sinusoids
from electra_cli.model.shape import EncoderShape


@pytest.mark.parametrize("width", [2, 7, 64])
def test_positions_are_alike_where_they_are_near(width: int) -> None:
    table = sinusoids(100, width)
    assert table.shape == (100, width)
    assert table.std().item() == pytest.approx(0.02, rel=0.25)
    alike = torch.nn.functional.cosine_similarity(table[50:51], table)
    assert alike.argmax() == 50
    assert alike[51] > alike[52] and alike[49] > alike[48]


@pytest.mark.parametrize(("width", "heads"), [(128, 2), (192, 3)])
def test_attention_starts_at_equal_tokens(width: int, heads: int) -> None:
    """Token 7 stands at positions 5 and 30: the first finds the second before all others that are not near."""
    shape = EncoderShape(500, width, width, 2, heads, 4 * width, positions=64, dropout=0, attention_dropout=0)
    encoder = Encoder(shape)
    initialize(encoder, seed=1, scheme="mimetic")
    ids = torch.arange(100, 148)[None, :].clone()
    ids[0, 5] = ids[0, 30] = 7
    h = encoder.embeddings(ids, torch.zeros_like(ids))
    q, k, _ = encoder.layers[0].qkv(h).view(48, 3, heads, width // heads).permute(1, 2, 0, 3)
    scores = q @ k.transpose(-1, -2)
    for head in range(max(1, heads // 2)):  # the others keep the paper's start
        assert scores[head, 5].argmax() == 5 and scores[head, 5, 12:].argmax() == 30 - 12
        near, far = scores[head].diagonal(1).mean(), scores[head].diagonal(15).mean()
        assert near > far


def test_only_positions_and_the_lowest_queries_and_keys_differ_from_the_papers_start() -> None:
    shape = EncoderShape(50, 32, 64, 3, 2, 128, positions=16)
    paper, mimetic = Encoder(shape), Encoder(shape)
    initialize(paper, seed=1)
    initialize(mimetic, seed=1, scheme="mimetic")
    pairs = zip(paper.named_parameters(), mimetic.named_parameters(), strict=True)
    assert {name for (name, a), (_, b) in pairs if (a != b).any()} == {
        "embeddings.position",
        "layers.0.qkv.weight",
        "layers.1.qkv.weight",
    }
    query, key, value = (mimetic.layers[0].qkv.weight != paper.layers[0].qkv.weight).chunk(3)
    for changed in (query, key):
        assert changed[:32].all() and not changed[32:].any(), "the second head keeps the paper's draw"
    assert not value.any()
