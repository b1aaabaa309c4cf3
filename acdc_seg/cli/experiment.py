"""acdc-experiment"""

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from acdc_seg.cli.app import Debug, StopOnSignal, Version, console, make_app, run, shell_path
from acdc_seg.cli.progress import duration, make_progress, progress_bar
from acdc_seg.cli.settings import PHANTOM_NOTICE, choices, option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acdc_seg.config.experiment import ExperimentFile
    from acdc_seg.experiments.plan import Plan
    from acdc_seg.experiments.settings import Options
    from acdc_seg.experiments.sweep import JobState, SweepProgress

app = make_app()

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME|FILE [SECTION.KEY=VALUE]...",
        help="A shipped experiment or a YAML file, and settings that all its variants share; or "
        "'list'; or 'show' and the name of one that was run, to draw it again.",
        show_default=False,
    ),
]
Data = Annotated[Path | None, option("Data to train on.", "What", "the experiment's phantom")]
Only = Annotated[
    list[str] | None,
    option("Variant to take, or a pattern such as 'mix*'; repeat it for more.", "What", "all"),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="A first look in minutes: two epochs, on small images where no data is given.",
        rich_help_panel="What",
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Train every variant with so many seeds, from 0.",
        rich_help_panel="What",
        show_default="those of the experiment",
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Train every variant on so many folds by patient.",
        rich_help_panel="What",
        show_default="those of the experiment",
    ),
]
Name = Annotated[
    str | None,
    option("Name of the folder; an existing one is resumed.", "Output", "the experiment's"),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Train again what failed by its own settings.",
        rich_help_panel="What",
    ),
]
NumWorkers = Annotated[
    int, typer.Option(min=1, help="Processes on this machine.", rich_help_panel="Computing")
]
Storage = Annotated[
    str | None,
    option("Database: postgresql://USER@HOST/NAME.", "Computing", "a journal file in the folder"),
]
JobDevice = Annotated[str | None, option(choices("train.device"), "Computing", "auto")]
ExperimentsDir = Annotated[Path, option("Folder of the experiments' folders.", "Output")]


