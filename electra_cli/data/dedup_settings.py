"""Whether documents that occur more than once are left out, and what counts as once more.

Nothing here imports a heavy package, so that a stage can tell that it is up to date without one.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from electra_cli.config import Settings, setting
from electra_cli.errors import UsageError

Match = Literal["none", "exact", "near"]


class DedupSettings(Settings):
    """Which documents are left out because the corpus had them before."""

    match: Match = setting(
        "none",
        "Leave out documents that occurred earlier in the corpus: `exact`, those whose text is the same to the byte "
        "(lines stripped, blank ones left out); `near`, those whose shingles are nearly the same as well. The first "
        "stays; the manifest counts the others. The text is then read twice. `near` needs the extra [dedup].",
    )
    threshold: float = setting(
        0.8,
        "With `near`: the share of shingles that two documents have in common (Jaccard similarity, estimated from 128 "
        "MinHash values) from which the later one is left out.",
        ge=0.5,
        le=1.0,
    )
    shingle: int = setting(
        5,
        "With `near`: units of a shingle. A unit is a lower-cased word, in scripts written without spaces (Chinese, "
        "Japanese, Thai, …) a character. A document of fewer units is compared exactly only.",
        ge=1,
        le=50,
    )

    def check_installed(self) -> None:
        """Raise UsageError (`MISSING_EXTRA`) where these settings need a library that is not there."""
        if self.match == "near" and find_spec("rensa") is None:
            raise missing_library()


def missing_library() -> UsageError:
    """Return the error of a wanted comparison without the library that does it."""
    return UsageError(
        "near-duplicates need the library rensa 0.5, which is not installed",
        code="MISSING_EXTRA",
        where="dedup.match",
        hint="pip install 'electra-cli[dedup]', or --dedup exact",
    )
