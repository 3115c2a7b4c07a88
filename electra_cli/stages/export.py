"""`electra export`: an artifact becomes a folder that other tools load, proven to agree before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from electra_cli.artifacts import Artifact, Draft, Recipe, claim, need_space, open_artifact
from electra_cli.config import Settings, execution, setting, shaping
from electra_cli.errors import ArtifactError, UsageError
from electra_cli.model.variants import Variant
from electra_cli.reporting import Reporter, Silent
from electra_cli.stages.outcome import Outcome

if TYPE_CHECKING:
    from electra_cli.exporting.hf import Part
    from electra_cli.exporting.parity import Agreement
    from electra_cli.exporting.source import Source
    from electra_cli.text.tokenizer import Tokenizer

STAGE_VERSION = 1


class ExportSettings(Settings):
    """What to write."""

    to: Literal["hf"] = setting("hf", "format; hf is a folder that the Auto classes of transformers load")
    part: Literal["auto", "discriminator", "generator"] = setting(
        "auto",
        "which network of a checkpoint; auto is the discriminator, or what has its place in an objective that predicts "
        "words, and of a finetuned model its only one",
    )
    license: str = setting(
        "",
        "licence in the model card, an identifier such as apache-2.0; empty: unknown",
        pattern=r"^[A-Za-z0-9.+-]*$",
    )


def run(
    source: Path | str, out: Path, *, settings: ExportSettings | None = None, report: Reporter | None = None
) -> Outcome:
    """Export a checkpoint or a finetuned model.

    Args:
        source: the artifact.
        out: where the line of exports lies.
        settings: what to write.
        report: who listens.

    Returns:
        The published folder; its summary has the table of agreement.

    Raises:
        UsageError: the source has no such part.
        ArtifactError: the source is damaged or of another kind; what was written does not agree (`EXPORT_MISMATCH`) or
            cannot be read (`EXPORT_UNREADABLE`), and nothing was published.
    """
    settings, report = settings or ExportSettings(), report or Silent()
    artifact = open_artifact(source, kinds=("checkpoint", "model"), hashes=False)
    part = _part(artifact, settings.part)
    recipe = Recipe(
        "export",
        "export",
        STAGE_VERSION,
        {**shaping(settings), "part": part},
        (artifact.ref("source"),),
        execution(settings),
    )
    with claim(out, recipe, report=report) as taken:
        if taken.done is not None:
            return Outcome(
                taken.done, "up to date", _summary(part, taken.done.manifest.provenance.get("agreement", []))
            )
        assert taken.draft is not None
        artifact = open_artifact(artifact.path)  # now with every file's hash
        agreement = _build(artifact, part, taken.draft, settings, report)
        table = [row.to_dict() for row in agreement]
        published = taken.draft.publish(spec=_spec(artifact, part), provenance={"agreement": table})
    return Outcome(published, "built", _summary(part, table))


def _part(artifact: Artifact, wanted: str) -> Part:
    if artifact.kind == "checkpoint":
        return _network(artifact, wanted)
    if wanted != "auto":
        raise UsageError(
            f"a finetuned model has no {wanted}",
            code="NO_SUCH_PART",
            where=str(artifact.path),
            hint="leave --part out, or export the checkpoint that it was finetuned from",
        )
    return "classifier"


def _network(artifact: Artifact, wanted: str) -> Part:
    """Which network of a checkpoint; `masked-lm` is the large one where it predicts words."""
    variant = Variant(**artifact.spec.get("architecture", {}).get("variant", {}))
    made = f"objective.kind = {variant.objective} and generator.kind = {variant.generator}"
    if wanted == "generator" and (variant.objective == "electric" or not variant.has_generator_network):
        what = "no generator that other tools know" if variant.objective == "electric" else "no generator network"
        raise UsageError(
            f"a checkpoint made with {made} has {what}",
            code="NO_SUCH_PART",
            where=str(artifact.path),
            hint="leave --part out to export its encoder",
        )
    if wanted == "discriminator" and variant.predicts_words:
        raise UsageError(
            f"a checkpoint made with {made} has no discriminator: its large network predicts words",
            code="NO_SUCH_PART",
            where=str(artifact.path),
            hint="leave --part out to export that network as a masked language model",
        )
    if wanted == "generator":
        return "generator"
    return "masked-lm" if variant.predicts_words else "discriminator"


def _build(artifact: Artifact, part: Part, draft: Draft, settings: ExportSettings, report: Reporter) -> list[Agreement]:
    """Write the folder, have it read again, and return how well it agrees; raises ArtifactError if it does not."""
    from electra_cli.exporting.parity import compare, question, sample_texts
    from electra_cli.exporting.source import read_source
    from electra_cli.text.tokenizer import Tokenizer

    report.note(f"reading the {part} of {artifact.path}")
    source = read_source(artifact, part)
    tokenizer = Tokenizer.load(artifact.file("tokenizer/tokenizer.json").parent)
    positions = int(source.network.shape["positions"])
    if tokenizer.vocab_size > source.network.shape["vocab_size"]:
        raise ArtifactError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the network {source.network.shape['vocab_size']}",
            code="TOKENIZER_MISMATCH",
            where=str(artifact.path),
            hint="the artifact is damaged; make it again",
        )
    _write(artifact, source, tokenizer, draft, settings)
    texts = sample_texts()
    asked = question(texts, [_encoded(tokenizer, pair) for pair in texts], positions=positions)
    answer = source.answer(asked)
    report.note("reading what was written in a fresh process and comparing")
    agreement = compare(draft.path, asked, answer)
    for row in agreement:
        report.note(row.describe())
    _insist(agreement, draft.final)
    if len(agreement) == 1:
        report.note("transformers is not installed here, so only the plain reading was compared")
    return agreement


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[list[int], int]:
    """Ids of one or two texts, uncut, and the length of the first segment."""
    unlimited = 10 * sum(map(len, texts)) + 3  # Hangul falls apart into three letters, of three bytes each
    first, second = texts[:1], texts[1:] or None
    ids, length = tokenizer.encode_pairs(first, second, max_length=unlimited)[0]
    return ids.tolist(), length


def _write(artifact: Artifact, source: Source, tokenizer: Tokenizer, draft: Draft, settings: ExportSettings) -> None:
    import json

    from safetensors.torch import save

    from electra_cli.exporting.card import model_card
    from electra_cli.exporting.hf import checked_tensors, config_json
    from electra_cli.exporting.parity import TOLERANCE

    network = source.network
    tensors = checked_tensors(network, str(artifact.path))
    need_space(draft.path, bytes=4 * sum(tensor.numel() for tensor in tensors.values()), what="the export")
    draft.write_bytes("model.safetensors", save(tensors, {"format": "pt"}))
    draft.write_json("config.json", config_json(network, pad_id=tokenizer.pad_id))
    for name, data in tokenizer.files().items():
        if name == "tokenizer_config.json":
            # The tokenizer knows no model; the rows that fit are this network's.
            draft.write_json(name, {**json.loads(data), "model_max_length": network.shape["positions"]})
        else:
            draft.write_bytes(name, data)
    card = model_card(artifact, network, license_id=settings.license, tolerance=TOLERANCE)
    draft.write_bytes("README.md", card.encode("utf-8"))


def _insist(agreement: Sequence[Agreement], final: Path) -> None:
    wrong = [row for row in agreement if not row.holds]
    if wrong:
        raise ArtifactError(
            f"what was written does not say what the source says: {'; '.join(row.describe() for row in wrong)}",
            code="EXPORT_MISMATCH",
            where=str(final),
            hint="nothing was published; run `electra verify` on the source, and report this if it passes",
        )


def _spec(artifact: Artifact, part: Part) -> dict[str, Any]:
    from electra_cli.exporting.hf import CLASS_OF

    return {
        "format": "hf",
        "part": part,
        "class": CLASS_OF[part],
        "dtype": "float32",
        "source": artifact.content_id,
        "tokenizer": artifact.spec.get("tokenizer"),
    }


def _summary(part: str, table: list[dict[str, Any]]) -> dict[str, Any]:
    return {"format": "hf", "part": part, "agreement": table}
