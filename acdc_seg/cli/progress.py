"""Progress bars, which are drawn on a terminal alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from acdc_seg.cli.app import errors


def make_progress(where: Console) -> Progress:
    """Bars with counts and the time left, removed when done; nothing without a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=where,
        transient=True,
        disable=not where.is_terminal,
    )


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Yields `report(what, done, total)`, which draws a bar of its own for every `what`."""
    with make_progress(errors) as progress:
        tasks = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report
