"""The pair's arithmetic against the public implementation with the same weights, and the method's own rules."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from electra_cli.model.initialize import initialize
from electra_cli.model.naming import from_public, ties, to_public
from electra_cli.model.pretraining import Electra, fill
from electra_cli.model.shape import EncoderShape, generator_shape
from electra_cli.model.variants import Sharing, Variant
from tests.model.pairs import CLS, MASK, PAD, SEP, VOCABULARY, masked, small_pair
from tests.model.public import assert_same_gradients, inputs, public_pair


@pytest.fixture
def pair() -> Electra:
    return small_pair()


@pytest.mark.parametrize(
    ("embedding", "hidden", "shared", "sharing"),
    [
        (12, 16, False, "shared"),
        (16, 16, False, "shared"),
        (12, 16, True, "shared"),
        (12, 16, False, "own"),
        (12, 16, False, "gdes"),
    ],
)
def test_gradients_of_the_joint_loss_equal_the_public_modules(
    embedding: int, hidden: int, shared: bool, sharing: Sharing
) -> None:
    model = small_pair(embedding=embedding, hidden=hidden, shared=shared, variant=Variant(embeddings=sharing))
    batch = masked([20, 20, 13, 9], width=20)
    output = model(batch)
    masked_count, tokens = batch.used_BP.sum(), batch.tokens
    ours = output.generator.loss / masked_count + 50 * output.discriminator_loss / tokens
    ours.backward()

    generator, discriminator = public_pair(model)
    logits = generator(**inputs(batch.masked_BL, batch)).logits
    picked = logits.gather(1, batch.positions_BP[..., None].expand(-1, -1, VOCABULARY))[batch.used_BP]
    targets = batch.ids_BL.gather(1, batch.positions_BP)[batch.used_BP]
    corrupted = fill(batch, output.generator.sample_P)
    scores = discriminator(**inputs(corrupted, batch)).logits
    assert batch.lengths_B is not None
    counted = torch.arange(20)[None, :] < batch.lengths_B[:, None]
    labels = (corrupted != batch.ids_BL).float()
    theirs = F.cross_entropy(picked, targets) + 50 * F.binary_cross_entropy_with_logits(
        scores[counted], labels[counted]
    )
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert_same_gradients(model, {"discriminator": discriminator, "generator": generator})


@pytest.mark.parametrize("sharing", ["shared", "own", "gdes"])
def test_tied_tensors_are_one_tensor(sharing: Sharing) -> None:
    model = small_pair(variant=Variant(embeddings=sharing))
    assert model.discriminator.embeddings is model.embeddings
    assert (model.generator.embeddings is model.embeddings) == (sharing == "shared")
    parameters = [p for _, p in model.named_parameters()]
    assert len({p.data_ptr() for p in parameters}) == len(parameters), "and each is given to the optimizer once"
    scored = model.generator_words
    with torch.no_grad():
        scored[7] += 1.0  # what the generator reads, writes with, and shares, moves together
    assert torch.equal(model.generator.embeddings.word, scored)
    if sharing == "gdes":
        torch.testing.assert_close(model.embeddings.word, scored + model.embeddings.delta)  # type: ignore[operator]
    else:
        assert torch.equal(model.embeddings.word[7], scored[7]) == (sharing == "shared")
    files = to_public(model)
    assert not files.keys() & ties(model).keys() and set(ties(model).values()) <= files.keys()


def test_logits_of_padded_rows_do_not_depend_on_the_padding(pair: Electra) -> None:
    short, padded = masked([12, 12], width=12), masked([12, 12], width=20)
    padded = dataclasses.replace(
        padded,
        ids_BL=F.pad(short.ids_BL, (0, 8), value=PAD),
        masked_BL=F.pad(short.masked_BL, (0, 8), value=PAD),
        first_B=short.first_B,
        positions_BP=short.positions_BP,
        used_BP=short.used_BP,
        uniform_BP=short.uniform_BP,
    )
    full = dataclasses.replace(short, lengths_B=None)
    first, second, third = pair(short), pair(padded), pair(full)
    torch.testing.assert_close(first.logits_BL, second.logits_BL[:, :12])
    torch.testing.assert_close(first.logits_BL, third.logits_BL)
    torch.testing.assert_close(first.discriminator_loss, second.discriminator_loss)
    torch.testing.assert_close(full.tokens, short.tokens)


def test_the_discriminator_sees_the_sampled_text(pair: Electra) -> None:
    """No [MASK], no original at a masked position but by chance: the input of the discriminator is caught and read."""
    batch = masked([20] * 16, width=20)
    seen: list[torch.Tensor] = []
    hook = pair.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    output = pair(batch)
    hook.remove()
    samples = output.generator.sample_P.view_as(batch.positions_BP)
    for row in range(16):
        expected = batch.ids_BL[row].clone()
        for slot in range(samples.shape[1]):
            if batch.used_BP[row, slot]:
                expected[batch.positions_BP[row, slot]] = samples[row, slot]
        assert seen[0][row].tolist() == expected.tolist()
    assert len(seen) == 1 and torch.equal(seen[0], output.corrupted_BL)
    assert (batch.masked_BL == MASK).sum() > 5 * (output.corrupted_BL == MASK).sum()


def test_label_1_only_where_the_sample_differs(pair: Electra) -> None:
    batch = masked([20] * 64, width=20)
    output = pair(batch)
    assert torch.equal(output.labels_BL, output.corrupted_BL != batch.ids_BL)
    untouched = torch.ones_like(batch.ids_BL, dtype=torch.bool)
    untouched.scatter_(1, batch.positions_BP, ~batch.used_BP)
    assert not output.labels_BL[untouched].any()
    original_BP = batch.ids_BL.gather(1, batch.positions_BP)
    same = (output.generator.sample_P.view_as(original_BP) == original_BP) & batch.used_BP
    assert same.any(), "by chance some samples are the original, and those count as original"
    assert not output.labels_BL.gather(1, batch.positions_BP)[same].any()
    assert torch.equal(fill(batch, original_BP.flatten()), batch.ids_BL)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_are_drawn_in_fp32_at_masked_positions_only(pair: Electra, dtype: torch.dtype) -> None:
    """The head sees the masked slots alone, and each sample inverts the exact cumulative softmax of its fp32 logits."""
    batch = masked([20] * 64, width=20)
    heads: list[torch.Tensor] = []
    hook = pair.generator_head.register_forward_hook(lambda _, given, made: heads.append(made.detach()))
    output = pair(batch, dtype=dtype)
    hook.remove()
    assert heads[0].shape[0] == batch.positions_BP.numel() and heads[0].dtype == dtype
    assert torch.equal(output.corrupted_BL, fill(batch, output.generator.sample_P))
    logits = F.linear(heads[0], pair.embeddings.word.to(dtype)).float() + pair.generator_head.bias
    ends = logits.double().softmax(-1).cumsum(-1)
    expected = torch.searchsorted(ends, batch.uniform_BP.flatten()[:, None])[:, 0]
    assert torch.equal(output.generator.sample_P, expected.clamp(max=VOCABULARY - 1))


def test_samples_of_one_position_become_the_mean_of_their_ids() -> None:
    """The released code's rule (electra.md 2.5): writes that collide are summed and divided by their number."""
    batch = masked([20, 20], width=20)
    positions = torch.tensor([[3, 3, 5, 3, 0], [7, 7, 9, 0, 0]])
    batch = dataclasses.replace(batch, positions_BP=positions, used_BP=positions > 0)
    samples = torch.tensor([[10, 15, 31, 20, 60], [33, 33, 40, 59, 58]])
    expected = batch.ids_BL.clone()
    expected[0, 3], expected[0, 5] = 15, 31  # (10 + 15 + 20) / 3
    expected[1, 7], expected[1, 9] = 33, 40  # the same sample twice is that sample; unused slots write nothing
    assert torch.equal(fill(batch, samples.flatten()), expected)
    samples[0, 1] = 16
    expected[0, 3] = 15  # 46 / 3, rounded down
    assert torch.equal(fill(batch, samples.flatten()), expected)


