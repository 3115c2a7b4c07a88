"""The `electra` command: the table of commands and the one error boundary."""

from __future__ import annotations

import importlib
import os
import select
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from electra_cli import __version__
from electra_cli.cli.ui import OutputClosed, emit_json, error_json, say
from electra_cli.errors import ElectraError, ExitCode
from electra_cli.runtime.openmp import wait_briefly

# (command, module, function); importing the modules is cheap, what they call is imported when they run
COMMANDS = (
    ("tokenize", "electra_cli.cli.tokenize", "tokenize"),
    ("shard", "electra_cli.cli.shard", "shard"),
    ("merge", "electra_cli.cli.merge", "merge"),
    ("pretrain", "electra_cli.cli.pretrain", "pretrain"),
    ("finetune glue", "electra_cli.cli.finetune", "glue"),
    ("finetune classify", "electra_cli.cli.finetune", "classify"),
    ("evaluate", "electra_cli.cli.evaluate", "evaluate"),
    ("predict", "electra_cli.cli.predict", "predict"),
    ("export", "electra_cli.cli.export", "export"),
    ("demo", "electra_cli.cli.demo", "demo"),
    ("inspect", "electra_cli.cli.inspect", "inspect"),
    ("verify", "electra_cli.cli.verify", "verify"),
    ("lineage", "electra_cli.cli.lineage", "lineage"),
)
GROUPS = {"finetune": "Finetune a pretrained checkpoint on a labelled task."}
INTERRUPTED = 128 + 2  # SIGINT
OUTPUT_CLOSED = 128 + 13  # SIGPIPE


class _TableOrder(TyperGroup):
    """A group whose help lists the commands as the table does, groups among them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        order = [name.split()[0] for name, _, _ in COMMANDS]
        return sorted(self.commands, key=order.index)


def build() -> typer.Typer:
    """Return the application with every command of the table."""
    style: dict[str, Any] = {
        "rich_markup_mode": None,
        "add_completion": False,
        "pretty_exceptions_enable": False,
        "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
    }
    app = typer.Typer(name="electra", invoke_without_command=True, callback=_root, cls=_TableOrder, **style)
    groups = {name: typer.Typer(name=name, help=text, no_args_is_help=False, **style) for name, text in GROUPS.items()}
    for name, module, function in COMMANDS:
        group, _, command = name.rpartition(" ")
        target = getattr(importlib.import_module(module), function)
        if group and not groups[group].registered_commands:
            app.add_typer(groups[group])
        (groups[group] if group else app).command(command)(target)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print(f"electra {__version__}")
        raise typer.Exit()


def _root(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    """Pretrain, finetune and export ELECTRA text encoders.

    tokenize → shard → pretrain → finetune → export; each stage prints the path of what it made, and run again says
    that it is up to date. `electra demo` shows the whole line on text that is already on this machine.
    """
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(int(ExitCode.USAGE))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `electra` with `arguments` (default: the command line) and return the exit code.

    The one error boundary: an ElectraError becomes `error:` and `hint:` on stderr and its exit code; anything else is a
    bug and shows its traceback. With `--json` stdout gets exactly one object either way.
    """
    _secure_standard_streams()
    wait_briefly()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = given[: given.index("--")] if "--" in given else given
    as_json, debug = "--json" in options, "--debug" in options
    if debug:  # taken anywhere, like --json; the parser knows it at the front
        given.remove("--debug")
        given.insert(0, "--debug")
    try:
        code = build()(given, prog_name="electra", standalone_mode=False)
        if code == INTERRUPTED:  # typer makes this of a KeyboardInterrupt
            raise KeyboardInterrupt
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BaseException as error:
        return _explain(error, as_json=as_json, debug=debug)


def _secure_standard_streams() -> None:
    """Give a standard stream that was closed (`2>&-`) to nobody, before a file of ours gets its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - as long as the process


def _explain(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Tell the user what happened, once, and return the exit code."""
    if isinstance(error, SystemExit):  # typer's answer to a broken pipe, whichever pipe that was
        cause = error.__context__
        if not isinstance(cause, BrokenPipeError):
            raise error
        error = cause
    if isinstance(error, OutputClosed) or (isinstance(error, BrokenPipeError) and _stdout_is_lost()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains at exit
        return OUTPUT_CLOSED
    told = _as_told(error)
    if told is None:
        traceback.print_exception(error)
        told = _Bug("this is a bug in electra", code="BUG", hint="please report it with the lines above")
    elif debug:
        traceback.print_exception(error)
    if as_json:
        try:
            emit_json(error_json(told))
        except OutputClosed:
            return OUTPUT_CLOSED
        except ElectraError as full:
            told = full
    say("error", str(told), color="31")
    if told.hint:
        say("hint", told.hint, color="36")
    return int(told.exit_code)


class _Bug(ElectraError):
    exit_code = ExitCode.BUG


class _Cancelled(ElectraError):
    exit_code = INTERRUPTED  # type: ignore[assignment]


def _as_told(error: BaseException) -> ElectraError | None:
    """Return the error to show, or None for a bug."""
    if isinstance(error, ElectraError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return _Cancelled("interrupted", code="CANCELLED", hint="run the same command again to continue or start over")
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, MemoryError):
        from electra_cli.errors import ResourceError

        hint = "free memory or lower the sizes in the settings"
        return ResourceError("out of memory", code="OUT_OF_MEMORY", hint=hint)
    if isinstance(error, OSError):
        from electra_cli.artifacts.storage import as_resource_error

        return as_resource_error(error)
    return None


def _usage(error: typer.TyperException) -> ElectraError:
    from electra_cli.errors import UsageError

    format_message = getattr(error, "format_message", None)
    message = str(format_message() if callable(format_message) else error).strip().rstrip(".")
    near = sorted(getattr(error, "possibilities", None) or ())
    if near:
        message = f"{getattr(error, 'message', message)}".rstrip(".") + f"; did you mean {' or '.join(near)}?"
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "electra"
    return UsageError(message[:1].lower() + message[1:], code="USAGE", hint=f"{path} --help")


def _stdout_is_lost() -> bool:
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
