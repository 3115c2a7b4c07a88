import pytest

from electra_cli.model.classifier import Classifier
from electra_cli.model.shape import EncoderShape
from electra_cli.tasks.layerwise import depth_of, learning_rate_scale


def scales(*, layers, decay, skips_depth=True):
    names = [f"encoder.layers.{layer}.up.weight" for layer in range(layers)]
    scale = [learning_rate_scale(name, layers=layers, decay=decay, skips_depth=skips_depth) for name in names]
    rest = [
        learning_rate_scale(name, layers=layers, decay=decay, skips_depth=skips_depth)
        for name in ("encoder.embeddings.word", "encoder.project.weight", "out.weight")
    ]
    return rest, scale


def test_multipliers_are_those_of_the_released_code_at_12_layers():
    (embeddings, projection, head), layers = scales(layers=12, decay=0.8)
    assert embeddings == projection == pytest.approx(0.0440, abs=5e-5)
    assert layers[0] == pytest.approx(0.0550, abs=5e-5)
    assert layers[5] == pytest.approx(0.1678, abs=5e-5)
    assert layers[6] == pytest.approx(0.2097, abs=5e-5)
    assert layers[-1] == pytest.approx(0.64)
    assert head == 1


def test_multipliers_are_those_of_the_released_code_at_24_layers():
    (embeddings, _, head), layers = scales(layers=24, decay=0.9)
    assert embeddings == pytest.approx(0.0646, abs=5e-5)
    assert layers[0] == pytest.approx(0.0718, abs=5e-5)
    assert layers[11] == pytest.approx(0.2288, abs=5e-5)
    assert layers[12] == pytest.approx(0.2542, abs=5e-5)
    assert layers[-1] == pytest.approx(0.81)
    assert head == 1


def test_without_the_skip_the_last_layer_gets_one_decay():
    (embeddings, _, head), layers = scales(layers=12, decay=0.8, skips_depth=False)
    assert layers[-1] == pytest.approx(0.8)
    assert embeddings == pytest.approx(0.8**13)
    assert head == 1


def test_every_parameter_of_a_real_classifier_has_a_depth():
    shape = EncoderShape(vocab_size=11, embedding_size=8, hidden_size=16, layers=3, heads=2, feed_forward=32)
    depths = {name: depth_of(name, layers=3) for name, _ in Classifier(shape, 2).named_parameters()}
    assert set(depths.values()) == {0, 1, 2, 3, 5}
    assert {name for name, depth in depths.items() if depth == 5} == {
        "dense.weight",
        "dense.bias",
        "out.weight",
        "out.bias",
    }


def test_a_parameter_of_no_known_depth_is_refused():
    with pytest.raises(ValueError, match="pooler"):
        depth_of("pooler.weight", layers=3)
