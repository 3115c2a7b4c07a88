"""The pieces of a corpus on a Ray cluster: the same job as `workers.work_through`, on the machines of others.

Ray brings tasks to machines and repeats those whose worker or machine died; files go through a folder that all of them
see. What happened to a piece comes back as plain data: no exception crosses Ray, which would wrap it in its own.

A child process talks to Ray for us, with its outputs closed: Ray writes what it likes to stdout, takes over signals,
and ends the process that uses it when its own servers die.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import multiprocessing
import os
import re
import signal
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from electra_cli import __version__
from electra_cli.data.pieces import Piece
from electra_cli.data.workers import Answer, Job, Result_co, answering, available_cores, raised, use_one_thread
from electra_cli.errors import ResourceError, UsageError, WorkerError

RETRIES = 3
"""How often a piece is tried again after its worker or machine died; more often, it is the piece."""

_SPARE = 2  # pieces that wait at the cluster, so that a free core need not wait for us
_GRACE = 10.0  # seconds for a cluster of ours to be taken down; what is killed instead may leave servers behind
_LOOK = 0.25  # seconds between two looks whether we are still wanted
_CONNECT = 10.0  # seconds for a cluster to answer
_OBJECT_STORE = 80 * 1024 * 1024  # bytes; only records pass through it, and 75 MiB is the least
_SAME_EVERYWHERE = "every machine of a cluster needs the same electra, and the text and the output under the same paths"
_LOGS = "Ray's own logs are in session_latest/logs of its temporary folder"
_NEXT = "next"  # what the child asks for
_started: list[Callable[[Piece], Any]] = []  # in a worker, which serves one job only: what works on a piece


def check_installed() -> None:
    """Raise UsageError unless Ray is installed."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "Ray is not installed",
            code="MISSING_PACKAGE",
            where="engine = ray",
            hint="pip install 'electra-cli[ray]', here and on every machine of the cluster",
        )


def work_through(job: Job[Result_co], pieces: Iterable[Piece], *, workers: int) -> Iterator[tuple[Piece, Result_co]]:
    """Do `job` with every piece on a Ray cluster; yield results as they are finished.

    `RAY_ADDRESS` names a cluster to join; without it one is started on this machine for as long as it takes. All
    machines must have this electra, and see the text and the output under the same paths.

    Args:
        job: what to do.
        pieces: the pieces.
        workers: pieces to be worked on at once; 0 for all cores of the cluster, those that join later included.

    Raises:
        UsageError: Ray is not installed.
        ResourceError: the cluster cannot be reached, or a machine does not see the files.
        WorkerError: a piece lost its worker again and again, or we lost the cluster; what was finished is kept.
        ElectraError: what a worker met, such as damaged text or a full disk.
    """
    check_installed()
    address = os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(address)
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    child = context.Process(target=_talk, args=(theirs, job, workers, address), daemon=True, name="electra and Ray")
    child.start()
    theirs.close()
    sent: dict[int, Piece] = {}
    waiting = iter(pieces)
    try:
        while (message := pipe.recv()) is not None:
            if message == _NEXT:
                piece = next(waiting, None)
                if piece is not None:
                    sent[piece.number] = piece
                pipe.send(piece)
                continue
            number, (result, trouble) = message
            if trouble is not None:
                raise raised(trouble)
            yield sent.pop(number), result
    except (EOFError, OSError) as broken:
        child.join(_GRACE)
        raise WorkerError(
            f"the connection to Ray ended (exit code {child.exitcode}); what was finished so far is kept",
            code="WORKER_DIED",
            where=_shown(address),
            hint=f"run the same command again; {_LOGS}",
        ) from broken
    finally:
        pipe.close()  # the child takes it as the end, and takes down what it started
        child.join(_GRACE)
        if child.is_alive():
            child.kill()
            child.join()
        child.close()


def _shown(address: str) -> str:
    return "a Ray cluster on this machine" if address == "local" else f"RAY_ADDRESS={address}"


