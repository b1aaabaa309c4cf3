"""acdc-evaluate"""

import json
from dataclasses import dataclass
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
    from acdc_seg.evaluation import Evaluation, SplitImages
    from acdc_seg.inference.predictors import Predictor

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
    option("Folder of metrics.json and its tables.", "Output", "RUN/SPLIT[-DATA][-TTA]"),
]


@dataclass(frozen=True)
class Request:
    """Options that hold for every run of a command."""

    data: Path | None
    split: str | None
    allow_seen: bool
    tta: str | None
    tolerance: float
    overrides: list[str]
    device: str
    precision: str
    batch_size: int

    def load(self, paths: list[Path], weights: list[str] | None = None) -> "Predictor":
        """The soft vote of runs."""
        from acdc_seg.inference.load import load_members

        return load_members(
            paths,
            overrides=self.overrides,
            tta=self.tta,
            weights=parse_weights(weights),
            device=self.device,
            precision=self.precision,
        )

    def score(self, predictor: "Predictor", images: "SplitImages | None" = None) -> "Evaluation":
        """Scores on the predictor's split, or on images that are opened already."""
        from acdc_seg.evaluation import evaluate_images, open_split

        with progress_bar() as report:
            if images is None:
                images = open_split(predictor.config, self.data, self.split, report)
            return evaluate_images(
                predictor,
                images,
                allow_seen=self.allow_seen,
                batch_size=self.batch_size,
                tolerance=self.tolerance,
                on_progress=report,
            )

    def folder(self, path: Path, split: str) -> Path:
        """Where scores of a run are by default: data and augmentations other than the run's own
        have folders of their own.
        """
        words = [split, self.data.resolve().name if self.data else "", self.tta or ""]
        return (path if path.is_dir() else path.parent) / "-".join(filter(None, words))


@app.command(epilog="Example: acdc-evaluate runs/unet --split test --tta")
def evaluate(
    runs: Members,
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
    """
    paths, overrides = split_words(runs)
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
        _write_ranking(paths, table, request)
        return
    evaluation = request.score(request.load(paths, weights))
    folder = out or request.folder(paths[0], evaluation.images.name)
    _print_scores(paths, evaluation, folder, request)
    if versus is not None:
        _print_comparison(paths, versus, evaluation, folder, request)


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


def _print_comparison(
    paths: list[Path], versus: Path, evaluation: "Evaluation", folder: Path, request: Request
) -> None:
    """Scores the other run on the same images, and writes and prints the paired differences."""
    from acdc_seg.files import write_table, write_text
    from acdc_seg.inference.predictors import check_classes
    from acdc_seg.metrics.comparison import compare, format_comparison, patient_rows

    other = request.load([versus])
    check_classes(other.classes, evaluation.images.config.classes)
    other_evaluation = request.score(other, evaluation.images)
    comparison = compare(evaluation.score_set, other_evaluation.score_set)
    first, second = _names([paths[0], versus])
    first = first if len(paths) == 1 else "vote"
    stem = f"versus-{second}"
    content = {
        "first": evaluation.protocol,
        "second": other_evaluation.protocol,
        **comparison.to_dict(),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / f"{stem}.json", text + "\n")
    write_table(folder / f"{stem}.csv", patient_rows(comparison, first, second))
    console.print(f"\n{first} versus {second}", markup=False)
    console.print(format_comparison(comparison, first, second), markup=False)
    console.print(f"Wrote {shell_path(folder / stem)}.csv and {stem}.json", markup=False)


def _write_ranking(paths: list[Path], table: Path, request: Request) -> None:
    """Scores every run alone on the images of the first, and writes the table of all."""
    from acdc_seg.evaluation import open_split
    from acdc_seg.evaluation.ranking import measure_model, rank_models
    from acdc_seg.inference.predictors import check_classes
    from acdc_seg.runtime.device import resolve_device

    models, images = [], None
    for path, name in zip(paths, _names(paths), strict=True):
        predictor = request.load([path])
        with progress_bar() as report:
            if images is None:
                images = open_split(predictor.config, request.data, request.split, report)
            check_classes(predictor.classes, images.config.classes)
            model = measure_model(
                name,
                predictor,
                images,
                allow_seen=request.allow_seen,
                batch_size=request.batch_size,
                tolerance=request.tolerance,
                on_progress=report,
            )
        models.append(model)
        folder = request.folder(path, images.name)
        model.evaluation.write(folder)
        console.print(f"Wrote {shell_path(folder)}/metrics.json", markup=False)
    device = resolve_device(request.device).type
    ranking = rank_models(models, batch_size=request.batch_size, device=device)
    ranking.write(table)
    console.print(str(ranking), markup=False)
    console.print(f"Wrote {shell_path(table)}")


def _names(paths: list[Path]) -> list[str]:
    """Names of the runs' folders or of other files, or the paths where two have one name."""
    names = []
    for path in paths:
        is_run = path.is_dir() or path.name == "best.pt"
        names.append(
            (path if path.is_dir() else path.parent).resolve().name if is_run else path.stem
        )
    if len(set(names)) == len(names):
        return names
    return [path.as_posix().strip("./").replace("/", "-") for path in paths]


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
