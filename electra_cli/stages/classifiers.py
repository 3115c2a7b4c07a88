"""Classifiers: made from a checkpoint, loaded from a model artifact, asked, and scored.

Shapes: B rows in a batch, L tokens in a row, N rows of a data set, C classes (1 for regression).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from electra_cli.artifacts import Artifact
from electra_cli.errors import ArtifactError
from electra_cli.model.classifier import Classifier
from electra_cli.model.initialize import initialize
from electra_cli.model.naming import discriminator_as_encoder, from_public, to_public
from electra_cli.model.shape import EncoderShape
from electra_cli.reporting import Meter, SilentMeter
from electra_cli.runtime.machine import Precision, choose_machine
from electra_cli.tasks.features import Batch, Features, batches, encode, sorted_order
from electra_cli.tasks.metrics import score
from electra_cli.tasks.task import Examples, Task
from electra_cli.text.tokenizer import Tokenizer
from electra_cli.training.checkpoints import load_weights, read_weights

SCORED_AT_ONCE = 64  # rows in a batch when nothing is learnt


def classifier_from(checkpoint: Artifact, shape: EncoderShape, *, outputs: int, seed: int, random: bool) -> Classifier:
    """A classifier with the checkpoint's encoder, or a `random` one of the same shape, and a new head from `seed`.

    Raises ArtifactError when the weights are not those that the manifest describes.
    """
    model = Classifier(shape, outputs)
    initialize(model, seed=seed, scheme=checkpoint.spec.get("start", "paper"))  # random: where pretraining started
    if random:
        return model
    wanted = to_public(model)
    encoder = discriminator_as_encoder(read_weights(checkpoint))
    missing = sorted(name for name in wanted if name.startswith("electra.") and name not in encoder)
    if missing:
        raise _misfit(checkpoint, f"no tensor discriminator.{missing[0]}")
    try:
        from_public(model, {**wanted, **encoder})
    except ValueError as error:
        raise _misfit(checkpoint, str(error)) from None
    return model


def load_classifier(artifact: Artifact) -> tuple[Classifier, Task]:
    """The network and the task of a model artifact; raises ArtifactError when its parts do not fit together."""
    try:
        task = Task.from_spec(artifact.spec["task"])
        model = Classifier(EncoderShape.from_dict(artifact.spec["architecture"]), task.outputs)
    except (KeyError, TypeError, ValueError) as error:
        raise _misfit(artifact, f"the manifest's spec is not that of a classifier ({error})") from None
    load_weights(model, artifact)
    return model, task


def _misfit(artifact: Artifact, problem: str) -> ArtifactError:
    return ArtifactError(
        f"the weights do not fit the manifest: {problem}",
        code="TENSOR_MISMATCH",
        where=str(artifact.path),
        hint=f"electra verify {artifact.path}",
    )


def tensors_of(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """ids_BL, types_BL and lengths_B on `device`; lengths_B is None when no row is padded."""
    ids_BL = torch.from_numpy(batch.ids_BL).to(device)
    types_BL = torch.from_numpy(batch.types_BL).to(device)
    full = int(batch.lengths_B.min()) == batch.ids_BL.shape[1]
    return ids_BL, types_BL, None if full else torch.from_numpy(batch.lengths_B).to(device)


@torch.inference_mode()
def answers(
    model: Classifier,
    features: Features,
    *,
    pad_id: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    batch_size: int = SCORED_AT_ONCE,
    meter: Meter | None = None,
) -> np.ndarray:
    """What the model says of every row: outputs_NC in float32, without dropout, in the order of the rows."""
    outputs_NC = np.zeros((len(features), model.out.weight.shape[0]), dtype=np.float32)
    order = sorted_order(features.lengths_N, batch_size=batch_size)
    for batch in batches(features, order, pad_id=pad_id, max_length=model.shape.positions):
        ids_BL, types_BL, lengths_B = tensors_of(batch, device)
        outputs_NC[batch.rows_B] = model(ids_BL, types_BL, lengths_B=lengths_B, dtype=dtype).cpu().numpy()
        (meter or SilentMeter()).advance(len(batch.rows_B))
    return outputs_NC


def rate(task: Task, outputs_NC: np.ndarray, targets_N: np.ndarray) -> dict[str, float | None]:
    """The task's metrics and the mean loss of outputs (for regression: on the scale 0…1); no rows give None."""
    if not len(targets_N):
        return {**score(task.metrics, targets_N, targets_N), "loss": None}
    if task.kind == "regression":
        loss = float(np.mean((outputs_NC[:, 0].astype(np.float64) - targets_N) ** 2))
        return {**score(task.metrics, outputs_NC[:, 0], targets_N), "loss": loss}
    loss = float(F.cross_entropy(torch.from_numpy(outputs_NC).double(), torch.from_numpy(targets_N)))
    return {**score(task.metrics, outputs_NC.argmax(1), targets_N), "loss": loss}


