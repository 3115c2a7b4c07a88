"""Texts that share a row are computed as if each had a row to itself."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from electra_cli.data.masking import MaskingRule, candidates, draw_masks
from electra_cli.model.attention import attend
from electra_cli.model.noise import Noise
from electra_cli.model.objectives import WordOutput
from electra_cli.model.pieces import apart, begins_and_sizes, pieces_bias, pieces_mask, positions_within
from electra_cli.model.pretraining import Electra, MaskedBatch
from electra_cli.model.variants import Variant
from tests.model.pairs import CLS, MASK, PAD, SEP, VOCABULARY, masked, small_pair

WIDTH = 24
SIZES = [[10, 7, 5], [24], [3, 3, 12, 6], [9, 4]]
RULE = MaskingRule(0.4, 0.85, (PAD, CLS, SEP, MASK), MASK)


def starts_of(sizes: list[list[int]], *, width: int = WIDTH) -> torch.Tensor:
    starts = torch.zeros(len(sizes), width, dtype=torch.bool)
    for row, pieces in enumerate(sizes):
        at = 0
        for size in pieces:
            starts[row, at] = True
            at += size
    return starts


def packed_batch(sizes: list[list[int]] = SIZES) -> MaskedBatch:
    """Rows of pieces `[CLS] text [SEP]`, masked."""
    ids = torch.randint(MASK + 1, VOCABULARY, (len(sizes), WIDTH), generator=torch.Generator().manual_seed(2))
    starts = starts_of(sizes)
    for row, pieces in enumerate(sizes):
        at = 0
        for size in pieces:
            ids[row, at], ids[row, at + size - 1] = CLS, SEP
            at += size
        ids[row, at:] = PAD
    lengths = torch.tensor([sum(pieces) for pieces in sizes])
    index = torch.arange(len(sizes))
    masks = draw_masks(ids, lengths, rule=RULE, seed=9, epoch_B=torch.zeros_like(index), sample_B=index)
    found = candidates(ids, lengths, RULE)
    return MaskedBatch(
        ids_BL=ids, lengths_B=lengths, first_B=lengths, candidate_BL=found, starts_BL=starts, **vars(masks)
    )


def apart_batch(batch: MaskedBatch, sizes: list[list[int]] = SIZES) -> MaskedBatch:
    """The same pieces with the same masks, each in a padded row of its own."""
    rows: list[dict[str, torch.Tensor]] = []
    for row, pieces in enumerate(sizes):
        at = 0
        for size in pieces:
            inside = batch.used_BP[row] & (batch.positions_BP[row] >= at) & (batch.positions_BP[row] < at + size)
            alone = {"length": torch.tensor(size), "used": inside, "uniform": batch.uniform_BP[row]}
            alone["positions"] = torch.where(inside, batch.positions_BP[row] - at, 0)
            for name, values, padding in (
                ("ids", batch.ids_BL, PAD),
                ("masked", batch.masked_BL, PAD),
                ("candidate", batch.candidate_BL, False),
            ):
                assert values is not None
                alone[name] = torch.full((WIDTH,), padding, dtype=values.dtype)
                alone[name][:size] = values[row, at : at + size]
            rows.append(alone)
            at += size
    stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return MaskedBatch(
        ids_BL=stacked["ids"],
        lengths_B=stacked["length"],
        first_B=stacked["length"],
        masked_BL=stacked["masked"],
        positions_BP=stacked["positions"],
        used_BP=stacked["used"],
        uniform_BP=stacked["uniform"],
        candidate_BL=stacked["candidate"],
    )


VARIANTS = {
    "electra": Variant(),
    "own": Variant(embeddings="own"),
    "gdes": Variant(embeddings="gdes"),
    "mlm": Variant("mlm"),
    "electra-15": Variant("electra-15"),
    "replace-mlm": Variant("replace-mlm"),
    "all-tokens-mlm": Variant("all-tokens-mlm"),
    "electric": Variant("electric"),
    "uniform": Variant(generator="uniform"),
}


def run(model: Electra, batch: MaskedBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The summed loss, what is said of tokens and slots (those that count, in order), and all gradients."""
    model.zero_grad()
    output = model(batch)
    assert batch.lengths_B is not None
    real = torch.arange(WIDTH)[None, :] < batch.lengths_B[:, None]
    said: dict[str, torch.Tensor] = {}
    if isinstance(output, WordOutput):
        loss = output.loss
        loss = loss if output.generator is None else loss + output.generator.loss
    else:
        loss = output.discriminator_loss + output.generator.loss
        said = {"logits": output.logits_BL[real], "corrupted": output.corrupted_BL[real]}
    if output.generator is not None:
        # Slots come in another order in rows of their own: sorted, they can be compared.
        said["nll"] = output.generator.nll_P[batch.used_BP.flatten()].sort().values
        said["samples"] = output.generator.sample_P[batch.used_BP.flatten()].sort().values
    if loss.requires_grad:
        loss.backward()
    gradients = {name: p.grad.to_dense().clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), {name: value.detach() for name, value in said.items()}, gradients


