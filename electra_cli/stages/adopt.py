"""A vocabulary that somebody else made → tokenizer: every entry keeps its id, and no text is needed."""

from __future__ import annotations

from pathlib import Path

from electra_cli.artifacts import InputRef, Recipe, check_output, claim, content_of_files
from electra_cli.config import Settings, execution, setting, shaping
from electra_cli.reporting import Reporter
from electra_cli.stages.outcome import Outcome
from electra_cli.stages.tokenizer_spec import summary_of, tokenizer_spec

STAGE = "adopt"
STAGE_VERSION = 1


class AdoptSettings(Settings):
    """What the files of a foreign tokenizer leave open; not given: what they say, else BERT's rule."""

    lowercase: bool | None = setting(
        None, "Lower-case the text. Said by no file: unless the vocabulary has upper-case pieces."
    )
    strip_accents: bool | None = setting(None, "Remove combining marks. Said by no file: as `lowercase`.")
    split_cjk: bool | None = setting(None, "Make every CJK ideograph a word of its own. Said by no file: yes.")
    model_max_length: int | None = setting(
        None,
        "Longest input in tokens that `transformers` should allow with these files. Said by no file: 512.",
        ge=8,
        le=2**16,
    )


def run(path: Path, out: Path, *, settings: AdoptSettings, report: Reporter) -> Outcome:
    """Make a tokenizer of the files of another one.

    Args:
        path: a `vocab.txt`, a `tokenizer.json`, or a folder of `transformers` files.
        out: folder for the versions of the tokenizer.
        settings: see `AdoptSettings`.
        report: where notes go: what was decided because no file says it.

    Raises:
        DataError: the files are missing or broken, or ask for what electra does not do.
        ResourceError, BusyError: the output cannot be written.
    """
    from electra_cli.text.adopting import Said, adopt, files_of

    check_output(out)
    files = files_of(path)
    content = content_of_files((files[name] for name in sorted(files)), ordered=True, report=report)
    recipe = Recipe(
        kind="tokenizer",
        stage=STAGE,
        stage_version=STAGE_VERSION,
        config=shaping(settings),
        inputs=(InputRef(role="vocabulary", kind="text", content_id=content),),
        execution=execution(settings),
    )
    with claim(out, recipe, report=report) as claimed:
        if claimed.done is not None:
            return Outcome(claimed.done, "up to date", summary_of(claimed.done.spec))
        assert claimed.draft is not None
        from electra_cli.text.tokenizer import Tokenizer

        adopted = adopt(
            path, Said(settings.lowercase, settings.strip_accents, settings.split_cjk, settings.model_max_length)
        )
        for note in adopted.notes:
            report.note(note)
        tokenizer = Tokenizer(adopted.parts)
        for name, data in tokenizer.files().items():
            claimed.draft.write_bytes(name, data)
        spec = tokenizer_spec(tokenizer)
        artifact = claimed.draft.publish(spec=spec, provenance={"adopted": sorted(files), "notes": list(adopted.notes)})
        return Outcome(artifact, "resumed" if claimed.draft.resumed else "built", summary_of(spec))
