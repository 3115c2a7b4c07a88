from __future__ import annotations

import torch

from electra_cli.runtime.counters import draw_bits, key, mix, uniform


def test_mix_is_splitmix64() -> None:
    """The first outputs of splitmix64 seeded with 0, a published test vector."""
    golden = 0x9E3779B97F4A7C15
    states = [(golden * n) % 2**64 for n in (1, 2, 3)]
    signed = torch.tensor([s - 2**64 if s >= 2**63 else s for s in states])
    assert [n % 2**64 for n in mix(signed).tolist()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_key_agrees_with_the_tensor_form_and_minds_the_order() -> None:
    assert key(5) == mix(torch.tensor([5 + 0x9E3779B97F4A7C15 - 2**64])).item()
    assert len({key(1, 2), key(2, 1), key(1), key(1, 2, 0), key(-1, 2)}) == 5


def test_uniform_is_uniform() -> None:
    numbers = uniform(draw_bits(key(3), torch.arange(1000), 100))
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers.float(), bins=50, min=0, max=1)
    statistic = ((counts - 2000) ** 2 / 2000).sum()
    assert statistic < 85.4  # chi-squared, 49 degrees of freedom, 99.9 %
    assert abs(torch.corrcoef(numbers.T)[0, 1]) < 0.12 and abs(torch.corrcoef(numbers)[0, 1]) < 0.4