def rate_majority(task: Task, train_N: np.ndarray, targets_N: np.ndarray) -> dict[str, float | None]:
    """The metrics of knowing nothing: always the most frequent training label, or the mean training target."""
    if task.kind == "regression":
        return score(task.metrics, np.full(len(targets_N), train_N.mean()), targets_N)
    most = min(Counter(train_N.tolist()).items(), key=lambda item: (-item[1], item[0]))[0]
    return score(task.metrics, np.full(len(targets_N), most), targets_N)


def undefined(metrics: Mapping[str, float | None], names: Sequence[str]) -> str | None:
    """A sentence about the metrics among `names` that have no value, None if all have one."""
    missing = [name for name in names if metrics[name] is None]
    return f"{' and '.join(missing)} can't be computed on these rows and is null" if missing else None


def to_zero_one(task: Task, outputs_NC: np.ndarray) -> np.ndarray:
    """A published regression model's answers, which are in the task's own scale, on the scale 0…1 of its targets."""
    low, high = task.scale or (0.0, 1.0)
    return (outputs_NC - low) / (high - low)


def answer_in_own_scale(model: Classifier, task: Task) -> None:
    """Change the last layer of a regression model that was trained on 0…1 so that it answers in the task's own scale.

    The scale is in the weights then, and an export answers like we do. Classifiers stay as they are.
    """
    if task.scale is not None:
        low, high = task.scale
        with torch.no_grad():
            model.out.weight.mul_(high - low)
            model.out.bias.mul_(high - low).add_(low)


class Answerer:
    """A model artifact, ready to answer texts."""

    def __init__(self, artifact: Artifact, *, device: str, precision: Precision, batch_size: int) -> None:
        self.model, self.task = load_classifier(artifact)
        self.machine = choose_machine(device, precision)
        self.tokenizer = Tokenizer.load(artifact.path / "tokenizer")
        self.batch_size = batch_size
        self.model.to(self.machine.device)

    def outputs(self, examples: Examples, *, meter: Meter | None = None) -> np.ndarray:
        """What the model says of every row: logits, or numbers on the task's own scale; outputs_NC."""
        features = encode(self.tokenizer, examples, None, max_length=self.task.max_length)
        return answers(
            self.model,
            features,
            pad_id=self.tokenizer.pad_id,
            device=self.machine.device,
            dtype=self.machine.dtype,
            batch_size=self.batch_size,
            meter=meter,
        )

    def answer(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[dict[str, Any]]:
        """For each row the label and every label's probability (they sum to 1), or the score of a regression."""
        outputs_NC = self.outputs(Examples(Path(), range(len(texts)), texts, pairs, None))
        if self.task.kind == "regression":
            return [{"score": round(float(value), 6)} for value in outputs_NC[:, 0]]
        probabilities_NC = torch.from_numpy(outputs_NC).double().softmax(1).tolist()
        return [
            {
                "label": self.task.labels[int(best)],
                "probabilities": {
                    label: round(p, 6) for label, p in zip(self.task.labels, probabilities_C, strict=True)
                },
            }
            for best, probabilities_C in zip(outputs_NC.argmax(1), probabilities_NC, strict=True)
        ]
