from __future__ import annotations

import pytest
import torch

from electra_cli.model.encoder import Encoder
from electra_cli.model.initialize import initialize
from electra_cli.model.mimetic import rotation, sinusoids
from electra_cli.model.shape import EncoderShape


@pytest.mark.parametrize("width", [8, 30, 64])
def test_positions_are_alike_where_they_are_near(width: int) -> None:
    table = sinusoids(100, width)
    columns = width // 4 * 2  # whole pairs in the first half
    assert table.shape == (100, width) and not table[:, columns:].any()
    torch.testing.assert_close(table[:, :columns].square().mean(1).sqrt(), torch.full((100,), 0.05))
    alike = torch.nn.functional.cosine_similarity(table[50:51], table)
    assert alike.argmax() == 50
    assert alike[51] > alike[52] and alike[49] > alike[48]


@pytest.mark.parametrize(("width", "heads"), [(128, 2), (192, 3)])
def test_attention_starts_at_equal_tokens(width: int, heads: int) -> None:
    """Token 7 stands at positions 5 and 30: each finds itself and the other before all others."""
    shape = EncoderShape(500, width, width, 2, heads, 4 * width, positions=64, dropout=0, attention_dropout=0)
    encoder = Encoder(shape)
    initialize(encoder, seed=1, scheme="mimetic")
    ids = torch.arange(100, 148)[None, :].clone()
    ids[0, 5] = ids[0, 30] = 7
    h = encoder.embeddings(ids, torch.zeros_like(ids))
    q, k, _ = encoder.layers[0].qkv(h).view(48, 3, heads, width // heads).permute(1, 2, 0, 3)
    scores = q @ k.transpose(-1, -2)
    for head in range(max(1, heads // 2)):  # the others look at neighbours
        assert set(scores[head, 5].topk(2).indices.tolist()) == {5, 30}


def test_a_rotation_walks_along_the_table() -> None:
    table = sinusoids(20, 48)[:, :24]
    for distance in (-2, 1):
        walked = table[5:10] @ rotation(distance, 48).T
        torch.testing.assert_close(walked, table[5 + distance : 10 + distance])


@pytest.mark.parametrize(("embedding", "width", "heads"), [(128, 128, 2), (128, 192, 3), (64, 128, 4)])
def test_neighbour_heads_look_at_neighbours(embedding: int, width: int, heads: int) -> None:
    shape = EncoderShape(500, embedding, width, 3, heads, 4 * width, positions=64, dropout=0, attention_dropout=0)
    encoder = Encoder(shape)
    initialize(encoder, seed=1, scheme="mimetic")
    ids = torch.randint(500, (8, 64), generator=torch.Generator().manual_seed(2))
    h = encoder.embeddings(ids, torch.zeros_like(ids))
    h = h if encoder.project is None else encoder.project(h)
    expected = iter([-1, 1, -2, 2])
    for layer in list(encoder.layers)[:2]:
        q, k, _ = layer.qkv(h).view(8, 64, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (width // heads) ** 0.5).softmax(-1).mean(0)
        for head in range(max(1, heads // 2), heads):
            distance = next(expected)
            found = {by: weights[head].diagonal(by).mean().item() for by in range(-8, 9)}
            assert max(found, key=found.__getitem__) == distance
            assert found[distance] > 5 / 64, "five times what uniform attention gives"


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
    assert query.any() and key.any()
    assert not value.any()
