"""Progress of commands: bars on a terminal, and for a training lines everywhere."""

import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from acdc_seg.cli.app import console, errors, shell_path

if TYPE_CHECKING:
    from acdc_seg.config import Config
    from acdc_seg.data.source import Source
    from acdc_seg.runs.folder import Run

LINE_S = 30
"""Seconds between lines inside an epoch where there is no terminal; shorter trainings print none,
nor how long they take.
"""
ESTIMATE_S = 4
"""Seconds of training after which its length is estimated."""
MAX_WIDTH = 100
"""Columns of a line about an epoch; where the classes do not fit, they are left out."""


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


def duration(seconds: float) -> str:
    """A rounded time in words: 40 seconds, 25 minutes, 3.5 hours."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


class TrainProgress:
    """A line per validated epoch; between them a bar on a terminal, else a line now and then.

    Where nothing validates, there is a line per epoch and no Dice.
    """

    def __init__(self, config: "Config", source: "Source") -> None:
        self.bar = make_progress(console)
        self.num_epochs, self.source = config.train.epochs, source
        self.task = self.bar.add_task("epochs", total=self.num_epochs)
        self.names = config.classes.foreground if config.data.validation else ()
        self.loss, self.best = math.nan, math.nan
        self.run: Run | None = None
        self.seconds_before, self.has_header, self.is_announced = 0.0, False, False
        self.started = self.spoken = time.monotonic()
        self.position_before = 0.0
        self.reference: tuple[float, float] | None = None  # time and epochs done, to measure from

    def on_start(self, run: "Run", config: "Config") -> None:
        """Says which run trains what on what, and what disk space it needs."""
        from acdc_seg.runtime.memory import megabytes
        from acdc_seg.training.estimate import disk_bytes

        before = run.read_json()
        self.run, self.seconds_before = run, before.get("seconds", 0.0)
        best = before.get("best_dice")
        self.best = math.nan if best is None else best
        counts = ", ".join(f"{len(self.source.split(split))} {split}" for split in ("train", "val"))
        console.print(
            f"[bold]{shell_path(run.folder)}[/]: {config.model.name} on {self.source.kind} "
            f"({counts} images, {config.train.precision})"
        )
        training, finished = map(megabytes, disk_bytes(config, self.source))
        console.print(f"Disk: about {training} while it trains, {finished} when finished.")
        self.started = self.spoken = time.monotonic()

    def on_batch(self, epoch: int, done: int, total: int, mean_loss: float) -> None:
        """Moves the bar, and says now and then how far the training is."""
        now, position = time.monotonic(), epoch - 1 + done / total
        self.loss = mean_loss
        text = f"epoch {epoch}, batch {done}/{total}, loss {mean_loss:.4f}"
        text += "" if math.isnan(self.best) else f", best Dice {self.best:.4f}"
        self.bar.update(self.task, completed=position, description=text)
        if self.reference is None:
            self.reference = now, position  # the first step is slower than others
            self.position_before = position - 1 / total
        if not self.is_announced and now - self.started >= ESTIMATE_S:
            self._announce(now, position, total)
        if not console.is_terminal and now - self.spoken >= LINE_S:
            self.spoken = now
            console.print(f"  in {text}, {timedelta(seconds=round(self._left(position)))} left")

    def on_epoch_end(self, epoch: int, dice: float) -> None:
        """Prints the epoch's line, and above the first one what its columns are."""
        if (math.isnan(dice) and self.names) or os.environ.get("RANK", "0") != "0":
            return  # the other processes print nothing, and do not write history.csv
        is_best = not dice <= self.best
        self.best = dice if is_best else self.best
        titles, cells = self._columns(epoch, is_best=is_best)
        if not self.has_header:
            self.has_header = True
            best = "   * best so far" if self.names else ""
            console.print(f"{'  '.join(titles)}{best}")
        console.print("  ".join(cells))
        self.spoken = time.monotonic()

    def _columns(self, epoch: int, *, is_best: bool) -> tuple[list[str], list[str]]:
        """Titles and values of an epoch's line, of equal widths, from history.csv."""
        assert self.run is not None
        with (self.run.folder / "history.csv").open(encoding="utf-8", newline="") as file:
            *_, row = csv.DictReader(file)
        seconds = self.seconds_before + time.monotonic() - self.started
        columns = [
            ("epoch", f"epoch {epoch:>3}/{self.num_epochs}"),
            ("loss", f"{float(row['train_loss']):.4f}"),
        ]
        end = [
            ("lr", f"{float(row['lr']):.1e}"),
            ("time", str(timedelta(seconds=round(seconds)))),
            ("left", str(timedelta(seconds=round(self._left(epoch))))),
        ]
        if self.names:
            columns.append(("Dice  ", f"{float(row['dice']):.4f} {'*' if is_best else ' '}"))
        classes = [(name, f"{float(row[f'dice_{name}']):.4f}") for name in self.names]
        widths = [max(map(len, column)) for column in (*columns, *classes, *end)]
        fits = sum(widths) + 2 * len(widths) <= MAX_WIDTH
        columns += [*classes, *end] if fits else end
        pairs = [(title.rjust(len(cell)), cell.rjust(len(title))) for title, cell in columns]
        return [title for title, _ in pairs], [cell for _, cell in pairs]

    def _left(self, position: float) -> float:
        """Seconds until the end, at the speed since the first batch."""
        now = time.monotonic()
        since, done = self.reference or (self.started, 0.0)
        if position <= done:  # one batch alone
            since, done = self.started, self.position_before
        speed = (now - since) / max(1e-9, position - done)
        return speed * (self.num_epochs - position)

    def _announce(self, now: float, position: float, total: int) -> None:
        """Says once how long the training will take, if that is long."""
        self.is_announced = True
        left = self._left(position)
        if left < LINE_S:
            return
        console.print(
            f"It will take about {duration(left)}: {self.num_epochs} epochs of {total} batches."
        )