def test_a_position_drawn_twice_counts_twice_in_the_generators_loss(pair: Electra) -> None:
    batch = masked([20], width=20)
    once = dataclasses.replace(
        batch,
        positions_BP=torch.tensor([[6, 9]]),
        used_BP=torch.ones(1, 2, dtype=torch.bool),
        uniform_BP=torch.rand(1, 2),
    )
    twice = dataclasses.replace(
        once, positions_BP=torch.tensor([[6, 6]]), masked_BL=once.masked_BL, uniform_BP=once.uniform_BP
    )
    first = pair(once).generator.nll_P[0].item()
    assert pair(twice).generator.loss.item() == pytest.approx(2 * first, rel=1e-6)


def test_the_original_is_never_sampled_when_it_is_disallowed(pair: Electra) -> None:
    batch = masked([20] * 64, width=20)
    assert pair(batch).replaced_BL.sum() < batch.used_BP.sum()
    replaced = pair(batch, disallow_correct=True).replaced_BL
    assert replaced.sum() == batch.used_BP.sum()
    assert replaced.gather(1, batch.positions_BP)[batch.used_BP].all()


def test_no_special_token_is_ever_masked_or_replaced(pair: Electra) -> None:
    batch = masked([20, 19, 12, 3] * 64, width=20, fraction=0.8)
    special = torch.isin(batch.ids_BL, torch.tensor([PAD, CLS, SEP, MASK]))
    output = pair(batch)
    assert not special.gather(1, batch.positions_BP)[batch.used_BP].any()
    assert torch.equal(batch.masked_BL[special], batch.ids_BL[special])
    assert torch.equal(output.corrupted_BL[special], batch.ids_BL[special])
    assert batch.used_BP.sum() > 1000


