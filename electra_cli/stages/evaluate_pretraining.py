"""How well a pretrained pair does on held-out shards or on fresh text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from electra_cli.artifacts import Artifact, open_artifact
from electra_cli.config import Settings, setting
from electra_cli.errors import ArtifactError, UsageError
from electra_cli.reporting import Reporter, Silent

if TYPE_CHECKING:
    from electra_cli.data.shards import ShardSet


class EvaluatePretrainingSettings(Settings):
    """Settings of `electra evaluate` for a pretrained checkpoint."""

    rows: int = setting(2_048, "held-out rows that are read at most", ge=1)
    batch_size: int = setting(32, "rows in one forward pass", ge=1)
    device: str = setting("auto", "auto, cpu, cuda, cuda:1", shapes=False)
    precision: str = setting("auto", "auto, fp32 or bf16", pattern="^(auto|fp32|bf16)$")


def run(
    checkpoint: Path,
    data: Sequence[Path],
    *,
    settings: EvaluatePretrainingSettings,
    report: Reporter | None = None,
) -> dict[str, float | int | None]:
    """Generator and discriminator metrics of `checkpoint` on `data`: one shards artifact, or text files.

    The held-out part of the shards is measured, or all of them where there is none; fresh text is all measured.

    Raises:
        ArtifactError: damaged, or shards of another tokenizer.
    """
    report = report or Silent()
    source = open_artifact(checkpoint, kinds={"checkpoint"})
    if not data:
        raise UsageError(
            "evaluating a pretrained checkpoint needs held-out shards or text",
            code="NO_DATA",
            hint=f"electra evaluate {checkpoint} SHARDS",
        )
    from electra_cli.stages.fresh_text import is_artifact, rows_of_text

    if len(data) == 1 and is_artifact(data[0]):
        shards = open_artifact(data[0], kinds={"shards"})
        check_same_tokenizer(source, shards)
        from electra_cli.data.shards import ShardSet

        held_out = bool(shards.spec["splits"].get("val", {}).get("rows", 0))
        if not held_out:
            report.warn(f"{shards.path} holds no held-out rows: measuring on rows that training may have seen")
        return _measure(source, ShardSet(shards, "val" if held_out else "train"), settings=settings, report=report)
    with rows_of_text(source, data, report=report) as rows:
        return _measure(source, rows, settings=settings, report=report)


def check_same_tokenizer(checkpoint: Artifact, shards: Artifact) -> None:
    """Refuse shards that another tokenizer made, before any work."""
    if checkpoint.spec["tokenizer"] != shards.spec["tokenizer"]:
        raise ArtifactError(
            f"the shards are of tokenizer {shards.spec['tokenizer']}, the checkpoint of {checkpoint.spec['tokenizer']}",
            code="TOKENIZER_MISMATCH",
            where=str(shards.path),
            hint="shard the text with the checkpoint's tokenizer",
        )


def _measure(
    source: Artifact, shards: ShardSet, *, settings: EvaluatePretrainingSettings, report: Reporter
) -> dict[str, float | int | None]:
    from electra_cli.runtime.machine import choose_machine, keep_freed_memory
    from electra_cli.stages.masking_rule import masking_rule
    from electra_cli.stages.pair import Weights, load_pair, measure
    from electra_cli.stages.pretrain_settings import ObjectiveSettings
    from electra_cli.stages.rows import HELD_OUT_SEED, MaskedRows

    keep_freed_memory()
    machine = choose_machine(settings.device, settings.precision)  # type: ignore[arg-type]
    objective = ObjectiveSettings.model_validate(source.spec["objective"])
    rule = masking_rule(objective, source, vocab_size=shards.vocab_size, machine=machine)
    model = load_pair(source, machine)
    electric = model.variant.objective == "electric"
    return measure(
        model,
        MaskedRows(shards, rule=rule, seed=HELD_OUT_SEED, machine=machine, with_candidates=electric),
        limit=settings.rows,
        batch_size=settings.batch_size,
        weights=Weights(
            objective.generator_weight,
            objective.discriminator_weight,
            objective.word_weight,
            objective.temperature,
            objective.disallow_correct,
        ),
        report=report,
    )