@pytest.mark.parametrize("kind", VARIANTS)
def test_pieces_in_one_row_give_what_they_give_in_rows_of_their_own(kind: str) -> None:
    model = small_pair(variant=VARIANTS[kind])
    batch = packed_batch()
    together, alone = run(model, batch), run(model, apart_batch(batch))
    torch.testing.assert_close(together[0], alone[0], rtol=1e-5, atol=1e-5)
    assert together[1].keys() == alone[1].keys() and together[2].keys() == alone[2].keys()
    for (name, value), expected in zip(together[1].items(), alone[1].values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5, msg=name)
    assert together[2]
    for name, value in together[2].items():
        torch.testing.assert_close(value, alone[2][name], rtol=1e-4, atol=1e-5, msg=name)
    blind = run(model, dataclasses.replace(batch, starts_BL=None))
    assert not torch.allclose(together[0], blind[0], rtol=1e-4), "without the boundaries it is another number"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noisy", [False, True])
def test_no_text_feels_another_in_training_on_a_cpu(dtype: torch.dtype, noisy: bool) -> None:
    """With dropout and in bfloat16 too, where layers are one step of autograd: other neighbours, the same logits."""
    batch = packed_batch()
    other = batch.ids_BL.clone()
    other[0, 11:16] = 50  # the second piece's text
    changed = dataclasses.replace(batch, ids_BL=other)
    model = small_pair()
    found = []
    for each in (batch, changed):
        noise = Noise(3, torch.device("cpu")) if noisy else None
        h_BLD = model.discriminator(each.ids_BL, torch.zeros_like(each.ids_BL), **each.rows, noise=noise, dtype=dtype)
        found.append(h_BLD[0])
    assert torch.equal(found[0][:10], found[1][:10]) and torch.equal(found[0][17:22], found[1][17:22])
    assert not torch.equal(found[0][10:17], found[1][10:17])


def test_a_row_of_one_text_is_as_without_boundaries() -> None:
    model, batch = small_pair(), masked([24, 17, 9], width=WIDTH)
    starts = torch.zeros_like(batch.ids_BL, dtype=torch.bool)
    starts[:, 0] = True
    for variant in (model, small_pair(variant=Variant("electric"))):
        plain, same = variant(batch), variant(dataclasses.replace(batch, starts_BL=starts))
        torch.testing.assert_close(plain.discriminator_loss, same.discriminator_loss)
        torch.testing.assert_close(plain.generator.loss, same.generator.loss)


def test_positions_and_sizes_by_hand() -> None:
    starts, lengths = starts_of([[3, 2], [6]], width=6), torch.tensor([5, 6])
    assert positions_within(starts).tolist() == [[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]]
    begin, size = begins_and_sizes(starts, lengths)
    assert begin.tolist() == [[0, 0, 0, 3, 3, 3], [0] * 6]
    assert size.tolist() == [[3, 3, 3, 2, 2, 2], [6] * 6]
    assert (~apart(starts, lengths)[0]).int().tolist() == [[1, 1, 1, 0, 0, 0]] * 3 + [[0, 0, 0, 1, 1, 0]] * 3
    assert begins_and_sizes(starts, None)[1][0].tolist() == [3, 3, 3, 3, 3, 3]


def test_masks_never_touch_a_special_token_inside_a_row() -> None:
    ids = packed_batch([[3, 3, 3, 3, 3, 3, 3, 3]] * 200).ids_BL
    index = torch.arange(200)
    for draw in ("distinct", "with-replacement"):
        masks = draw_masks(
            ids,
            torch.full((200,), WIDTH),
            rule=dataclasses.replace(RULE, draw=draw),
            seed=1,
            epoch_B=torch.zeros_like(index),
            sample_B=index,
        )
        drawn = ids.gather(1, masks.positions_BP)[masks.used_BP]
        assert len(drawn) >= 1000 and (drawn > MASK).all()
        special = ids <= MASK
        assert torch.equal(masks.masked_BL[special], ids[special])
    # eight tokens of text in a row of 24: the share is still that of the row's tokens, at most all eight
    assert masks.used_BP.sum(1).tolist() == [9] * 200
    distinct = draw_masks(
        ids, torch.full((200,), WIDTH), rule=RULE, seed=1, epoch_B=torch.zeros_like(index), sample_B=index
    )
    assert distinct.used_BP.sum(1).tolist() == [8] * 200


@pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
def test_blocks_are_the_same_attention() -> None:
    """flex_attention's own arithmetic on a CPU, forward only: that is all that there is of it without a GPU."""
    starts, lengths = starts_of(SIZES), torch.tensor([sum(pieces) for pieces in SIZES])
    qkv = torch.randn(len(SIZES), WIDTH, 3 * 32, generator=torch.Generator().manual_seed(5))
    blocks = attend(qkv, heads=2, bias=pieces_mask(starts, lengths), p=0.0, noise=None)
    dense = attend(qkv, heads=2, bias=pieces_bias(starts, lengths, torch.float32), p=0.0, noise=None)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(blocks[row, :length], dense[row, :length])
