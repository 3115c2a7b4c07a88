"""One writer at a time: a kernel lock that dies with its holder.

The lock is `flock` on `DIR/.lock`; the file is never removed (removing it would let two writers lock two files), and
what is written in it is for the message only. A forked child does not hold it on: it closes the descriptor at once.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from electra_cli.artifacts.staging import redacted_command
from electra_cli.artifacts.storage import storage_errors
from electra_cli.errors import BusyError, ResourceError

LOCK = ".lock"
_held: set[int] = set()


def _release_in_child() -> None:
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_release_in_child)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` for writing inside the block; BusyError at once if another process, or this one, holds it."""
    path = folder / LOCK
    with storage_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    _held.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(folder, handle) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
                raise
            raise ResourceError(
                "this file system cannot lock files",
                code="LOCKING_UNSUPPORTED",
                where=str(path),
                hint="choose an output folder on a local file system and copy the result",
            ) from error
        with suppress(OSError):  # a full disk will be told by the work itself
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(redacted_command())}
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(holder).encode("ascii"), 0)
        yield
    finally:
        if handle in _held:
            _held.discard(handle)
            os.close(handle)


def _busy(folder: Path, handle: int) -> BusyError:
    holder = {}
    with suppress(OSError, ValueError):
        read = json.loads(os.pread(handle, 65536, 0))
        holder = read if isinstance(read, dict) else {}
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    command = str(holder.get("command", ""))[:200]
    return BusyError(
        f"another run is writing here: {who}" + (f" ({command})" if command else ""),
        code="OUTPUT_BUSY",
        where=str(folder),
        hint="wait for it to end and run this again, or choose another output folder",
    )
