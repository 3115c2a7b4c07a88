"""The yardstick itself, against the public implementation with random weights."""

from __future__ import annotations

import pytest
import torch

from electra_cli.exporting.reference import Reference

transformers = pytest.importorskip("transformers")

CLASSES = ["ElectraForPreTraining", "ElectraForMaskedLM", "ElectraForSequenceClassification"]


def random_batch(vocabulary: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three rows of different lengths, two segments each."""
    dice = torch.Generator().manual_seed(3)
    ids_BL = torch.randint(0, vocabulary, (3, 17), generator=dice)
    lengths_B = torch.tensor([17, 9, 2])
    mask_BL = (torch.arange(17)[None, :] < lengths_B[:, None]).long()
    types_BL = (torch.arange(17)[None, :] >= torch.tensor([5, 7, 1])[:, None]).long() * mask_BL
    return ids_BL, types_BL, mask_BL


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(("embedding", "hidden"), [(16, 32), (32, 32)])
def test_agrees_with_transformers(tmp_path, name, embedding, hidden):
    config = transformers.ElectraConfig(
        vocab_size=101,
        embedding_size=embedding,
        hidden_size=hidden,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=56,
        max_position_embeddings=24,
        num_labels=3,
        initializer_range=0.5,
    )
    torch.manual_seed(1)
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms start at 0 and 1: make them count
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    ids_BL, types_BL, mask_BL = random_batch(101)
    with torch.no_grad():
        theirs = model.double()(input_ids=ids_BL, token_type_ids=types_BL, attention_mask=mask_BL).logits
    ours = Reference(tmp_path).logits(ids_BL, types_BL, mask_BL)
    assert ours.shape == theirs.shape
    if theirs.shape[:2] == mask_BL.shape:
        ours, theirs = ours[mask_BL == 1], theirs[mask_BL == 1]
    assert theirs.abs().max() > 0.5  # something to compare
    assert (ours - theirs).abs().max() < 1e-10


def test_refuses_another_activation(tmp_path):
    config = transformers.ElectraConfig(
        vocab_size=11, embedding_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    config.hidden_act = "relu"
    transformers.ElectraForPreTraining(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="relu"):
        Reference(tmp_path)
