from __future__ import annotations

import pytest

from electra_cli.model.variants import Variant, senseless


@pytest.mark.parametrize(
    ("variant", "changes", "keys"),
    [
        (Variant("mlm", "uniform"), {}, ("objective.kind", "generator.kind")),
        (Variant("mlm", embeddings="own"), {}, ("objective.kind", "generator.embeddings")),
        (Variant("mlm"), {"shared_encoder": True}, ("objective.kind", "generator.shared_encoder")),
        (Variant("electric", "unigram"), {}, ("objective.kind", "unigram")),
        (Variant("electric"), {"shared_encoder": True}, ("objective.kind", "generator.shared_encoder")),
        (Variant("electric"), {"temperature": 0.9}, ("objective.kind", "objective.temperature")),
        (Variant("electric"), {"disallow_correct": True}, ("objective.kind", "objective.disallow_correct")),
        (Variant("mlm"), {"disallow_correct": True}, ("objective.kind", "objective.disallow_correct")),
        (Variant("electra", "unigram"), {"disallow_correct": True}, ("generator.kind", "objective.disallow_correct")),
        (Variant("electra", "uniform", "gdes"), {}, ("generator.kind", "generator.embeddings")),
        (Variant("electra", "uniform"), {"shared_encoder": True}, ("generator.kind", "generator.shared_encoder")),
        (Variant("electra", "uniform"), {"temperature": 2.0}, ("generator.kind", "objective.temperature")),
        (Variant(embeddings="gdes"), {"shared_encoder": True}, ("generator.shared_encoder", "generator.embeddings")),
        (Variant("replace-mlm", embeddings="own"), {"two_stage": True}, ("two_stage_steps", "objective.kind")),
        (Variant("electra", "unigram", "own"), {"two_stage": True}, ("two_stage_steps", "generator.kind")),
        (Variant(), {"two_stage": True}, ("two_stage_steps", "generator.embeddings")),
        (
            Variant(embeddings="own"),
            {"two_stage": True, "same_size": False},
            ("two_stage_steps", "generator.size", "generator.layers", "model.embedding_size"),
        ),
    ],
)
def test_what_makes_no_sense_is_said_with_both_keys(
    variant: Variant, changes: dict[str, object], keys: tuple[str, ...]
) -> None:
    usual: dict[str, object] = {
        "shared_encoder": False,
        "temperature": 1.0,
        "disallow_correct": False,
        "two_stage": False,
        "same_size": True,
    }
    sentences = senseless(variant, **{**usual, **changes})  # type: ignore[arg-type]
    assert any(all(key in sentence for key in keys) for sentence in sentences), sentences
    if not changes:
        return
    assert not senseless(Variant(), **usual), "the default is refused nothing"  # type: ignore[arg-type]


def test_what_makes_sense_passes() -> None:
    usual = {
        "shared_encoder": False,
        "temperature": 1.0,
        "disallow_correct": False,
        "two_stage": False,
        "same_size": False,
    }
    good = [Variant("mlm"), Variant("electric", embeddings="own"), Variant("all-tokens-mlm", "unigram")]
    for variant in [*good, Variant("replace-mlm", embeddings="gdes"), Variant("electra-15", "uniform")]:
        assert senseless(variant, **usual) == []  # type: ignore[arg-type]
    stages = {
        "shared_encoder": False,
        "temperature": 1.0,
        "disallow_correct": False,
        "two_stage": True,
        "same_size": True,
    }
    assert senseless(Variant("electra-15", embeddings="own"), **stages) == []  # type: ignore[arg-type]
