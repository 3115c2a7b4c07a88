"""What every stage returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from electra_cli.artifacts import Artifact


@dataclass(frozen=True)
class Outcome:
    """The artifact that a stage made or found, how, and the figures worth a line (ready for JSON)."""

    artifact: Artifact
    status: Literal["built", "resumed", "up to date"]
    summary: dict[str, Any] = field(default_factory=dict)
