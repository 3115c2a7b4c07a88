"""Each objective's loss and every gradient against an independent computation with the public modules."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from electra_cli.model.initialize import initialize
from electra_cli.model.objectives import copying
from electra_cli.model.pretraining import Electra, MaskedBatch, fill
from electra_cli.model.variants import GeneratorKind, Objective, Sharing, Variant
from tests.model.pairs import PAD, VOCABULARY, masked, small_pair
from tests.model.public import assert_same_gradients, inputs, public_module, public_pair


def at_masked(logits_BLV: torch.Tensor, batch: MaskedBatch) -> torch.Tensor:
    """Logits of the used slots, picked by booleans."""
    return torch.stack([logits_BLV[row, place] for row, place in used(batch)])


def originals(batch: MaskedBatch) -> torch.Tensor:
    return torch.tensor([int(batch.ids_BL[row, place]) for row, place in used(batch)])


def used(batch: MaskedBatch) -> list[tuple[int, int]]:
    """(row, position) of every masked token."""
    rows, slots = batch.used_BP.nonzero(as_tuple=True)
    return [(int(r), int(batch.positions_BP[r, s])) for r, s in zip(rows, slots, strict=True)]


def tokens(batch: MaskedBatch) -> torch.Tensor:
    """Booleans (B, L) of what is no padding."""
    return batch.ids_BL != PAD


def counted(model: Electra) -> tuple[MaskedBatch, Any]:
    batch = masked([20, 20, 13, 9], width=20)
    return batch, model(batch)


def test_mlm_is_the_public_masked_language_model() -> None:
    model = small_pair(variant=Variant("mlm"))
    batch, output = counted(model)
    output.loss.backward()
    public = public_module(model, "ElectraForMaskedLM", "discriminator")
    logits = at_masked(public(**inputs(batch.masked_BL, batch)).logits, batch)
    theirs = F.cross_entropy(logits, originals(batch), reduction="sum")
    theirs.backward()
    assert output.loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert output.correct_P[batch.used_BP.flatten()].tolist() == (logits.argmax(-1) == originals(batch)).tolist()
    assert output.generator is None and not hasattr(model, "discriminator_head")
    assert_same_gradients(model, {"discriminator": public})


@pytest.mark.parametrize("shared", [False, True])
def test_electra_15_judges_masked_positions_only(shared: bool) -> None:
    model = small_pair(variant=Variant("electra-15"), shared=shared)
    batch, output = counted(model)
    (output.generator.loss + 3 * output.discriminator_loss).backward()
    generator, discriminator = public_pair(model)
    mlm = F.cross_entropy(
        at_masked(generator(**inputs(batch.masked_BL, batch)).logits, batch), originals(batch), reduction="sum"
    )
    filled = fill(batch, output.generator.sample_P)
    scores = at_masked(discriminator(**inputs(filled, batch)).logits, batch)
    labels = (at_masked(filled, batch) != originals(batch)).float()
    theirs = F.binary_cross_entropy_with_logits(scores, labels, reduction="sum")
    (mlm + 3 * theirs).backward()
    assert output.discriminator_loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert output.judged_BL.sum() == batch.used_BP.sum()
    assert_same_gradients(model, {"discriminator": discriminator, "generator": generator})


@pytest.mark.parametrize(
    ("sharing", "shared_encoder"), [("shared", False), ("shared", True), ("own", False), ("gdes", False)]
)
def test_replace_mlm_predicts_masked_words_from_sampled_text(sharing: Sharing, shared_encoder: bool) -> None:
    model = small_pair(variant=Variant("replace-mlm", embeddings=sharing), shared=shared_encoder)
    batch, output = counted(model)
    (output.generator.loss + 2 * output.loss).backward()
    generator, large = public_pair(model)
    first = at_masked(generator(**inputs(batch.masked_BL, batch)).logits, batch)
    mlm = F.cross_entropy(first, originals(batch), reduction="sum")
    filled = fill(batch, output.generator.sample_P)
    second = at_masked(large(**inputs(filled, batch)).logits, batch)
    theirs = F.cross_entropy(second, originals(batch), reduction="sum")
    (mlm + 2 * theirs).backward()
    assert output.generator.loss.item() == pytest.approx(mlm.item(), rel=1e-5)
    assert output.loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert_same_gradients(model, {"discriminator": large, "generator": generator})


def test_all_tokens_mlm_mixes_copying_and_predicting() -> None:
    """p(x) = D 1[x = input] + (1 - D) softmax(x), D = sigmoid(w h + b), over all tokens (paper, Table 5)."""
    model = small_pair(variant=Variant("all-tokens-mlm"))
    batch, output = counted(model)
    (output.generator.loss + 2 * output.loss).backward()
    generator, large = public_pair(model)
    first = at_masked(generator(**inputs(batch.masked_BL, batch)).logits, batch)
    mlm = F.cross_entropy(first, originals(batch), reduction="sum")
    filled = fill(batch, output.generator.sample_P)
    hidden = large.electra(**inputs(filled, batch)).last_hidden_state
    logits = large.generator_lm_head(large.generator_predictions(hidden))
    gate = [p.detach().clone().requires_grad_() for p in (model.copy_gate.weight, model.copy_gate.bias)]
    copy = torch.sigmoid(hidden @ gate[0][0] + gate[1])
    p_BLV = (1 - copy)[..., None] * logits.softmax(-1) + copy[..., None] * F.one_hot(filled, VOCABULARY)
    p_BL = p_BLV.gather(-1, batch.ids_BL[..., None])[..., 0]
    theirs = -p_BL[tokens(batch)].log().sum()
    (mlm + 2 * theirs).backward()
    assert output.loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert (p_BLV.sum(-1) - 1).abs().max() < 1e-5
    for ours, independent in zip((model.copy_gate.weight, model.copy_gate.bias), gate, strict=True):
        torch.testing.assert_close(ours.grad, independent.grad, rtol=2e-4, atol=2e-5)
    extra = {"copy_gate.weight": gate[0].grad, "copy_gate.bias": gate[1].grad}
    assert_same_gradients(model, {"discriminator": large, "generator": generator}, extra)  # type: ignore[arg-type]


def test_copying_by_hand() -> None:
    """Two words of probability 1/2 each and a gate of 3/4: 3/4 + 1/4 · 1/2 copied, 1/4 · 1/2 not copied."""
    nothing, bias = torch.zeros(2, 3), torch.zeros(2)
    loss, _ = copying(
        nothing,
        torch.zeros(2, 3),
        bias,
        gate_N=torch.full((2,), math.log(3.0)),
        target_N=torch.tensor([0, 1]),
        copied_N=torch.tensor([True, False]),
        weight_N=torch.tensor([1.0, 1.0]),
    )
    assert loss.item() == pytest.approx(-math.log(7 / 8) - math.log(1 / 8), rel=1e-6)
    with torch.no_grad():
        sure, _ = copying(
            nothing,
            torch.zeros(2, 3),
            bias,
            gate_N=torch.tensor([200.0, -200.0]),  # no overflow, no log of 0
            target_N=torch.tensor([0, 1]),
            copied_N=torch.tensor([True, False]),
            weight_N=torch.tensor([1.0, 1.0]),
        )
    assert sure.item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("sharing", ["shared", "own", "gdes"])
def test_electric_equals_the_public_causal_stacks_row_by_row(sharing: Sharing) -> None:
    """Rows one at a time without padding, the right-to-left stack as a left-to-right one of the reversed row."""
    model = small_pair(variant=Variant("electric", embeddings=sharing, mask_fraction=0.25), size=0.5)
    batch, output = counted(model)
    (output.generator.loss + 3 * output.discriminator_loss).backward()

    shape = model.towers.shape
    ltr, rtl = (
        public_module(model, "ElectraModel", name, shape=shape, is_decoder=True, use_cache=False)
        for name in ("generator_ltr", "generator_rtl")
    )
    discriminator = public_module(model, "ElectraForPreTraining", "discriminator")
    if sharing != "own":
        rtl.embeddings = ltr.embeddings
    if sharing == "shared":
        discriminator.electra.embeddings = ltr.embeddings
    head = {name: p.detach().clone().requires_grad_() for name, p in model.generator_head.named_parameters()}
    filled = fill(batch, output.generator.sample_P)
    chosen = set(used(batch))
    generator_loss, discriminator_loss = torch.zeros(()), torch.zeros(())
    for row in range(len(filled)):
        assert batch.lengths_B is not None
        length = int(batch.lengths_B[row])
        ids, types = batch.ids_BL[row, :length], (torch.arange(length) >= batch.first_B[row]).long()
        places = torch.arange(length)
        left = ltr(ids[None], token_type_ids=types[None], position_ids=places[None]).last_hidden_state[0]
        turned = (x.flip(0)[None] for x in (ids, types, places))
        right = rtl(**dict(zip(("input_ids", "token_type_ids", "position_ids"), turned, strict=True)))
        right = right.last_hidden_state[0].flip(0)
        states = torch.stack([torch.cat([left[t - 1], right[(t + 1) % length]]) for t in range(length)])
        hidden = F.gelu(states @ head["dense.weight"].T + head["dense.bias"])
        hidden = F.layer_norm(hidden, hidden.shape[-1:], head["norm.weight"], head["norm.bias"], shape.eps)
        log_q = (hidden @ ltr.embeddings.word_embeddings.weight.T + head["bias"]).log_softmax(-1)
        candidates = [t for t in range(length) if ids[t] > 4]
        generator_loss = generator_loss - sum(log_q[t, ids[t]] for t in candidates)
        energy = discriminator(filled[row, :length][None], token_type_ids=types[None]).logits[0]
        for t in range(length):
            score = energy[t] + log_q[t, filled[row, t]].detach() + math.log(0.25 / 0.75)
            label = 1.0 if (row, t) in chosen else 0.0
            discriminator_loss = discriminator_loss - (label * F.logsigmoid(score) + (1 - label) * F.logsigmoid(-score))
    (generator_loss + 3 * discriminator_loss).backward()  # type: ignore[no-untyped-call]
    assert output.generator.loss.item() == pytest.approx(generator_loss.item(), rel=1e-5)
    assert output.discriminator_loss.item() == pytest.approx(discriminator_loss.item(), rel=1e-5)
    names = {"dense.weight", "dense.bias", "norm.weight", "norm.bias"}
    of_head = {f"generator.generator_predictions.{n.replace('norm', 'LayerNorm')}": head[n].grad for n in names}
    of_head["generator.generator_lm_head.bias"] = head["bias"].grad
    towers: dict[str, Any] = {
        f"{name}.electra": part for name, part in (("generator_ltr", ltr), ("generator_rtl", rtl))
    }
    assert_same_gradients(model, {"discriminator": discriminator, **towers}, of_head)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["uniform", "unigram"])
@pytest.mark.parametrize("objective", ["electra", "electra-15", "replace-mlm", "all-tokens-mlm"])
def test_a_fixed_generator_trains_the_large_network_alone(objective: Objective, kind: GeneratorKind) -> None:
    model = small_pair(variant=Variant(objective, kind))
    if kind == "unigram":
        model.fixed.count(torch.ones(VOCABULARY), never=range(5))
    batch, output = counted(model)
    loss = output.loss if model.variant.predicts_words else output.discriminator_loss
    (loss + output.generator.loss).backward()
    assert not hasattr(model, "generator") and not output.generator.loss.requires_grad
    assert all(p.grad is not None for p in model.parameters())
    ids = VOCABULARY if kind == "uniform" else VOCABULARY - 5
    assert output.generator.loss.item() == pytest.approx(int(batch.used_BP.sum()) * math.log(ids), rel=1e-5)


@pytest.mark.parametrize("objective", ["electra", "replace-mlm"])
def test_a_frozen_generator_fills_and_learns_nothing(objective: Objective) -> None:
    model = small_pair(variant=Variant(objective, embeddings="own"))
    batch = masked([20, 20, 13, 9], width=20)
    joint, frozen = model(batch), model(batch, frozen_generator=True)
    assert torch.equal(joint.generator.sample_P, frozen.generator.sample_P)
    assert not frozen.generator.loss.requires_grad
    loss = frozen.loss if model.variant.predicts_words else frozen.discriminator_loss
    loss.backward()
    assert all(p.grad is None for p in (*model.generator.parameters(), *model.generator_head.parameters()))
    assert all(p.grad is not None for p in model.discriminator.parameters())


def test_the_discriminator_starts_from_the_generator() -> None:
    model = small_pair(embedding=16, hidden=16, size=1.0, variant=Variant(embeddings="own"))
    batch = masked([20, 12], width=20)
    types = torch.zeros_like(batch.ids_BL)
    before = model.discriminator(batch.ids_BL, types)
    parameters = {name: p for name, p in model.named_parameters()}
    model.start_discriminator_from_generator()
    after = model.discriminator(batch.ids_BL, types)
    assert torch.equal(after, model.generator(batch.ids_BL, types)) and not torch.equal(after, before)
    assert all(p is parameters[name] for name, p in model.named_parameters()), "the optimizer holds these very tensors"
    assert model.embeddings.word is not model.generator.embeddings.word


def test_the_difference_of_gdes_starts_at_zero() -> None:
    model = small_pair(variant=Variant(embeddings="gdes"))
    initialize(model, seed=1)
    assert torch.equal(model.embeddings.word, model.generator.embeddings.word)
    assert not torch.equal(model.embeddings.position, model.generator.embeddings.position)


@pytest.mark.parametrize("sharing", ["shared", "own"])
def test_a_tower_prediction_depends_on_every_token_but_its_own(sharing: Sharing) -> None:
    model = small_pair(variant=Variant("electric", embeddings=sharing))
    batch = masked([14], width=20)
    types = torch.zeros_like(batch.ids_BL)

    def states(ids: torch.Tensor) -> torch.Tensor:
        h: torch.Tensor = model.towers(ids, types, lengths_B=batch.lengths_B)[0, 1:13]  # the candidates
        return h

    whole = states(batch.ids_BL)
    for place in range(14):
        changed = batch.ids_BL.clone()
        changed[0, place] = (changed[0, place] + 1 - 5) % (VOCABULARY - 5) + 5
        moved = (states(changed) != whole).any(-1)
        assert [bool(m) for m in moved] == [t != place for t in range(1, 13)]
    padding = batch.ids_BL.clone()
    padding[0, 14:] = 9
    assert torch.equal(states(padding), whole)
    full = model.towers(batch.ids_BL[:, :14], types[:, :14])
    torch.testing.assert_close(full[0, 1:13], whole)


def test_electric_labels_every_drawn_position_1() -> None:
    batch = masked([20, 12] * 32, width=20)
    output = small_pair(variant=Variant("electric"))(batch)
    assert {(int(r), int(c)) for r, c in output.labels_BL.nonzero()} == set(used(batch))
    assert (output.labels_BL & ~output.replaced_BL).any(), "those that got their original back too"
    assert torch.equal(output.judged_BL, tokens(batch))


def test_electric_of_padded_rows_does_not_depend_on_the_padding() -> None:
    model = small_pair(variant=Variant("electric"))
    batch = masked([12, 12], width=12)
    assert batch.candidate_BL is not None
    padded = dataclasses.replace(
        batch,
        ids_BL=F.pad(batch.ids_BL, (0, 8), value=PAD),
        masked_BL=F.pad(batch.masked_BL, (0, 8), value=PAD),
        candidate_BL=F.pad(batch.candidate_BL, (0, 8), value=False),
    )
    full = dataclasses.replace(batch, lengths_B=None)
    outputs = [model(each) for each in (batch, padded, full)]
    for other in outputs[1:]:
        torch.testing.assert_close(other.generator.loss, outputs[0].generator.loss)
        torch.testing.assert_close(other.discriminator_loss, outputs[0].discriminator_loss)
