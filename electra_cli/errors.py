"""What can go wrong that is not our fault, and the exit code that says so.

Every failure a user can cause or cure is an `ElectraError`: what was wrong, where, and what to do now. Anything else
that escapes is a bug of ours and leaves with a traceback and exit code 1.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Public exit codes of `electra`; scripts may rely on them."""

    OK = 0
    BUG = 1
    USAGE = 2
    DATA = 3
    ARTIFACT = 4
    DIVERGED = 5
    RESOURCES = 6
    BUSY = 7
    WORKER = 8
    GATE = 9
    INTERRUPTED = 75


class ElectraError(Exception):
    """What the user did or met, where, and what to do now.

    Args:
        message: what was wrong, one sentence without a final full stop.
        code: a stable upper-case name that scripts can match, such as `HASH_MISMATCH`.
        where: file, line or key, when there is one.
        hint: the command or change that would cure it.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, code: str, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.where is None else f"{self.where}: {self.message}"


class UsageError(ElectraError):
    """The command line or the configuration is wrong (exit 2)."""

    exit_code = ExitCode.USAGE


class DataError(ElectraError):
    """The input data are wrong (exit 3)."""

    exit_code = ExitCode.DATA


class ArtifactError(ElectraError):
    """An artifact is missing, damaged, unsafe, too new, or does not belong to the others (exit 4)."""

    exit_code = ExitCode.ARTIFACT


class DivergedError(ElectraError):
    """Training produced numbers that are not finite (exit 5)."""

    exit_code = ExitCode.DIVERGED


class ResourceError(ElectraError):
    """Disk, memory, device or permission does not suffice (exit 6)."""

    exit_code = ExitCode.RESOURCES


class BusyError(ElectraError):
    """Another writer holds the output (exit 7)."""

    exit_code = ExitCode.BUSY


class WorkerError(ElectraError):
    """A worker process died (exit 8)."""

    exit_code = ExitCode.WORKER


class GateError(ElectraError):
    """A value that the user demanded was not reached (exit 9)."""

    exit_code = ExitCode.GATE


class Interrupted(ElectraError):
    """Stopped by a signal with everything saved; the same command continues (exit 75)."""

    exit_code = ExitCode.INTERRUPTED
