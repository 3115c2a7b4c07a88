"""Checkpoints: model, optimizer and counters as safetensors and JSON, published one by one inside a run.

A checkpoint is an artifact of its own (`vN/checkpoints/step-00000200`), usable while the run goes on. What a resumed
run needs besides the weights is small: where it is (`state.json`) and Adam's moments. The order of the data, the
masks, the samples and dropout are functions of the seed and the step, so no generator's state is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from electra_cli.artifacts import Artifact, Draft, Recipe, children, discard, open_artifact, publish_inside
from electra_cli.errors import ArtifactError, DivergedError
from electra_cli.model.naming import from_public, to_public
from electra_cli.reporting import Reporter
from electra_cli.training.optimizer import load_moments, moments

FOLDER = "checkpoints"
WEIGHTS, MOMENTS, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
AVERAGE = "average.safetensors"


def write_weights(draft: Draft, model: nn.Module) -> None:
    """Write the model under its public tensor names as `model.safetensors`.

    Raises:
        DivergedError: a weight is not finite; such a model is never written.
    """
    tensors = {name: tensor.cpu() for name, tensor in to_public(model).items()}
    _refuse_nonfinite(tensors)
    draft.write_bytes(WEIGHTS, save(tensors, metadata={"format": "pt"}))


def _refuse_nonfinite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DivergedError(
                f"{name} holds values that are not finite; nothing was written",
                code="NONFINITE_WEIGHTS",
                hint="lower the peak learning rate or lengthen the warm-up; the last checkpoint is intact",
            )


def read_weights(artifact: Artifact, name: str = WEIGHTS) -> dict[str, Tensor]:
    """The tensors of one of an artifact's files, on the CPU.

    Raises:
        ArtifactError: the file is damaged, or holds values that are not finite.
    """
    path = artifact.file(name)
    try:
        tensors: dict[str, Tensor] = load(path.read_bytes())
    except SafetensorError as error:
        raise ArtifactError(f"not a safetensors file: {error}", code="BAD_WEIGHTS", where=str(path)) from error
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"{key} holds values that are not finite", code="NONFINITE_WEIGHTS", where=str(path))
    return tensors


def load_weights(model: nn.Module, artifact: Artifact) -> None:
    """Load an artifact's weights into `model`, in place.

    Raises:
        ArtifactError: a tensor is missing or has another shape.
    """
    try:
        from_public(model, read_weights(artifact))
    except KeyError as error:
        raise ArtifactError(f"has no tensor {error}", code="MISSING_TENSOR", where=str(artifact.path)) from error
    except ValueError as error:
        raise ArtifactError(str(error), code="TENSOR_SHAPE", where=str(artifact.path)) from error


def copy_files(draft: Draft, source: Artifact, folder: str) -> None:
    """Copy the files of `source` that lie under `folder` into the draft, checked."""
    for record in source.manifest.files:
        if record.path.startswith(f"{folder}/"):
            draft.write_bytes(record.path, source.check_file(record.path).read_bytes())


@dataclass
class Saved:
    """What a run resumes from.

    Attributes:
        artifact: the checkpoint.
        state: its `state.json`; `state["step"]` is the number of steps taken.
    """

    artifact: Artifact
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, in its growing directory.

    Args:
        run: the version's directory.
        recipe: the run's recipe; checkpoints carry it.
        keep: how many of the newest to keep; the best one stays besides.
    """

    def __init__(self, run: Path, recipe: Recipe, *, keep: int) -> None:
        self.folder = run / FOLDER
        self.recipe = recipe
        self.keep = keep

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: Mapping[str, Any],
        *,
        spec: Mapping[str, Any],
        carry: Artifact,
        best: str | None,
        average: Mapping[str, Tensor] | None = None,
    ) -> Artifact:
        """Publish a checkpoint of `state["step"]`, then remove what retention does not keep.

        Args:
            model: weights to save.
            optimizer: moments to save.
            state: counters, JSON.
            spec: the artifact's spec.
            carry: the artifact whose `tokenizer/` every checkpoint carries along.
            best: name of the best checkpoint so far; it is kept. `"this"` means the one being saved.
            average: the running mean of the weights, if there is one.

        Raises:
            DivergedError: a weight or a moment is not finite; nothing is published or removed.
        """
        name = checkpoint_name(state["step"])

        def write(draft: Draft) -> Mapping[str, Any]:
            write_weights(draft, model)
            named = list(model.named_parameters())
            adam = {name: tensor.cpu() for name, tensor in moments(optimizer, named).items()}
            _refuse_nonfinite(adam)  # weights may still be finite where a second moment has overflowed
            draft.write_bytes(MOMENTS, save(adam))
            if average:
                draft.write_bytes(AVERAGE, save({k: v.cpu() for k, v in average.items()}))
            draft.write_json(STATE, dict(state))
            copy_files(draft, carry, "tokenizer")
            return spec

        saved = publish_inside(self.folder, name, self.recipe, write)
        keep = {path.name for path in children(self.folder)[-self.keep :]} | {best, name}
        for path in children(self.folder):
            if path.name not in keep:
                discard(path)
        return saved

    def newest(self, *, report: Reporter) -> Saved | None:
        """The newest checkpoint that verifies; None when the run has none yet.

        Damaged ones are passed over with a warning.

        Raises:
            ArtifactError: there are checkpoints, and all are damaged.
        """
        found = children(self.folder)
        for path in reversed(found):
            try:
                artifact = open_artifact(path, kinds={"checkpoint"})
                state = json.loads(artifact.file(STATE).read_bytes())
                return Saved(artifact, state)
            except ArtifactError as error:
                report.warn(f"checkpoint {path.name} is damaged and passed over: {error}")
        if found:
            raise ArtifactError(
                f"all {len(found)} checkpoints of this run are damaged",
                code="NO_GOOD_CHECKPOINT",
                where=str(self.folder),
                hint=f"restore one of them, or remove {self.folder.parent} to start anew",
            )
        return None


def checkpoint_name(step: int) -> str:
    """The directory of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


def restore(saved: Saved, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's weights and moments back, in place."""
    load_weights(model, saved.artifact)
    try:
        load_moments(optimizer, list(model.named_parameters()), read_weights(saved.artifact, MOMENTS))
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(
            f"unfit optimizer state: {error}", code="BAD_STATE", where=str(saved.artifact.path)
        ) from error
