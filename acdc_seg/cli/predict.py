"""acdc-predict"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from acdc_seg.cli.app import Debug, Version, console, make_app, run, shell_path
from acdc_seg.cli.options import BARE, Device, Precision, Tta
from acdc_seg.cli.progress import make_progress
from acdc_seg.cli.settings import option
from acdc_seg.errors import ConfigError, DataError, path_hint

app = make_app()

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT...",
        help="NIfTI volumes or cines, folders of them, ACDC trees, DICOM series.",
        show_default=False,
    ),
]
Out = Annotated[Path, option("Folder to write; finished exams in it are skipped.", "Output")]
Model = Annotated[
    str | None,
    option(
        "Run folder, checkpoint, ensemble, ONNX file, or a model of the package.",
        "What",
        "acdc_volumes",
    ),
]
Probabilities = Annotated[
    bool, typer.Option("--probabilities", rich_help_panel="Output", help="Write probabilities too.")
]
Uncertainty = Annotated[
    bool,
    typer.Option(
        "--uncertainty",
        rich_help_panel="Output",
        help="Write the entropy of the probabilities too, in 0..1.",
    ),
]
DicomSeg = Annotated[
    bool,
    typer.Option(
        "--dicom-seg", rich_help_panel="Output", help="Write DICOM-SEG files of DICOM series too."
    ),
]
KeepLargest = Annotated[
    bool,
    typer.Option(
        "--keep-largest/--keep-all",
        rich_help_panel="What",
        help="Leave the largest 3-D region of every class, or all regions.",
    ),
]
Shard = Annotated[
    str | None,
    option("I/N: every N-th exam from the I-th on, for job arrays.", "Computing", "all exams"),
]
Dask = Annotated[
    str | None,
    option(
        "Address of a dask scheduler, or its file; its workers do the exams.",
        "Computing",
        "this process",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, rich_help_panel="Computing", help="Slices predicted at a time.")
]


@app.command(epilog="Example: acdc-predict patient.nii.gz --out results")
def predict(
    inputs: Inputs,
    model: Model = None,
    tta: Tta = None,
    keep_largest: KeepLargest = True,
    out: Out = Path("predictions"),
    probabilities: Probabilities = False,
    uncertainty: Uncertainty = False,
    dicom_seg: DicomSeg = False,
    shard: Shard = None,
    dask: Dask = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 8,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Segment exams on their own grid, and measure the hearts."""
    _check_paths(inputs, out)

    from acdc_seg.inference.shipped import find_model

    path = find_model(model)

    from acdc_seg.data.exams import find_exams
    from acdc_seg.prediction.case import Outputs
    from acdc_seg.prediction.model import ModelSettings
    from acdc_seg.prediction.run import take_shard

    settings = ModelSettings(path, tta, device, precision, keep_largest, batch_size)
    exams = find_exams([path.absolute() for path in inputs] if dask else inputs)
    if shard is not None:
        exams = take_shard(exams, shard)
    options = {
        "outputs": Outputs(probabilities, uncertainty, dicom_seg),
        "summary": shard is None,
    }
    try:
        if dask is None:
            cases = _predict(exams, settings.load(), out, options)
        else:
            cases = _predict_cohort(exams, settings, out, dask, options)
    except KeyboardInterrupt:
        console.print(f"Finished exams are kept in {shell_path(out)}; the same command continues.")
        raise
    _print_end(cases, out, shard)


def _check_paths(inputs: list[Path], out: Path) -> None:
    """Refuses mistyped paths before anything slow is imported."""
    for path in inputs:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; {path_hint(path)}")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; give a folder")


def _predict(
    exams: Any, predictor: Any, out: Path, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Predicts in this process, with a bar over exams, one over frames, and a line per exam."""
    from acdc_seg.prediction.run import predict_exams

    with make_progress(console) as progress:
        on_case = _case_bar(progress, len(exams))
        over_frames = progress.add_task("frames", total=None)

        def on_frame(exam: Any) -> Callable[[int, int], None]:
            progress.reset(over_frames, description=escape(exam.id))

            def report(done: int, total: int) -> None:
                progress.update(over_frames, completed=done, total=total)

            return report

        return predict_exams(exams, predictor, out, on_case=on_case, on_frame=on_frame, **options)


def _predict_cohort(
    exams: Any, settings: Any, out: Path, address: str, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Predicts by the workers of a scheduler, with a bar over exams and a line per exam."""
    from acdc_seg.prediction.cohort import predict_cohort

    def on_start(num_workers: int) -> None:
        noun = "worker" if num_workers == 1 else "workers"
        waiting = "" if num_workers else "; the exams wait for one to join"
        console.print(
            f"{len(exams):,} exams for {num_workers} {noun} of {escape(address)}{waiting}"
        )

    with make_progress(console) as progress:
        on_case = _case_bar(progress, len(exams))
        return predict_cohort(
            exams, settings, out, address=address, on_start=on_start, on_case=on_case, **options
        )


def _case_bar(progress: Any, num_exams: int) -> Callable[[dict[str, Any], int, int], None]:
    """A bar over exams, and the function that moves it and prints a line."""
    over_exams = progress.add_task("exams", total=num_exams)

    def on_case(case: dict[str, Any], done: int, total: int) -> None:
        progress.update(over_exams, completed=done)
        progress.console.print(_line(case, done, total))

    return on_case


def _line(case: dict[str, Any], done: int, total: int) -> str:
    """What came out of an exam, in one line."""
    start = f"{done}/{total} {escape(case['id'])}"
    if case["status"] != "done":
        return f"{start}  [red]failed[/] {escape(case['error'])}"
    values = case["measurements"]["values"]
    shown = {"LVEDV": "mL", "LVEF": "%", "LVM": "g", "RVEDV": "mL", "RVEF": "%"}
    numbers = [
        f"{name} {values[name]:.0f} {unit}"
        for name, unit in shown.items()
        if values[name] is not None
    ]
    rules = len(case["failed_rules"])
    quality = f"  [yellow]{rules} failed rule{'s' if rules > 1 else ''}[/]" if rules else ""
    finished = "done before" if case.get("skipped") else f"{case['seconds']:.0f} s"
    return f"{start}  {'  '.join(numbers)}{quality}  ({finished})"


def _print_end(cases: list[dict[str, Any]], out: Path, shard: str | None) -> None:
    failed = [case["id"] for case in cases if case["status"] != "done"]
    if shard is None:
        written = "label maps (*_seg.nii.gz), measurements.csv, report.html"
    else:
        written = (
            f"label maps (*_seg.nii.gz) of shard {escape(shard)}. When all shards are done, the "
            "same command without --shard writes measurements.csv and report.html of all"
        )
    console.print(f"Wrote {shell_path(out)}: {written}. For research only; not a medical device.")
    if failed:
        place = "report.html" if shard is None else "cases/"
        console.print(f"[red]{len(failed)} of {len(cases)} exams failed[/]; see {place}.")
        raise typer.Exit(2)


def main() -> None:
    """Entry point of acdc-predict."""
    run(app, implied=BARE)
