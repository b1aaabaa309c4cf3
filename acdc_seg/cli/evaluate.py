"""acdc-evaluate"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc_seg.cli.app import Debug, Version, console, make_app, run, shell_path
from acdc_seg.cli.compare import Request, print_comparison, write_ranking
from acdc_seg.cli.evaluate_volumes import evaluate_volumes
from acdc_seg.cli.options import (
    BARE,
    BatchSize,
    Device,
    OptionalMembers,
    Precision,
    Tta,
    Weights,
    split_words,
)
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
Volumes = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        metavar="PRED TRUTH",
        help="Score NIfTI label maps of any program, paired by name; TRUTH may be an ACDC tree.",
        rich_help_panel="What",
        show_default="score runs",
    ),
]
AllowSeen = Annotated[
    bool,
    typer.Option(
        "--allow-seen",
        help="Score images that a run was trained on; metrics.json says so.",
        rich_help_panel="What",
    ),
]
Tolerance = Annotated[
    float,
    typer.Option(
        min=0,
        help="Distance in mm (in pixels where the spacing is unknown) within which surfaces agree "
        "for NSD.",
        rich_help_panel="What",
    ),
]
Versus = Annotated[
    Path | None,
    option(
        "Another run on the same images: paired differences, their intervals, and patients won "
        "and lost.",
        "Compare",
        "no comparison",
    ),
]
Table = Annotated[
    Path | None,
    option(
        "Score each run alone, and write one table of them, best first, with parameters, GFLOP and "
        "images/s: a .csv, .md or .html file.",
        "Compare",
        "no table",
    ),
]
Out = Annotated[
    Path | None,
    option(
        "Folder of metrics.json and its tables.",
        "Output",
        "RUN/SPLIT[-DATA][-TTA], or PRED-scores",
    ),
]


@app.command(epilog="Example: acdc-evaluate runs/unet --split test --tta")
def evaluate(
    context: typer.Context,
    runs: OptionalMembers = None,
    volumes: Volumes = None,
    data: Data = None,
    split: Split = None,
    allow_seen: AllowSeen = False,
    tta: Tta = None,
    weights: Weights = None,
    tolerance: Tolerance = 2.0,
    versus: Versus = None,
    table: Table = None,
    out: Out = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Score a run, or the soft vote of several, against true masks: Dice, distances and more for
    every class, image, volume and patient.

    With --versus it is compared with another run; with --table every run is scored alone.
    Label maps of any program are scored with --volumes, in place of runs.
    """
    if volumes is not None:
        evaluate_volumes(context, volumes, runs or [], tolerance=tolerance, out=out)
        return
    paths, overrides = split_words(runs or [])
    _check_options(paths, out=out, table=table, versus=versus, weights=weights)
    request = Request(
        data=data,
        split=split,
        allow_seen=allow_seen,
        tta=tta,
        tolerance=tolerance,
        overrides=overrides,
        device=device,
        precision=precision,
        batch_size=batch_size,
    )
    if table is not None:
        write_ranking(paths, table, request)
        return
    evaluation = request.score(request.load(paths, weights))
    folder = out or request.folder(paths[0], evaluation.images.name)
    _print_scores(paths, evaluation, folder, request)
    if versus is not None:
        print_comparison(paths, versus, evaluation, folder, request)


def _check_options(
    paths: list[Path],
    *,
    out: Path | None,
    table: Path | None,
    versus: Path | None,
    weights: list[str] | None,
) -> None:
    from acdc_seg.errors import ConfigError

    if not paths:
        raise ConfigError("give a run folder, a checkpoint or an ensemble before the settings")
    if table is not None:
        from acdc_seg.evaluation.ranking import check_suffix

        given = {"--out": out, "--versus": versus, "--weights": weights}
        wrong = [name for name, value in given.items() if value is not None]
        if wrong:
            raise ConfigError(
                f"--table scores each run alone, into its own folder; leave out {', '.join(wrong)}"
            )
        check_suffix(table)
    elif len(paths) > 1 and out is None:
        names = " ".join(shell_path(path) for path in paths)
        raise ConfigError(
            "several runs are averaged: give --out FOLDER for the scores of their soft vote; to "
            f"compare them: acdc-evaluate {names} --table models.md"
        )


def _print_scores(
    paths: list[Path], evaluation: "Evaluation", folder: Path, request: Request
) -> None:
    from acdc_seg.metrics.levels import tables_of

    evaluation.write(folder)
    _print_header(paths, evaluation, request.tta)
    print_notes(evaluation.images.source.notes)
    console.print(str(evaluation), markup=False)
    tables = ", ".join(tables_of(evaluation.score_set))
    console.print(f"Wrote {shell_path(folder)}/{tables} and metrics.json")


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