def test_no_generator_only_parameter_receives_gradient_from_the_discriminators_loss(pair: Electra) -> None:
    pair(masked([20, 16], width=20)).discriminator_loss.backward()
    own = [*pair.generator.layers.parameters(), *pair.generator_head.parameters()]
    own += list(pair.generator.project.parameters()) if pair.generator.project is not None else []
    assert all(p.grad is None or not p.grad.any() for p in own)
    assert pair.embeddings.word.grad is not None and pair.embeddings.word.grad.any()


@pytest.mark.parametrize("sharing", ["own", "gdes"])
def test_networks_with_their_own_embeddings_are_trained_by_their_own_loss(sharing: Sharing) -> None:
    model = small_pair(variant=Variant(embeddings=sharing))
    of_generator = {*model.generator.parameters(), *model.generator_head.parameters()}
    output = model(masked([20, 16], width=20))
    output.discriminator_loss.backward(retain_graph=True)
    assert {p for p in model.parameters() if p.grad is not None} == set(model.parameters()) - of_generator
    model.zero_grad()
    output.generator.loss.backward()
    assert {p for p in model.parameters() if p.grad is not None} == of_generator


def test_loss_covers_special_tokens_and_leaves_padding_out(pair: Electra) -> None:
    batch = masked([20, 7], width=20)
    output = pair(batch)
    labels = output.replaced_BL.float()
    each = F.binary_cross_entropy_with_logits(output.logits_BL, labels, reduction="none")
    assert output.discriminator_loss.item() == pytest.approx((each[0].sum() + each[1, :7].sum()).item(), rel=1e-5)


