"""`metrics.jsonl`: one JSON object a line, appended while training, cut back exactly on resume."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class History:
    """An append-only file of records that carry a `step`.

    Opening it drops a torn last line and every record after `last_step`, so that a resumed run writes the file that
    an undisturbed one would have written.
    """

    def __init__(self, path: Path, *, last_step: int) -> None:
        self.path = path
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= last_step]
        path.write_bytes(b"".join(kept))
        self._file = path.open("ab")

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; values that are not finite become null (JSON has no NaN)."""
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self._file.write(json.dumps(clean, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Bring what was written onto the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()


def read_history(path: Path) -> list[dict[str, Any]]:
    """All whole records of a history file."""
    return [json.loads(line) for line in _whole_lines(path)]


def _whole_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]
