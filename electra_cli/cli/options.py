"""The options that commands share, as annotated types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TEXTS = typer.Argument(
    metavar="TEXT…",
    help="Text files, folders, patterns, s3:// or gs:// URLs of such, or - for standard input.",
    show_default=False,
)
Texts = Annotated[list[str], TEXTS]
Out = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", help="Folder for the result's versions: DIR/v1, DIR/v2, …"),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="TOML file with settings.", show_default=False)
]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="Settings by name, such as tiny.", show_default=False)
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting by its full key; repeatable.", show_default=False),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print every setting, its value and its source, and stop.")
]
Dedup = Annotated[
    str | None,
    typer.Option(
        "--dedup",
        metavar="exact|near",
        help="Leave out documents that occurred before: the same text, or nearly the same text as well.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout, on failure too.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only warnings and errors.")]
Where = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="DIR (its newest version), DIR@v1, DIR/v1, or a checkpoint in a run.")
]