def _check_reachable(address: str) -> None:
    """Raise ResourceError if nobody listens at an address: Ray itself tries for minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+)\]?:([0-9]{1,5})", address)
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, (error.strerror if isinstance(error, OSError) else "") or str(error)) from error


def _unreachable(address: str, why: str) -> ResourceError:
    return ResourceError(
        f"no Ray cluster: {why}",
        code="RAY_UNREACHABLE",
        where=_shown(address),
        hint=f"ray status tells whether it runs; {_LOGS}"
        if address == "local"
        else "ray status tells whether it runs; without RAY_ADDRESS a cluster is started on this machine",
    )


def _talk(pipe: Connection, job: Job[Any], workers: int, address: str) -> None:
    """Be the child: ask for pieces, hand them to Ray, and answer with number and answer of each; None at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent tells us
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    warnings.simplefilter("ignore")
    with contextlib.suppress(EOFError, OSError), answering(lambda answer: pipe.send((-1, answer))):
        with _cluster(workers, address) as ray:
            _drive(ray, pipe, job, workers)
        pipe.send(None)


@contextlib.contextmanager
def _cluster(workers: int, address: str) -> Iterator[Any]:
    """Join or start a cluster for the length of the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))  # for ever, if nobody says so
    ours: dict[str, Any] = {
        "include_dashboard": False,
        "num_cpus": workers or available_cores(),
        "object_store_memory": _OBJECT_STORE,
    }
    import ray

    try:
        ray.init(
            address=address,
            logging_level=logging.CRITICAL,
            log_to_driver=False,
            **(ours if address == "local" else {}),
        )
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise _unreachable(address, (str(error).strip() or type(error).__name__).splitlines()[0]) from error
    try:
        yield ray
    finally:
        ray.shutdown()  # takes our tasks with it


def _drive(ray: Any, pipe: Connection, job: Job[Any], workers: int) -> None:
    """Do the job with all pieces; EOFError when nobody is there any more who wants it."""
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
    setup = ray.put((job, os.getcwd(), __version__))
    running: dict[Any, Piece] = {}
    more = True
    while more or running:
        room = (workers or int(ray.cluster_resources().get("CPU", 1)) + _SPARE) - len(running)
        while more and room > 0:
            pipe.send(_NEXT)
            piece = pipe.recv()
            if piece is None:
                more = False
            else:
                running[remote.remote(setup, piece)] = piece
                room -= 1
        done, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK) if running else ([], [])
        for task in done:
            piece = running.pop(task)
            pipe.send((piece.number, _answer(ray, task, piece)))
        if pipe.poll():  # the other end says nothing unless we ask: it is gone
            raise EOFError


def _answer(ray: Any, task: Any, piece: Piece) -> Answer:
    """Return what a finished task says, or what became of it."""
    answers: list[Answer] = []
    with answering(answers.append):
        try:
            answers.append(ray.get(task))
        except ray.exceptions.RayTaskError as error:  # before our code ran: it could not be loaded there
            raise ResourceError(
                f"a machine of the cluster cannot run electra: {str(error.cause or error).strip().splitlines()[-1]}",
                code="RAY_MACHINE",
                hint=_SAME_EVERYWHERE,
            ) from error
        except ray.exceptions.RayError as error:
            files = ", ".join(span.source.label for span in piece.spans[:3]) + (", …" if len(piece.spans) > 3 else "")
            raise WorkerError(
                f"the worker of a piece died {RETRIES + 1} times, or Ray lost it ({type(error).__name__}); what was "
                "finished so far is kept",
                code="WORKER_DIED",
                where=f"piece {piece.number} ({files})",
                hint="run the same command again; if memory was short, with fewer --workers",
            ) from error
    return answers[-1]


def _work(setup: tuple[Job[Any], str, str], piece: Piece) -> Answer:
    """Work on one piece, in a worker of the cluster; the job is started once in each."""
    job, folder, version = setup
    if version != __version__:
        message = f"machine {socket.gethostname()} has electra {__version__}, this one {version}"
        return None, ("ResourceError", message, "RAY_MACHINE", None, _SAME_EVERYWHERE)
    answers: list[Answer] = []
    with answering(answers.append):
        if not _started:
            use_one_thread()
            with contextlib.suppress(OSError):  # paths may be relative to where the command was given
                os.chdir(folder)
            _started.append(job.start())
        answers.append((_started[0](piece), None))
    result, trouble = answers[-1]
    if trouble is not None and trouble[2] in ("NOT_THERE", "MISSING_INPUT"):
        kind, message, code, where, _ = trouble
        return None, (kind, f"{message} on machine {socket.gethostname()}", code, where, _SAME_EVERYWHERE)
    return result, trouble
