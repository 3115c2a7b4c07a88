"""The model card of an export: what it is, how to load it, where it came from, what was checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from electra_cli.artifacts import Artifact
from electra_cli.exporting.hf import AUTO_CLASS_OF, CLASS_OF, Network, Part

_WHAT: dict[Part, str] = {
    "discriminator": (
        "The discriminator of an ELECTRA pair: for every token of a text it gives one logit, positive where it takes "
        "the token for a replacement. Its encoder is what one finetunes; `ElectraModel` and every task class of the "
        "library load from this folder, with a fresh head."
    ),
    "generator": (
        "The generator of an ELECTRA pair: a small masked language model. It was trained to give the discriminator "
        "plausible replacements, not to be good by itself; finetune the discriminator instead."
    ),
    "masked-lm": (
        "A masked language model trained by one of the objectives that the ELECTRA paper compares itself with "
        "(`objective.kind` below). Its encoder can be finetuned: `ElectraModel` and every task class of the library "
        "load from this folder, with a fresh head."
    ),
    "classifier": "A text classifier finetuned from the discriminator of an ELECTRA pair.",
}
_ELECTRIC = (
    "The energy model of Electric: for every token of a text it gives one logit, and minus the logit is, up to a "
    "constant, the token's log-probability in its context. Its encoder can be finetuned: `ElectraModel` and every task "
    "class of the library load from this folder, with a fresh head."
)
_PIPELINE: dict[Part, str | None] = {
    "discriminator": None,
    "generator": "fill-mask",
    "masked-lm": "fill-mask",
    "classifier": "text-classification",
}


def model_card(artifact: Artifact, network: Network, *, license_id: str, tolerance: float) -> str:
    """Markdown with the hub's front matter; a pure function of its arguments, so it names no date and no machine.

    Args:
        artifact: what is exported.
        network: which network of it.
        license_id: the licence that the user gave, empty if none.
        tolerance: the largest difference of logits that the check lets through.
    """
    architecture = CLASS_OF[network.part]
    sections = [
        _front_matter(network, license_id),
        f"# ELECTRA {network.part}, {network.shape['layers']} layers of width {network.shape['hidden_size']}",
        _ELECTRIC if _is_electric(artifact) and network.part == "discriminator" else _WHAT[network.part],
        "## Loading",
        "```python\n"
        f"from transformers import {AUTO_CLASS_OF[architecture]}, AutoTokenizer\n\n"
        f"model = {AUTO_CLASS_OF[architecture]}.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n```",
        "## Size",
        _table(("", ""), _sizes(network)),
        *(_task_section(artifact) if network.part == "classifier" else []),
        *_scores_section(artifact),
        "## Where it came from",
        "Made by `electra export`. The ids are sha256 sums over contents; `electra lineage` follows them.",
        _table(("role", "kind", "content id"), _origins(artifact)),
        f"Settings of `{artifact.manifest.stage}`, which made the source:",
        f"```json\n{json.dumps(artifact.manifest.config, indent=2, ensure_ascii=False)}\n```",
        "## Checked before publishing",
        "A fresh process read this folder and gave the same token ids and the same logits as the source on the "
        f"sentences that ship with electra, the largest difference at most {tolerance:g} (of the largest logit, where "
        "that is more than 1). The figures are in the provenance of `manifest.json`.",
        "## Licence",
        f"`{license_id}`" if license_id else "Not stated. It depends on the text that the model was trained on.",
    ]
    return "\n\n".join(sections) + "\n"


def _is_electric(artifact: Artifact) -> bool:
    architecture = artifact.spec.get("architecture", {})
    return bool(architecture.get("variant", {}).get("objective") == "electric")


def _front_matter(network: Network, license_id: str) -> str:
    lines = ["---", "library_name: transformers", "tags:", "- electra"]
    if pipeline := _PIPELINE[network.part]:
        lines.append(f"pipeline_tag: {pipeline}")
    lines.append(f"license: {json.dumps(license_id or 'unknown')}")
    return "\n".join([*lines, "---"])


def _sizes(network: Network) -> list[tuple[str, str]]:
    shape = network.shape
    parameters = sum(tensor.numel() for tensor in network.tensors.values())
    return [
        ("class", f"`{CLASS_OF[network.part]}`"),
        ("parameters", f"{parameters:,}"),
        ("layers × width", f"{shape['layers']} × {shape['hidden_size']}"),
        ("attention heads", str(shape["heads"])),
        ("feed-forward width", str(shape["feed_forward"])),
        ("embedding width", str(shape["embedding_size"])),
        ("vocabulary", f"{shape['vocab_size']:,}"),
        ("positions", str(shape["positions"])),
    ]


def _task_section(artifact: Artifact) -> list[str]:
    task: dict[str, Any] = artifact.spec["task"]
    rows = [("task", str(task["name"])), ("text columns", ", ".join(map(str, task["text_columns"])))]
    if task["type"] == "regression":
        low, high = task.get("scale") or (0.0, 1.0)
        rows.append(("output", f"one number, the score on the scale from {low:g} to {high:g}"))
    else:
        rows.append(("labels, by id", ", ".join(f"`{label}`" for label in task["labels"])))
    rows.append(("trained on at most", f"{task['max_length']} tokens a row"))
    return ["## Task", _table(("", ""), rows)]


def _scores_section(artifact: Artifact) -> list[str]:
    """What was measured when the source was made: a finetuned model's metrics, a checkpoint's held-out figures."""
    if artifact.kind == "model" and any(record.path == "metrics.json" for record in artifact.manifest.files):
        metrics = json.loads(artifact.file("metrics.json").read_text(encoding="utf-8"))
        held_out, majority = metrics.get("held_out"), metrics.get("majority")
    else:
        held_out, majority = {"held-out rows": artifact.spec.get("held_out")}, None
    measured = {**(held_out or {}), "majority class": majority}
    rows = [
        (str(on), str(name), f"{value:.4g}")
        for on, scores in measured.items()
        for name, value in sorted((scores if isinstance(scores, dict) else {"score": scores}).items())
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return ["## Scores", _table(("on", "metric", "value"), rows)] if rows else []


def _origins(artifact: Artifact) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("source", artifact.kind, f"`{artifact.content_id}`")]
    if isinstance(step := artifact.spec.get("step"), int):
        rows.append(("pretraining step", "", f"{step:,}"))
    if isinstance(tokenizer := artifact.spec.get("tokenizer"), str):
        rows.append(("its tokenizer", "tokenizer", f"`{tokenizer}`"))
    return rows + [(f"its {ref.role}", ref.kind, f"`{ref.content_id}`") for ref in artifact.manifest.inputs]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
