"""acdc-submit"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from acdc_seg.cli.app import (
    BatchSize,
    Debug,
    Device,
    Precision,
    Version,
    console,
    make_app,
    run,
    shell_path,
)
from acdc_seg.cli.options import BARE, Tta, Weights, load_members
from acdc_seg.cli.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np

    from acdc_seg.inference.predictors import Predictor

    Labels = tuple[str, np.ndarray]

app = make_app()
TAKES = {
    "runs": {
        "runs",
        "data",
        "tta",
        "weights",
        "out",
        "template",
        "masks",
        "device",
        "precision",
        "batch_size",
    },
    "from_masks": {"from_masks", "out", "template"},
    "check": {"check", "data", "truth"},
}
"""The options of each way to use the command."""


@app.command(
    epilog="Three ways: --runs RUN [RUN ...] --data DIR predicts; --from-masks DIR encodes mask "
    "images; --check CSV validates a submission."
)
def submit(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run folders or checkpoints, averaged.",
            rich_help_panel="What",
            show_default="none",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images, or with test/image/ or image/; --check takes sizes and names "
            "from it.",
            rich_help_panel="What",
            show_default="none",
        ),
    ] = None,
    tta: Tta = None,
    weights: Weights = None,
    from_masks: Annotated[
        Path | None,
        typer.Option(help="Mask PNGs to encode.", rich_help_panel="What", show_default="none"),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="Submission to validate.", rich_help_panel="What", show_default="none"),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Folder of true masks to score --check with.",
            rich_help_panel="What",
            show_default="none",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="CSV to write.", rich_help_panel="Output")] = Path(
        "submission.csv"
    ),
    template: Annotated[
        Path | None,
        typer.Option(
            help="Sample submission that fixes ids and order.",
            rich_help_panel="Output",
            show_default="none",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write the predicted masks to as PNGs.",
            rich_help_panel="Output",
            show_default="none",
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Write a Kaggle submission, or check one."""
    from acdc_seg.errors import ConfigError

    ways = {"runs": bool(runs), "from_masks": from_masks is not None, "check": check is not None}
    if sum(ways.values()) != 1:
        raise ConfigError(
            "give one of --runs RUN [RUN ...] --data DIR, --from-masks DIR, or --check CSV"
        )
    _refuse_others(context, next(way for way, chosen in ways.items() if chosen))
    if check is not None:
        _check(check, data, truth)
    elif from_masks is not None:
        _encode(from_masks, out, template)
    elif data is None or not runs:
        raise ConfigError("--runs needs --data DIR, the folder of the images to predict")
    else:
        predictor = load_members(runs, tta=tta, weights=weights, device=device, precision=precision)
        labels = _predict(predictor, data, batch_size)
        _write(labels, len(predictor.classes.names), out, template, masks)
    if check is None:
        console.print(
            f"Next: acdc-submit --check {shell_path(out)} --data "
            f"{shell_path(data) if data else 'DIR'}"
        )


def _refuse_others(context: typer.Context, way: str) -> None:
    """Raises ConfigError for an option that would have no effect."""
    from acdc_seg.errors import ConfigError

    given = [
        name
        for name in set.union(*TAKES.values())
        if str(context.get_parameter_source(name)).endswith("COMMANDLINE")
    ]
    if extra := [_flag(name) for name in sorted(given) if name not in TAKES[way]]:
        taken = ", ".join(_flag(name) for name in sorted(TAKES[way] - {way}))
        raise ConfigError(
            f"{', '.join(extra)} has no effect with {_flag(way)}, which takes {taken}; leave it out"
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _predict(predictor: "Predictor", folder: Path, batch_size: int) -> "Iterator[Labels]":
    """Class indices by image stem, one image after another."""
    from acdc_seg.data.readers.paired import find_images
    from acdc_seg.data.record import Record
    from acdc_seg.inference.stream import predict_examples, read_examples, to_labels

    images = find_images(folder, predictor.config.data)
    records = [Record(stem, path, None, "") for stem, path in images.items()]
    with progress_bar() as report:
        for example, probabilities in predict_examples(
            predictor,
            read_examples(records, predictor, with_masks=False),
            batch_size=batch_size,
            on_image=lambda done: report("images", done, len(images)),
        ):
            yield example.record.id, to_labels(probabilities)


def _encode(folder: Path, out: Path, template: Path | None) -> None:
    from acdc_seg.config import ClassesConfig
    from acdc_seg.submission.table import masks_from_folder

    _write(masks_from_folder(folder).items(), len(ClassesConfig().names), out, template)


def _write(
    labels: "Iterable[Labels]",
    num_classes: int,
    out: Path,
    template: Path | None,
    masks: Path | None = None,
) -> None:
    """Writes the CSV, then the masks that it encodes, so that a mistake in the one leaves none of
    the other.
    """
    from acdc_seg.submission.table import (
        apply_template,
        decode_rows,
        encode_rows,
        write_masks,
        write_submission,
    )

    shapes: dict[str, tuple[int, int]] = {}

    def noted() -> "Iterator[Labels]":
        for stem, mask in labels:
            shapes[stem] = mask.shape[0], mask.shape[1]
            yield stem, mask

    rows = encode_rows(noted(), num_classes=num_classes)
    write_submission(out, apply_template(rows, template) if template else rows)
    if masks is not None:
        for stem, mask in decode_rows(rows, shapes):
            write_masks(masks, {stem: mask})
    console.print(f"Wrote {shell_path(out)}: {len(rows)} rows of {len(shapes)} images.")


def _check(path: Path, data: Path | None, truth: Path | None) -> None:
    from acdc_seg.config import DataConfig
    from acdc_seg.data.images import image_shape
    from acdc_seg.data.readers.paired import find_images
    from acdc_seg.errors import ConfigError
    from acdc_seg.submission.table import check_submission

    if data and truth:
        raise ConfigError(
            "--truth says already which images there are and how large; leave --data out"
        )
    shapes = (
        {stem: image_shape(image) for stem, image in find_images(data, DataConfig()).items()}
        if data
        else None
    )
    result = check_submission(path, truth=truth, shapes=shapes)
    for problem in result.problems:
        console.print(f"[red]problem[/] {escape(problem)}")
    if result.score is not None:
        each = ", ".join(f"{name} {score:.4f}" for name, score in result.class_scores.items())
        console.print(
            f"Score [bold]{result.score:.5f}[/] (mean Dice over images and classes; both empty = "
            f"1): {each}"
        )
    if result.problems:
        console.print(
            f"{escape(str(path))}: {len(result.problems)} problems in {result.num_rows} rows"
        )
        raise typer.Exit(2)
    assumed = (
        ""
        if data or truth
        else ", taken as 96x96; --data DIR checks sizes and that none is missing"
    )
    console.print(
        f"{escape(str(path))}: {result.num_rows} rows of {result.num_images} images{assumed}: no "
        "problems"
    )


def main() -> None:
    """Entry point of acdc-submit."""
    run(app, greedy=("--runs", "--weights"), implied=BARE)
