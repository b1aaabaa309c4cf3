"""The frame of every command: arguments, output, errors, signals and common options."""

import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.completion import completion_init

from acdc_seg import __version__
from acdc_seg.errors import AcdcError, AcdcWarning, ConfigError

# Waiting threads sleep instead of spinning, which slows all where several programs share the CPUs.
# The OpenMP library of PyTorch reads it once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

console = Console(highlight=False, emoji=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
USAGE_ERROR_DELAY_S = 2
"""Head start of the first process to print a usage error, before torchrun ends all processes."""
NO_VALUES: Mapping[str, str] = MappingProxyType({})
_debug = False


def _set_debug(value: bool) -> bool:
    global _debug
    _debug = _debug or value
    return value


def _print_version(value: bool) -> None:
    if value:
        console.print(f"acdc_seg {__version__}")
        raise typer.Exit


Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        callback=_set_debug,
        rich_help_panel="Other",
        help="Show the traceback of an error.",
    ),
]
Version = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_print_version,
        is_eager=True,
        rich_help_panel="Other",
        help="Print the version and exit.",
    ),
]


def make_app() -> typer.Typer:
    """A command without options, with our conventions."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(
    app: typer.Typer, *, greedy: Collection[str] = (), implied: Mapping[str, str] = NO_VALUES
) -> None:
    """Runs a command; a mistake of the user is one message and exit code 2.

    Of the processes that torchrun started only the first one prints. An error in the settings,
    which all have, is printed once; any other error by every process that has it.

    Args:
        app: The command.
        greedy: Options that take several values, see `expand_args`.
        implied: Values of options that are given without one, see `expand_args`.
    """
    warnings.showwarning = partial(_show_warning, warnings.showwarning)
    completion_init()  # answers shells; typer's own options for it would be in every --help
    is_first = os.environ.get("RANK", "0") == "0"
    try:
        with nullcontext() if is_first else _silence():
            app(
                args=expand_args(sys.argv[1:], greedy=greedy, implied=implied),
                prog_name=Path(sys.argv[0]).stem,
            )
    except SystemExit as end:
        if is_first and _is_interrupt(end):
            errors.print("Interrupted.")
        if end.code == 2 and not is_first:
            time.sleep(USAGE_ERROR_DELAY_S)
        if not end.code and "TORCHELASTIC_RUN_ID" in os.environ:
            # Threads of collective operations may abort a process of torchrun while it is torn
            # down, which would end the others too, whose report is still being written.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        raise
    except AcdcError as error:
        if _debug:
            raise
        rank = os.environ.get("LOCAL_RANK", "0")
        if rank == "0" or not isinstance(error, ConfigError):  # every process has a ConfigError
            of_rank = "" if rank == "0" else f" in process {rank}"
            errors.print(f"[bold red]Error{of_rank}:[/] {escape(str(error))}")
        sys.exit(2)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether a Ctrl-C is behind the end of a command; typer turns it into others."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


@contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
        yield


def _show_warning(
    show: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *details: Any,
    **options: Any,
) -> None:
    """Prints our own warnings without the line of code that they come from."""
    if issubclass(category, AcdcWarning):
        errors.print(f"[bold yellow]Warning:[/] {escape(str(message))}")
    else:
        show(message, category, *details, **options)


def expand_args(
    args: Sequence[str], *, greedy: Collection[str], implied: Mapping[str, str]
) -> list[str]:
    """Rewrites a command line so that every option is followed by one value.

    Args:
        args: The words of the command line.
        greedy: Options that take all words up to the next option: `--runs A B` becomes
            `--runs A --runs B`.
        implied: Options with their value where none is given: `--tta` becomes `--tta dihedral`.
    """
    expanded: list[str] = []
    option, num_values = "", 0
    for arg in [*args, "-"]:  # the last one ends the option before it, and is dropped
        if arg.startswith("-"):
            if option in implied and not num_values:
                expanded.append(implied[option])
            option, num_values = arg, 0
        else:
            if option in greedy and num_values:
                expanded.append(option)
            num_values += 1
        expanded.append(arg)
    return expanded[:-1]


def shell_path(path: Path | str) -> str:
    """A path or another word quoted for a shell and escaped for rich."""
    return escape(shlex.quote(str(path)))


class StopOnSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a stop request; the second one ends the program.

    Args:
        what: Description of what is stopped, for the message.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.requested = False
        self.listening = False

    def poll(self) -> bool:
        """Whether a stop is requested.

        Signals are caught from the first call on: before the first step there is nothing to save.
        """
        if not self.listening:
            self.listen()
        return self.requested

    def listen(self) -> None:
        """Catches the signals from now on."""
        self.listening = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: Any) -> None:
        self.requested = True
        signal.signal(number, signal.default_int_handler)
        errors.print(f"Stopping {self.what}; press Ctrl-C again to quit at once.")
