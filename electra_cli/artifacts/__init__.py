"""Versioned, immutable, traceable results: manifests, opening, publishing, verifying, lineage.

`manifest` says what an artifact is, `opening` reads and checks one, `publishing` makes one so that a crash at any
moment leaves the old or the new, `verifying` re-hashes, `lineage` follows the inputs, `storage` turns what the file
system says into errors a user can act on.
"""

from electra_cli.artifacts.fingerprints import content_of, content_of_files, content_of_hashes, hashes_of
from electra_cli.artifacts.lineage import Ancestor, lineage
from electra_cli.artifacts.manifest import (
    FORMAT_VERSIONS,
    KINDS,
    ROW_KINDS,
    FileRecord,
    InputRef,
    Manifest,
    Recipe,
)
from electra_cli.artifacts.opening import Artifact, children, open_artifact, versions
from electra_cli.artifacts.publishing import Claim, check_output, claim, discard, publish_inside
from electra_cli.artifacts.staging import Draft, HashingFile
from electra_cli.artifacts.storage import need_space, storage_errors
from electra_cli.artifacts.verifying import Verified, verify

__all__ = [
    "FORMAT_VERSIONS",
    "KINDS",
    "ROW_KINDS",
    "Ancestor",
    "Artifact",
    "Claim",
    "Draft",
    "FileRecord",
    "HashingFile",
    "InputRef",
    "Manifest",
    "Recipe",
    "Verified",
    "check_output",
    "children",
    "claim",
    "content_of",
    "content_of_files",
    "content_of_hashes",
    "discard",
    "hashes_of",
    "lineage",
    "need_space",
    "open_artifact",
    "publish_inside",
    "storage_errors",
    "verify",
    "versions",
]