@app.command(
    epilog="Example: acdc-experiment losses --data data/slices --seeds 3 --workers 2 "
    "train.epochs=100. Experiments of your own: docs/experiments.md."
)
def experiment(
    words: Words = None,
    data: Data = None,
    only: Only = None,
    quick: Quick = False,
    seeds: Seeds = None,
    folds: Folds = None,
    retry_failed: RetryFailed = False,
    workers: NumWorkers = 1,
    storage: Storage = None,
    device: JobDevice = None,
    name: Name = None,
    experiments_dir: ExperimentsDir = Path("experiments"),
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Train variants of one recipe and compare them: figures, a table, a page and a conclusion.

    The same command resumes an experiment, and joins it from another machine.
    """
    from acdc_seg.config.experiment import find_experiment, read_experiment
    from acdc_seg.errors import ConfigError

    first, *rest = words or ["list"]
    if first == "list":
        _list()
        return
    if first == "show":
        if len(rest) != 1:
            raise ConfigError("show takes one name: acdc-experiment show losses")
        _show(Path(rest[0]), quick, experiments_dir, storage)
        return
    from acdc_seg.experiments.settings import Options

    path = find_experiment(first)
    content = read_experiment(path)
    options = Options(tuple(rest), tuple(only or ()), data, quick, seeds, folds, device)
    folder_name = name or f"{path.stem}{'-quick' if quick else ''}"
    plan = _make_plan(folder_name, content, options, workers, storage, experiments_dir)
    _run(plan, retry_failed=retry_failed)


def _list() -> None:
    """A line for each shipped experiment."""
    from acdc_seg.config.experiment import read_experiment, shipped_experiments

    shipped = shipped_experiments()
    width = max(map(len, shipped))
    for name, path in shipped.items():
        console.print(f"[bold]{name.ljust(width)}[/]  {escape(read_experiment(path).title)}")
    console.print("Next: acdc-experiment NAME --quick, or with --data DIR at full length")


def _make_plan(
    name: str,
    content: "ExperimentFile",
    options: "Options",
    num_workers: int,
    storage: str | None,
    experiments_dir: Path,
) -> "Plan":
    from acdc_seg.errors import ConfigError
    from acdc_seg.experiments.phantoms import phantom_data
    from acdc_seg.experiments.plan import make_plan, write_plan
    from acdc_seg.experiments.settings import has_data

    if name in (".", "..") or "/" in name or not name.strip():
        raise ConfigError(f"--name '{name}': an experiment's name is a folder's name, without /")
    phantom = None
    with progress_bar() as report:
        if not has_data(content, options):
            console.print(PHANTOM_NOTICE.format("training"))
            phantom = phantom_data(content.phantom, quick=options.quick, on_progress=report)
        plan = make_plan(
            name,
            content,
            options,
            phantom=phantom,
            num_workers=num_workers,
            storage=storage,
            experiments_dir=experiments_dir,
            on_progress=report,
        )
    words = [re.sub(r"(://[^:/@]+):[^@]*@", r"\1@", word) for word in sys.argv[1:]]  # no password
    plan = replace(plan, command=shlex.join(["acdc-experiment", *words]))
    write_plan(plan)
    return plan


def _run(plan: "Plan", *, retry_failed: bool) -> None:
    from acdc_seg.experiments.sweep import run_experiment

    console.print(
        f"[bold]{shell_path(plan.folder)}[/]: {escape(plan.experiment.title)}, "
        f"{len(plan.variants)} variants, {len(plan.jobs)} trainings"
    )
    bar, stop = SweepProgressBar(len(plan.jobs)), StopOnSignal("the workers")
    stop.listen()
    with bar.progress:
        states = run_experiment(
            plan,
            retry_failed=retry_failed,
            on_progress=bar.show,
            should_stop=lambda: stop.requested,
        )
    _print_outputs(plan, states)
    if stop.requested:
        console.print("Stopped; nothing is lost. The same command resumes the experiment.")
        raise typer.Exit(130)


def _show(name: Path, quick: bool, experiments_dir: Path, storage: str | None) -> None:
    from acdc_seg.experiments.plan import read_plan
    from acdc_seg.experiments.sweep import job_states, open_experiment

    folder = name if name.is_dir() else experiments_dir / f"{name}{'-quick' if quick else ''}"
    plan = read_plan(folder, storage=storage)
    _print_outputs(plan, job_states(open_experiment(plan), plan))


def _print_outputs(plan: "Plan", states: "Sequence[JobState]") -> None:
    """Writes tables, figures and page of what is finished, and prints the conclusion."""
    from acdc_seg.experiments.outputs import write_outputs

    failed = [state for state in states if state.reason is not None]
    for state in failed:
        console.print(escape(f"failed: {state.job.label}: {state.reason}"))
    num_left = sum(not state.is_over for state in states)
    if num_left:
        console.print(f"{num_left} of {len(states)} trainings are not finished.")
    sentences = write_outputs(plan, states)
    if not sentences:
        console.print("Nothing is finished yet.")
        return
    if plan.experiment.found:
        console.print(escape(f"The study: {plan.experiment.found}"))
    for sentence in sentences:
        console.print(escape(sentence))
    console.print(f"Wrote {shell_path(plan.folder)}/report.html, table.md and figures/")


class SweepProgressBar:
    """A bar with the time left on a terminal, and a line for every training that ends."""

    def __init__(self, num_jobs: int) -> None:
        self.progress = make_progress(console)
        self.task = self.progress.add_task("trainings", total=num_jobs)

    def show(self, progress: "SweepProgress") -> None:
        """Prints the trainings that ended and updates the bar."""
        left = "" if progress.seconds_left is None else f", {duration(progress.seconds_left)} left"
        done = f"{progress.num_over}/{len(progress.states)}"
        for state in progress.new:
            console.print(escape(f"{state.job.label}: {_describe(state)}  ({done}{left})"))
        self.progress.update(self.task, completed=progress.num_over, description=f"trainings{left}")


def _describe(state: "JobState") -> str:
    if state.result is None:
        return f"failed: {state.reason}"
    result = state.result
    best = "" if result.best_epoch is None else f" in epoch {result.best_epoch}"
    return f"Dice {result.dice:.4f}{best}, {duration(result.seconds)}"


def main() -> None:
    """Entry point of acdc-experiment."""
    run(app)
