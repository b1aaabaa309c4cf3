"""What all commands share: their frame, error handling, progress bars and common options."""

import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from acdc_seg import __version__
from acdc_seg.errors import AcdcError, AcdcWarning

console = Console(highlight=False, emoji=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
SPEAKING_SECONDS = 2
"""What the other processes leave the first one to say that the command line is wrong, before
torchrun ends all.
"""
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
Device = Annotated[str, typer.Option(rich_help_panel="Computing", help="auto, cpu, cuda or mps.")]
Precision = Annotated[
    str,
    typer.Option(
        rich_help_panel="Computing",
        help="auto, fp32, bf16 or fp16; auto takes fp32 for a run trained in it, else the fastest.",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, rich_help_panel="Computing", help="Images predicted at a time.")
]


def make_app() -> typer.Typer:
    """An empty command with our conventions."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(
    app: typer.Typer, *, lists: Collection[str] = (), bare: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Runs a command; what the user can mend is one message and exit code 2.

    See `expand` for `lists` and `bare`.

    Of several processes that torchrun started the first one prints; an error is printed once, by
    the first that has it.
    """
    warnings.showwarning = partial(_show_warning, warnings.showwarning)
    is_first = os.environ.get("RANK", "0") == "0"
    try:
        with _printing_if(is_first):
            app(args=expand(sys.argv[1:], lists=lists, bare=bare))
    except SystemExit as end:
        if end.code == 2 and not is_first:
            time.sleep(SPEAKING_SECONDS)
        raise
    except AcdcError as error:
        if _debug:
            raise
        if _says_first(str(error)):
            errors.print(f"[bold red]Error:[/] {escape(str(error))}")
        sys.exit(2)


@contextmanager
def _printing_if(allowed: bool) -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, ExitStack() as stack:
        if not allowed:
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


def _says_first(message: str) -> bool:
    """Whether no other process of this training on this host has said it."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return True
    from acdc_seg.runtime.distributed import is_first_with

    return is_first_with(message)


def _show_warning(
    show: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *place: Any,
    **more: Any,
) -> None:
    """Prints our own warnings without the line of code that they come from."""
    if issubclass(category, AcdcWarning):
        errors.print(f"[bold yellow]Warning:[/] {escape(str(message))}")
    else:
        show(message, category, *place, **more)


def expand(args: Sequence[str], *, lists: Collection[str], bare: Mapping[str, str]) -> list[str]:
    """Arguments as the parser wants them.

    Args:
        lists: Options that take all words up to the next option: `--runs A B` becomes `--runs A
            --runs B`.
        bare: Options with the value that they have where none follows: `--tta` becomes `--tta
            dihedral`.
    """
    expanded: list[str] = []
    option, num_values = "", 0
    for arg in [*args, "-"]:
        if arg.startswith("-"):
            if option in bare and not num_values:
                expanded.append(bare[option])
            option, num_values = arg, 0
        else:
            if option in lists and num_values:
                expanded.append(option)
            num_values += 1
        expanded.append(arg)
    return expanded[:-1]


def shell_path(path: Path) -> str:
    """A path as it can be pasted into a shell, ready to print."""
    return escape(shlex.quote(str(path)))


def make_progress(where: Console) -> Progress:
    """Bars with counts and time left, which vanish when done; nothing where there is no
    terminal.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=where, transient=True, disable=not where.is_terminal)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Yields `report(what, done, total)`, which draws a bar on a terminal and nothing elsewhere."""
    with make_progress(errors) as progress:
        tasks = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report


class StopOnSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a wish to stop; the second one ends the program at
    once.

    Args:
        what: What is being stopped then, for the message.
    """

    def __init__(self, what: str) -> None:
        self.what, self.requested, self.listens = what, False, False

    def poll(self) -> bool:
        """Whether to stop.

        It listens from the first question on, so that a signal ends at once what has done no step
        yet.
        """
        if not self.listens:
            self.listen()
        return self.requested

    def listen(self) -> None:
        self.listens = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: Any) -> None:
        self.requested = True
        signal.signal(number, signal.default_int_handler)
        errors.print(f"Stopping {self.what}; press Ctrl-C again to quit at once.")
