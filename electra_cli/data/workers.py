"""Processes that work on the pieces of a corpus side by side, with bounded memory, and no orphans.

Processes are spawned, never forked: the tokenizer library's threads do not survive a fork, and a forked child would
keep the output's lock. Each uses one thread; a worker whose parent is gone ends at once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Protocol, TypeVar

from electra_cli import errors
from electra_cli.data.pieces import Piece
from electra_cli.errors import ElectraError, WorkerError

_GRACE = 2.0  # seconds for a worker to end by itself


def available_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


Result_co = TypeVar("Result_co", covariant=True)


Trouble = tuple[str, str, str, str | None, str | None]
"""An error on its way between processes: class, message, code, where, hint; for a bug no class and a traceback."""

Answer = tuple[Any, Trouble | None]
"""A worker's answer: the result and what went wrong, one of them None."""


class Job(Protocol[Result_co]):
    """Something to be done with every piece; plain data, since it is sent to other processes."""

    def start(self) -> Callable[[Piece], Result_co]:
        """Return what works on one piece; called once in each process."""


def work_through(job: Job[Result_co], pieces: Iterable[Piece], *, workers: int) -> Iterator[tuple[Piece, Result_co]]:
    """Do `job` with every piece on `workers` processes (1: in this one); yield results as they are finished.

    Raises:
        WorkerError: a worker died; what was finished until then is kept.
        ElectraError: what a worker met, such as damaged text or a full disk.
    """
    if workers == 1:
        work = job.start()
        for piece in pieces:
            yield piece, work(piece)
        return
    with _Crew(job, workers) as crew:
        for piece in pieces:
            while not crew.has_room():
                yield crew.collect()
            crew.send(piece)
        while crew.is_busy():
            yield crew.collect()


class Engine(Protocol):
    """What does a job with every piece: `work_through`, or the same elsewhere."""

    def __call__(
        self, job: Job[Result_co], pieces: Iterable[Piece], *, workers: int
    ) -> Iterator[tuple[Piece, Result_co]]:
        """Yield pieces and results as they are finished."""


class _Crew:
    """The worker processes; each is started when there is work for it."""

    def __init__(self, job: Job[Any], workers: int) -> None:
        self._job = job
        self._limit = workers
        self._idle: list[tuple[SpawnProcess, Connection]] = []
        self._busy: dict[Connection, tuple[SpawnProcess, Piece]] = {}

    def __enter__(self) -> _Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        everyone = [*self._idle, *((process, pipe) for pipe, (process, _) in self._busy.items())]
        for process, pipe in everyone:
            if error is not None:
                process.kill()
            pipe.close()  # an idle worker takes it as the end
        for process, _ in everyone:
            process.join(_GRACE)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()

    def has_room(self) -> bool:
        return bool(self._idle) or len(self._busy) < self._limit

    def is_busy(self) -> bool:
        return bool(self._busy)

    def send(self, piece: Piece) -> None:
        process, pipe = self._idle.pop() if self._idle else self._start()
        self._busy[pipe] = process, piece
        try:
            pipe.send(piece)
        except OSError as error:
            raise self._died(process) from error

    def collect(self) -> tuple[Piece, Any]:
        """Wait until a worker has finished a piece, or has died."""
        ready = connection.wait(list(self._busy))
        pipe = next(pipe for pipe in self._busy if pipe in ready)
        process, piece = self._busy[pipe]
        try:
            result, error = pipe.recv()
        except (EOFError, OSError) as broken:
            raise self._died(process) from broken
        if error is None:
            del self._busy[pipe]
            self._idle.append((process, pipe))
            return piece, result
        raise raised(error)

    def _start(self) -> tuple[SpawnProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._job), daemon=True, name="electra worker")
        process.start()
        theirs.close()  # so that its end is the only one, and its death is seen here
        return process, ours

    def _died(self, process: SpawnProcess) -> WorkerError:
        process.join(_GRACE)
        code = process.exitcode
        how = "stopped answering" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return WorkerError(
            f"a worker process {how}; what was finished so far is kept",
            code="WORKER_DIED",
            where=f"process {process.pid}",
            hint="run the same command again; if memory was short, with fewer --workers",
        )


def _work(pipe: Connection, job: Job[Any]) -> None:
    """Work on pieces until the pipe is closed."""
    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        work: Callable[[Piece], Any] | None = None
        while True:
            piece = pipe.recv()
            with answering(pipe.send):
                work = work or job.start()
                pipe.send((work(piece), None))


def use_one_thread() -> None:
    """Keep this process to one core, the others have their own; for before the tokenizer library first encodes."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def answering(send: Callable[[Answer], None]) -> Iterator[None]:
    """Send what goes wrong inside the block, as plain data that `raised` understands; lost connections pass."""
    try:
        yield
    except MemoryError:
        hint = "run it again with fewer --workers, or a smaller unit_bytes"
        send((None, ("ResourceError", "a worker is out of memory", "OUT_OF_MEMORY", None, hint)))
    except ElectraError as error:
        send((None, (type(error).__name__, error.message, error.code, error.where, error.hint)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        send((None, ("", traceback.format_exc(), "", None, None)))


def raised(trouble: Trouble) -> Exception:
    """Return a worker's error as one of ours; what is not an ElectraError is a bug, with the worker's traceback."""
    kind, message, code, where, hint = trouble
    if not kind:
        return RuntimeError(f"in a worker process:\n{message}")
    found: type[ElectraError] = getattr(errors, kind)
    return found(message, code=code, where=where, hint=hint)
