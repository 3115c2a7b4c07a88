"""One training run, step by step, against the public model class and the released code's formulas written out."""

import pytest
import torch
from safetensors.torch import load_file

from electra_cli.artifacts import open_artifact
from electra_cli.stages.finetune import FinetuneSettings, run_classify
from electra_cli.tasks.features import batches, encode, training_order
from electra_cli.tasks.labels import encode_labels
from electra_cli.tasks.tables import Columns, read_table
from electra_cli.tasks.task import Task
from electra_cli.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")

LAYERS, EPOCHS, BATCH, PEAK, DECAY, WARMUP, CLIP = 2, 2, 32, 1e-3, 0.7, 0.25, 0.005


def public_model(weights, spec):
    shape = spec["architecture"]
    config = transformers.ElectraConfig(
        vocab_size=shape["vocab_size"],
        embedding_size=shape["embedding_size"],
        hidden_size=shape["hidden_size"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        intermediate_size=shape["feed_forward"],
        max_position_embeddings=shape["positions"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
    )
    model = transformers.ElectraForSequenceClassification(config)
    model.load_state_dict(weights)
    return model


def exponent(name):
    """Of the decay, as the released code counts (electra.md 5.4)."""
    if "embeddings" in name:
        return LAYERS + 2
    if "encoder.layer." in name:
        return LAYERS + 2 - (int(name.split("encoder.layer.")[1].split(".")[0]) + 1)
    return 0


@pytest.mark.slow
def test_a_run_is_what_the_formulas_say(tmp_path, checkpoint, toy):
    def learn(out, rate):
        settings = FinetuneSettings(
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=rate,
            layerwise_decay=DECAY,
            warmup_proportion=WARMUP,
            clip=CLIP,
            dropout=0.0,
            weight_decay=0.05,
            seed=5,
            precision="fp32",
            device="cpu",
        )
        outcome = run_classify(checkpoint, toy / "train.tsv", out, dev=toy / "dev.tsv", settings=settings)
        return load_file(outcome.artifact.file("model.safetensors")), outcome.artifact.spec

    started, spec = learn(tmp_path / "still", 1e-30)  # the weights that a run starts from
    ours, _ = learn(tmp_path / "moved", PEAK)

    model = public_model(started, spec)
    task = Task("classify", "single_label", ("bad", "good"), ("text",), "label", ())
    examples = read_table(toy / "train.tsv", Columns("text", label="label"))
    tokenizer = Tokenizer.load(open_artifact(checkpoint).path / "tokenizer")
    features = encode(tokenizer, examples, encode_labels(examples, task), max_length=64)
    order = [
        rows
        for epoch in range(EPOCHS)
        for rows in training_order(features.lengths_N, batch_size=BATCH, seed=5, epoch=epoch)
    ]
    total = len(order)
    m, v = ({name: torch.zeros_like(p) for name, p in model.named_parameters()} for _ in range(2))
    for step, batch in enumerate(batches(features, order, pad_id=0, max_length=64)):
        mask = torch.arange(batch.ids_BL.shape[1])[None, :] < torch.from_numpy(batch.lengths_B)[:, None]
        model.zero_grad()
        model(
            input_ids=torch.from_numpy(batch.ids_BL),
            token_type_ids=torch.from_numpy(batch.types_BL),
            attention_mask=mask.long(),
            labels=torch.from_numpy(batch.targets_B),
        ).loss.backward()
        norm = sum(float(p.grad.double().square().sum()) for p in model.parameters()) ** 0.5
        assert norm > CLIP  # the clip is part of what is tested
        rate = PEAK * (1 - step / total) * min(1.0, step / int(WARMUP * total))
        with torch.no_grad():
            for name, p in model.named_parameters():
                g = p.grad * (CLIP / norm)
                m[name] = 0.9 * m[name] + 0.1 * g
                v[name] = 0.999 * v[name] + 0.001 * g * g
                decayed = 0.0 if p.ndim == 1 else 0.05
                p -= rate * DECAY ** exponent(name) * (m[name] / (v[name].sqrt() + 1e-6) + decayed * p)
    for name, expected in model.state_dict().items():
        moved = (expected - started[name]).abs().max()
        assert (ours[name] - expected).abs().max() < 1e-2 * moved + 1e-7, name
    assert (
        ours["electra.embeddings.word_embeddings.weight"] - started["electra.embeddings.word_embeddings.weight"]
    ).any()
