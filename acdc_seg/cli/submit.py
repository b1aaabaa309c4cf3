"""acdc-submit"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from acdc_seg.cli.app import BatchSize, Debug, Device, Version, console, make_app, progress_bar, run
from acdc_seg.cli.members import Tta, Weights, load_members

if TYPE_CHECKING:
    import numpy as np

app = make_app()


@app.command(
    epilog="Three ways: --runs RUN [RUN ...] --data DIR predicts; --from-masks DIR encodes mask images; --check CSV validates a submission."
)
def submit(
    more_runs: Annotated[list[Path] | None, typer.Argument(metavar="[RUN]...", help="More runs.", show_default=False)] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Run folders or checkpoints, averaged.", rich_help_panel="What", show_default="none"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of images, or with test/image/ or image/.", rich_help_panel="What", show_default="none"),
    ] = None,
    tta: Tta = None,
    weights: Weights = None,
    from_masks: Annotated[Path | None, typer.Option(help="Mask PNGs to encode.", rich_help_panel="What", show_default="none")] = None,
    check: Annotated[Path | None, typer.Option(help="Submission to validate.", rich_help_panel="What", show_default="none")] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Folder of true masks to score --check with.", rich_help_panel="What", show_default="none")
    ] = None,
    out: Annotated[Path, typer.Option(help="CSV to write.", rich_help_panel="Output")] = Path("submission.csv"),
    template: Annotated[
        Path | None, typer.Option(help="Sample submission that fixes ids and order.", rich_help_panel="Output", show_default="none")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder to write the predicted masks to as PNGs.", rich_help_panel="Output", show_default="none")
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Write a Kaggle submission, or check one."""
    from acdc_seg.errors import ConfigError

    members = [*(runs or []), *(more_runs or [])]
    if sum([bool(members), from_masks is not None, check is not None]) != 1:
        raise ConfigError("give one of --runs RUN [RUN ...] --data DIR, --from-masks DIR, or --check CSV")
    if check is not None:
        _check(check, truth)
    elif from_masks is not None:
        _encode(from_masks, out, template)
    elif data is None:
        raise ConfigError("--runs needs --data DIR, the folder of the images to predict")
    else:
        predicted, num_classes = _predict(members, data, tta, weights, device, batch_size, masks)
        _write(predicted, num_classes, out, template)


def _predict(
    members: list[Path], data: Path, tta: str | None, weights: str | None, device: str, batch_size: int, masks: Path | None
) -> "tuple[dict[str, np.ndarray], int]":
    """Class indices by image stem, and the number of classes."""
    from acdc_seg.data.images import read_image
    from acdc_seg.data.paired import find_images
    from acdc_seg.predict import predict_labels
    from acdc_seg.submit import write_masks

    predictor, config = load_members(members, tta=tta, weights=weights, device=device)
    images = find_images(data, config.data)
    with progress_bar() as report:
        stream = predict_labels(
            predictor,
            (read_image(path, channels=predictor.channels) for path in images.values()),
            batch_size=batch_size,
            on_image=lambda done: report("images", done, len(images)),
        )
        predicted = dict(zip(images, stream, strict=True))
    if masks is not None:
        write_masks(masks, predicted)
    return predicted, len(predictor.classes.names)


def _encode(folder: Path, out: Path, template: Path | None) -> None:
    from acdc_seg.config import ClassesConfig
    from acdc_seg.submit import masks_from_folder

    _write(masks_from_folder(folder), len(ClassesConfig().names), out, template)


def _write(masks: "dict[str, np.ndarray]", num_classes: int, out: Path, template: Path | None) -> None:
    from acdc_seg.submit import apply_template, submission_rows, write_submission

    rows = submission_rows(masks, num_classes=num_classes)
    write_submission(out, apply_template(rows, template) if template else rows)
    console.print(f"Wrote {escape(str(out))}: {len(rows)} rows of {len(masks)} images. Next: acdc-submit --check {escape(str(out))}")


def _check(path: Path, truth: Path | None) -> None:
    from acdc_seg.submit import check_submission

    result = check_submission(path, truth=truth)
    for problem in result.problems:
        console.print(f"[red]problem[/] {escape(problem)}")
    if result.score is not None:
        each = ", ".join(f"{name} {score:.4f}" for name, score in result.class_scores.items())
        console.print(f"Score [bold]{result.score:.5f}[/] (mean Dice over images and classes; both empty = 1): {each}")
    if result.problems:
        console.print(f"{escape(str(path))}: {len(result.problems)} problems in {result.num_rows} rows")
        raise typer.Exit(2)
    console.print(f"{escape(str(path))}: {result.num_rows} rows of {result.num_images} images, no problems")


def main() -> None:
    """Entry point of acdc-submit."""
    run(app)
