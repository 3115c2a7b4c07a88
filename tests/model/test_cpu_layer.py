"""The layer as one step of autograd against the same layer written plainly, weights and noise alike."""

from __future__ import annotations

import pytest
import torch

from electra_cli.model.attention import attention_bias
from electra_cli.model.encoder import Layer
from electra_cli.model.noise import Noise
from electra_cli.model.shape import EncoderShape

B, L, D = 3, 9, 24


def layer(dropout: float) -> Layer:
    made = Layer(EncoderShape(50, D, D, 1, 4, 40, dropout=dropout, attention_dropout=dropout))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made


def both(
    made: Layer, dtype: torch.dtype, *, short: bool, noisy: bool, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, torch.Tensor]]:
    """Output and every gradient: as one step, then plainly."""
    generator = torch.Generator().manual_seed(4)
    h = torch.randn(B, L, D, generator=generator).to(dtype)
    wanted = torch.randn(B, L, D, generator=generator).to(dtype)
    bias = attention_bias(torch.tensor([4, 9, 7]), L, dtype) if short else None
    found = []
    for one in (True, False):
        monkeypatch.setattr(Layer, "_in_one", lambda *_, one=one: one)
        made.zero_grad()
        x = h.clone().requires_grad_()
        out = made(x, bias, Noise(5, torch.device("cpu")) if noisy else None)
        out.backward(wanted)
        assert x.grad is not None
        gradients = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
        found.append({"out": out.detach(), "input": x.grad, **gradients})
    return found


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_output_and_gradients_are_those_of_the_plain_layer(
    dtype: torch.dtype, tolerance: float, noisy: bool, short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, plain = both(layer(0.3), dtype, short=short, noisy=noisy, monkeypatch=monkeypatch)
    assert set(one) == set(plain) and len(plain) == 14
    for name, value in plain.items():
        assert one[name].dtype == value.dtype, name
        scale = value.float().abs().max()
        assert (one[name].float() - value.float()).abs().max() <= tolerance * scale, name


def test_dropout_is_drawn_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bit of difference in the pattern nothing would be near."""
    one, plain = both(layer(0.5), torch.float32, short=False, noisy=True, monkeypatch=monkeypatch)
    assert torch.equal(one["out"] == 0, plain["out"] == 0)
    torch.testing.assert_close(one["out"], plain["out"])


def test_it_is_used_where_it_is_faster_and_nowhere_else() -> None:
    made, noise = layer(0.1), Noise(1, torch.device("cpu"))
    h = torch.zeros(B, L, D)
    assert made._in_one(h, noise) and made._in_one(h.bfloat16(), None)
    assert not made._in_one(h, None), "torch's attention is the faster one in float32 without dropout"
    with torch.no_grad():
        assert not made._in_one(h.bfloat16(), noise)
