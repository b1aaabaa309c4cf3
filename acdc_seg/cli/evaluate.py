"""acdc-evaluate"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc_seg.cli.app import Debug, Version, console, make_app, run, shell_path
from acdc_seg.cli.options import (
    BARE,
    BatchSize,
    Device,
    Members,
    Precision,
    Tta,
    Weights,
    parse_weights,
    split_words,
)
from acdc_seg.cli.progress import progress_bar
from acdc_seg.cli.settings import option, print_notes

if TYPE_CHECKING:
    from acdc_seg.evaluation import Evaluation

app = make_app()

Data = Annotated[
    Path | None, option("ACDC tree or paired folders.", "What", "the first run's data")
]
Split = Annotated[
    str | None,
    option("train, val or test.", "What", "val, or all images of data that is not divided"),
]
AllowSeen = Annotated[
    bool,
    typer.Option(
        "--allow-seen",
        help="Score images that a run was trained on; metrics.json says so.",
        rich_help_panel="What",
    ),
]
Out = Annotated[
    Path | None,
    option("Folder of metrics.csv and metrics.json.", "Output", "RUN/SPLIT[-DATA][-TTA]"),
]


@app.command(epilog="Example: acdc-evaluate runs/unet --split test --tta")
def evaluate(
    runs: Members,
    data: Data = None,
    split: Split = None,
    allow_seen: AllowSeen = False,
    tta: Tta = None,
    weights: Weights = None,
    out: Out = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Score a run, or the soft vote of several, against true masks: Dice and IoU for every class
    and image.
    """
    paths, overrides = split_words(runs)
    _check_paths(paths, out)

    from acdc_seg.evaluation import evaluate as evaluate_split
    from acdc_seg.inference.load import load_members
    from acdc_seg.metrics.levels import tables_of

    predictor = load_members(
        paths,
        overrides=overrides,
        tta=tta,
        weights=parse_weights(weights),
        device=device,
        precision=precision,
    )
    with progress_bar() as report:
        evaluation = evaluate_split(
            predictor,
            data,
            split=split,
            allow_seen=allow_seen,
            batch_size=batch_size,
            on_progress=report,
        )
    folder = out or _default_folder(paths[0], evaluation.images.name, data, tta)
    evaluation.write(folder)
    _print_header(paths, evaluation, tta)
    print_notes(evaluation.images.source.notes)
    console.print(str(evaluation), markup=False)
    tables = ", ".join(tables_of(evaluation.score_set))
    console.print(f"Wrote {shell_path(folder)}/{tables} and metrics.json")


def _check_paths(paths: list[Path], out: Path | None) -> None:
    from acdc_seg.errors import ConfigError

    if not paths:
        raise ConfigError("give a run folder, a checkpoint or an ensemble before the settings")
    if len(paths) > 1 and out is None:
        names = " ".join(shell_path(path) for path in paths)
        raise ConfigError(
            f"several runs are averaged: give --out FOLDER for the scores of their soft vote; to "
            f"compare them, evaluate each alone: for run in {names}; do acdc-evaluate $run; done"
        )


def _default_folder(path: Path, split: str, data: Path | None, tta: str | None) -> Path:
    """Data and augmentations other than the run's own have folders of their own."""
    words = [split, data.resolve().name if data else "", tta or ""]
    return (path if path.is_dir() else path.parent) / "-".join(filter(None, words))


def _print_header(paths: list[Path], evaluation: "Evaluation", tta: str | None) -> None:
    from acdc_seg.runs.folder import Run

    for path in paths:
        status = Run(path).read_json().get("status", "finished") if path.is_dir() else "finished"
        if status != "finished":
            console.print(
                f"{shell_path(path)} is unfinished ({status}): these are its best weights so far; "
                f"resume with acdc-train --resume {shell_path(path)}"
            )
    images, protocol = evaluation.images, evaluation.protocol
    num_patients = len({score.patient for score in evaluation.scores})
    console.print(
        f"{', '.join(map(str, paths))} on {images.source.kind} data {protocol['data']}, split "
        f"{images.name}, TTA {tta or 'none'}: {len(images.records)} images of {num_patients} "
        "patients",
        markup=False,
    )


def main() -> None:
    """Entry point of acdc-evaluate."""
    run(app, greedy=("--weights",), implied=BARE)