# electra.md 3.2, computed from the released code; hf-compat.md measured the networks' totals on transformers' classes
@pytest.mark.parametrize(
    ("width", "share", "embeddings", "large", "large_head", "small", "small_head", "total"),
    [
        ((128, 256, 12, 4), 0.25, 3_972_864, 9_510_144, 66_049, 608_064, 39_098, 14_196_219),
        ((128, 256, 12, 4), 1.0, 3_972_864, 9_510_144, 66_049, 9_510_144, 63_674, 23_122_875),
        ((768, 768, 12, 12), 0.33333, 23_837_184, 85_054_464, 591_361, 9_673_984, 229_434, 119_386_427),
        ((1024, 1024, 24, 16), 0.25, 31_782_912, 302_309_376, 1_050_625, 19_216_640, 295_738, 354_655_291),
    ],
    ids=["small", "small as released", "base", "large"],
)
def test_parameter_counts_equal_the_published_models(
    width: tuple[int, int, int, int],
    share: float,
    embeddings: int,
    large: int,
    large_head: int,
    small: int,
    small_head: int,
    total: int,
) -> None:
    embedding, hidden, layers, heads = width
    shape = EncoderShape(30_522, embedding, hidden, layers, heads, 4 * hidden)
    with torch.device("meta"):
        model = Electra(shape, generator_shape(shape, size=share))

    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert count(model.embeddings) == embeddings
    assert count(model.discriminator) - embeddings == large
    assert count(model.discriminator_head) == large_head
    assert count(model.generator) - embeddings == small
    assert count(model.generator_head) == small_head
    assert count(model) == total
    public = to_public(model)
    stored = dict.fromkeys(("discriminator", "generator"), 0)
    for name, tensor in public.items():
        stored[name.split(".")[0]] += tensor.numel()
    tied = sum(public[source].numel() for source in set(ties(model).values()))
    assert stored["discriminator"] == embeddings + large + large_head
    assert stored["generator"] + tied == embeddings + small + small_head


@pytest.mark.parametrize(
    ("shared", "variant"),
    [
        (False, Variant()),
        (True, Variant()),
        (False, Variant(embeddings="own")),
        (False, Variant(embeddings="gdes")),
        (False, Variant("mlm")),
        (False, Variant("all-tokens-mlm", "unigram")),
        (True, Variant("replace-mlm")),
        (False, Variant("electric")),
        (False, Variant("electric", embeddings="own")),
        (False, Variant("electric", embeddings="gdes")),
    ],
)
def test_public_names_round_trip(shared: bool, variant: Variant) -> None:
    first = small_pair(shared=shared, variant=variant)
    if variant.generator == "unigram":
        first.fixed.count(torch.arange(VOCABULARY), never=(PAD,))
    tensors = to_public(first)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert set(ties(first).values()) <= tensors.keys()
    assert not ties(first).keys() & tensors.keys()
    other = Electra.from_architecture(first.architecture())
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.fill_(float("nan"))
    from_public(other, tensors)
    assert {*other.state_dict()} == {*first.state_dict()}
    for name, ours in first.state_dict().items():
        assert torch.equal(ours, other.state_dict()[name]), name


def test_a_shared_encoder_is_one_encoder_and_needs_equal_sizes() -> None:
    model = small_pair(shared=True)
    assert model.generator is model.discriminator
    assert not any(name.startswith("generator.electra") for name in to_public(model))
    assert Electra.from_architecture(model.architecture()).generator.shape == model.discriminator.shape
    shape = model.discriminator.shape
    with pytest.raises(ValueError, match=r"generator\.size"):
        Electra(shape, generator_shape(shape, size=0.5), shared_encoder=True)
    with pytest.raises(ValueError, match="does not fit"):
        Electra(shape, None)


def test_initial_loss_is_near_ln_v_plus_50_ln_2() -> None:
    """44.98 at the paper's vocabulary (electra.md 4)."""
    shape = EncoderShape(30_522, 32, 64, 2, 1, 128, positions=24)
    model = Electra(shape, generator_shape(shape, size=0.5))
    initialize(model, seed=1)
    batch = masked([20] * 32, width=20)
    output = model(batch)
    generator = output.generator.loss.item() / int(batch.used_BP.sum())
    discriminator = output.discriminator_loss.item() / int(batch.tokens)
    assert generator == pytest.approx(math.log(30_522), abs=0.1)
    assert discriminator == pytest.approx(math.log(2), abs=0.1)
    assert generator + 50 * discriminator == pytest.approx(44.98, abs=5)
