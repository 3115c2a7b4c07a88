"""The file system, careful: durable writes, names that cannot lead outside, and its refusals as errors to act on."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from electra_cli.errors import ArtifactError, ElectraError, ResourceError, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("no space left", "os error 28", "file too large", "os error 27", "quota exceeded")


@contextmanager
def storage_errors(where: Path | str, *, only_writes: bool = False) -> Iterator[None]:
    """Turn what the file system refuses inside the block into an ElectraError about `where`.

    Writers of other libraries (safetensors, tokenizers, torch) lose the error number of a full disk; their words are
    recognised as well. With `only_writes` the block does other things too: an error that names a file of its own, as
    those of opening do, passes. Broken pipes and lost children are never the file system's.
    """
    try:
        yield
    except (ElectraError, ConnectionError, ChildProcessError):
        raise
    except OSError as error:
        if only_writes and (error.filename is not None or as_resource_error(error) is None):
            raise
        raise _translated(error, where) from error
    except Exception as error:
        if any(words in str(error).lower() for words in _FULL_WORDS):
            raise _full(where, str(error)) from error
        raise


def _translated(error: OSError, where: Path | str) -> ElectraError:
    path = str(error.filename) if isinstance(error.filename, str) else str(where)
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return _full(where, reason)
    if error.errno in (errno.EACCES, errno.EPERM):
        return ResourceError(
            "permission denied",
            code="PERMISSION_DENIED",
            where=path,
            hint="check its owner and mode, or choose another",
        )
    if error.errno == errno.EROFS:
        return ResourceError(
            "the file system is read-only", code="READ_ONLY", where=path, hint="choose a folder on another file system"
        )
    if error.errno == errno.ENOENT:
        return ResourceError("no such file or folder", code="NOT_THERE", where=path, hint="was it moved or removed?")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return UsageError("not a folder", code="NOT_A_FOLDER", where=path, hint="choose another output folder")
    if error.errno == errno.ENAMETOOLONG:
        return UsageError("the name is too long", code="NAME_TOO_LONG", where=path, hint="choose a shorter name")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return ResourceError(reason, code="TOO_MANY_FILES", where=path, hint="raise the limit: ulimit -n 4096")
    return ResourceError(reason, code="IO_ERROR", where=path, hint="look at the disk (dmesg), then run it again")


def _full(where: Path | str, reason: str) -> ResourceError:
    return ResourceError(
        f"{reason}, {_size(_free(where))} free",
        code="DISK_FULL",
        where=str(where),
        hint="make room (or raise the file size limit) and run the same command again",
    )


def _free(where: Path | str) -> int:
    path = Path(where).absolute()
    while True:
        try:
            return shutil.disk_usage(path).free
        except OSError:
            if path == path.parent:
                return 0
            path = path.parent


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def as_resource_error(error: OSError) -> ElectraError | None:
    """Return the error to act on for an OSError that reached the top, None where it can only be a bug of ours."""
    told = (errno.EACCES, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
    if error.errno not in told and error.errno not in _FULL:
        return None
    return _translated(error, error.filename if isinstance(error.filename, str) else "output")


def need_space(where: Path, *, bytes: int, what: str) -> None:
    """Raise ResourceError (`DISK_FULL`) unless `where` has room for `bytes` of `what` and a tenth more."""
    free = _free(where)
    needed = bytes + bytes // 10
    if free < needed:
        raise ResourceError(
            f"{what} needs about {_size(needed)}, {_size(free)} are free",
            code="DISK_FULL",
            where=str(where),
            hint="make room or choose an output folder on another disk",
        )


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable; file systems that cannot sync folders are let off."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_durably(path: Path, data: bytes | memoryview, *, writer: str = "") -> None:
    """Put `data` at `path` so that a crash leaves the old content or the new: a temporary file, fsync, rename.

    Where several processes may write the same path at once, each gives a `writer` of its own: the last rename counts.
    """
    temporary = path.with_name(f".{path.name}{writer and '.'}{writer}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    sync_folder(path.parent)


def open_regular(path: Path, *, links: bool = False) -> int:
    """Open `path` for reading and return the descriptor; never follows a link, never waits for a pipe.

    OSError where it cannot be opened; ArtifactError (`UNSAFE_PATH`) for anything but a regular file with one name (any
    number of names with `links`).
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket or a pipe that nobody serves
            raise unsafe(path, "a link or a special file") from error
        raise
    try:
        check_regular(path, os.fstat(handle), links=links)
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_regular(path: Path | str, status: os.stat_result, *, links: bool = False) -> None:
    """Raise ArtifactError (`UNSAFE_PATH`) unless `status` is that of a regular file, without `links` of one name."""
    if not stat.S_ISREG(status.st_mode):
        raise unsafe(path, "not a regular file")
    if status.st_nlink > 1 and not links:
        raise unsafe(path, "a hard link: the same file has another name elsewhere")


def unsafe(path: Path | str, what: str) -> ArtifactError:
    """Return the error for something inside an artifact that artifacts never contain."""
    return ArtifactError(
        what,
        code="UNSAFE_PATH",
        where=str(path),
        hint="artifacts hold plain files only; copy it anew (cp -rL makes plain files of links)",
    )
