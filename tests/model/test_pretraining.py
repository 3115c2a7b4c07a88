"""The pair's arithmetic against the public implementation with the same weights, and the method's own rules."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from electra_cli.model.naming import from_public, rename, ties, to_public
from electra_cli.model.pretraining import Electra, fill
from electra_cli.model.shape import EncoderShape, generator_shape
from tests.model.pairs import MASK, PAD, VOCABULARY, masked, small_pair


@pytest.fixture
def pair() -> Electra:
    return small_pair()


def public_pair(model: Electra):  # type: ignore[no-untyped-def]
    """transformers' generator and discriminator with `model`'s weights, their embeddings shared as the paper has it."""
    transformers = pytest.importorskip("transformers")
    made = []
    tensors = to_public(model)
    tensors |= {name: tensors[source] for name, source in ties(model).items()}
    for which, kind in (("generator", "ElectraForMaskedLM"), ("discriminator", "ElectraForPreTraining")):
        shape = getattr(model, which).shape
        config = transformers.ElectraConfig(
            vocab_size=shape.vocab_size,
            embedding_size=shape.embedding_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.feed_forward,
            max_position_embeddings=shape.positions,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        public = getattr(transformers, kind)(config)
        own = {name.removeprefix(f"{which}."): t for name, t in tensors.items() if name.startswith(f"{which}.")}
        missing, unexpected = public.load_state_dict(own, strict=False)
        assert not unexpected and all("position_ids" in name for name in missing)
        made.append(public.train())
    generator, discriminator = made
    if model.shared_encoder:
        discriminator.electra = generator.electra
    else:
        discriminator.electra.embeddings = generator.electra.embeddings
    return generator, discriminator


def inputs(ids: torch.Tensor, batch) -> dict[str, torch.Tensor]:  # type: ignore[no-untyped-def]
    columns = torch.arange(ids.shape[1])[None, :]
    attention = (columns < batch.lengths_B[:, None]).long()
    return {"input_ids": ids, "attention_mask": attention, "token_type_ids": (columns >= batch.first_B[:, None]).long()}


@pytest.mark.parametrize(("embedding", "hidden", "shared"), [(12, 16, False), (16, 16, False), (12, 16, True)])
def test_joint_loss_and_every_gradient_equal_the_public_modules(embedding: int, hidden: int, shared: bool) -> None:
    model = small_pair(embedding=embedding, hidden=hidden, shared=shared)
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
    counted = torch.arange(20)[None, :] < batch.lengths_B[:, None]
    labels = (corrupted != batch.ids_BL).float()
    theirs = F.cross_entropy(picked, targets) + 50 * F.binary_cross_entropy_with_logits(
        scores[counted], labels[counted]
    )
    theirs.backward()

    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    gradients = {}
    for which, module in (("discriminator", discriminator), ("generator", generator)):
        gradients |= {f"{which}.{name}": p.grad for name, p in module.named_parameters()}
    for tied, source in ties(model).items():  # one tensor there too, under two names
        gradients.pop(tied, None)
        assert gradients[source] is not None
    expected = dict(model.named_parameters())
    names = {id(p): name for name, p in expected.items()}
    assert len(names) == len(expected), "a shared tensor must be one tensor"
    found = rename({name: p.grad for name, p in expected.items()})
    assert found.keys() == gradients.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, gradients[name], rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


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


def test_discriminator_sees_samples_and_labels_say_what_differs(pair: Electra) -> None:
    batch = masked([20] * 16, width=20)
    output = pair(batch)
    samples = output.generator.sample_P.view_as(batch.positions_BP)
    for row in range(16):
        expected = batch.ids_BL[row].clone()
        for slot in range(samples.shape[1]):
            if batch.used_BP[row, slot]:
                expected[batch.positions_BP[row, slot]] = samples[row, slot]
        assert output.corrupted_BL[row].tolist() == expected.tolist()
    assert not (output.corrupted_BL == MASK).logical_and(output.corrupted_BL != batch.ids_BL).all()
    assert torch.equal(output.replaced_BL, output.corrupted_BL != batch.ids_BL)
    untouched = torch.ones_like(batch.ids_BL, dtype=torch.bool)
    untouched.scatter_(1, batch.positions_BP, ~batch.used_BP)
    assert not output.replaced_BL[untouched].any()


def test_a_sample_equal_to_the_original_counts_as_original(pair: Electra) -> None:
    batch = masked([20, 20], width=20)
    original = batch.ids_BL.gather(1, batch.positions_BP).flatten()
    assert torch.equal(fill(batch, original), batch.ids_BL)


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


def test_no_gradient_from_the_discriminator_reaches_the_generator(pair: Electra) -> None:
    pair(masked([20, 16], width=20)).discriminator_loss.backward()
    own = [*pair.generator.layers.parameters(), *pair.generator_head.parameters()]
    own += list(pair.generator.project.parameters()) if pair.generator.project is not None else []
    assert all(p.grad is None or not p.grad.any() for p in own)
    assert pair.embeddings.word.grad is not None and pair.embeddings.word.grad.any()


def test_loss_covers_special_tokens_and_leaves_padding_out(pair: Electra) -> None:
    batch = masked([20, 7], width=20)
    output = pair(batch)
    labels = output.replaced_BL.float()
    each = F.binary_cross_entropy_with_logits(output.logits_BL, labels, reduction="none")
    assert output.discriminator_loss.item() == pytest.approx((each[0].sum() + each[1, :7].sum()).item(), rel=1e-5)


# hf-compat.md: counts measured on transformers' classes; electra.md 3.2 computed them from the released code
@pytest.mark.parametrize(
    ("embedding", "hidden", "layers", "heads", "share", "pair_total", "discriminator", "generator"),
    [
        (128, 256, 12, 4, 0.25, 14_196_219, 13_549_057, 4_620_026),
        (128, 256, 12, 4, 1.0, 23_122_875, 13_549_057, 13_546_682),
        (768, 768, 12, 12, 0.33333, 119_386_427, 109_483_009, 33_740_602),
        (1024, 1024, 24, 16, 0.25, 354_655_291, 335_142_913, 51_295_290),
    ],
)
def test_parameter_counts_are_the_published_ones(
    embedding: int,
    hidden: int,
    layers: int,
    heads: int,
    share: float,
    pair_total: int,
    discriminator: int,
    generator: int,
) -> None:
    shape = EncoderShape(30_522, embedding, hidden, layers, heads, 4 * hidden)
    with torch.device("meta"):
        model = Electra(shape, generator_shape(shape, size=share))
    assert sum(p.numel() for p in model.parameters()) == pair_total
    public = to_public(model)
    counts = dict.fromkeys(("discriminator", "generator"), 0)
    for name, tensor in public.items():
        counts[name.split(".")[0]] += tensor.numel()
    shared = sum(public[source].numel() for source in set(ties(model).values()))
    assert counts["discriminator"] == discriminator
    assert counts["generator"] + shared == generator


@pytest.mark.parametrize("shared", [False, True])
def test_public_names_round_trip(shared: bool) -> None:
    pair, other = small_pair(shared=shared), small_pair(shared=shared)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    from_public(other, to_public(pair))
    for (name, ours), (_, theirs) in zip(pair.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_shared_encoder_is_one_encoder_and_needs_equal_sizes() -> None:
    model = small_pair(shared=True)
    assert model.generator is model.discriminator
    assert not any(name.startswith("generator.electra") for name in to_public(model))
    assert Electra.from_architecture(model.architecture()).generator.shape == model.discriminator.shape
    shape = model.discriminator.shape
    with pytest.raises(ValueError, match=r"generator\.size"):
        Electra(shape, generator_shape(shape, size=0.5), shared_encoder=True)


def test_first_loss_is_that_of_guessing() -> None:
    """ln V and ln 2 at the paper's initialization (electra.md 4: 44.98 in all at V = 30,522)."""
    import math

    from electra_cli.model.initialize import initialize

    shape = EncoderShape(VOCABULARY, 32, 64, 2, 1, 128, positions=24)
    model = Electra(shape, generator_shape(shape, size=0.5))
    initialize(model, seed=1)
    batch = masked([20] * 32, width=20)
    output = model(batch)
    assert output.generator.loss.item() / int(batch.used_BP.sum()) == pytest.approx(math.log(VOCABULARY), abs=0.1)
    assert output.discriminator_loss.item() / int(batch.tokens) == pytest.approx(math.log(2), abs=0.2)
