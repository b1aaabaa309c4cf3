"""acdc-submit"""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from acdc_seg.cli.app import Debug, Version, console, make_app, run, shell_path
from acdc_seg.cli.options import (
    BARE,
    BatchSize,
    Device,
    Precision,
    Tta,
    Weights,
    parse_weights,
)
from acdc_seg.cli.progress import progress_bar
from acdc_seg.cli.settings import option

app = make_app()

Runs = Annotated[list[Path] | None, option("Run folders or checkpoints, averaged.", "What", "none")]
Data = Annotated[
    Path | None,
    option(
        "Folder of images, or with test/image/ or image/; --check takes sizes and names from it.",
        "What",
        "none",
    ),
]
FromMasks = Annotated[Path | None, option("Mask PNGs to encode.", "What", "none")]
Check = Annotated[Path | None, option("Submission to validate.", "What", "none")]
Truth = Annotated[
    Path | None, option("Folder of true masks to score --check with.", "What", "none")
]
Out = Annotated[Path, option("CSV to write.", "Output")]
Template = Annotated[
    Path | None, option("Sample submission that fixes ids and order.", "Output", "none")
]
Masks = Annotated[
    Path | None, option("Folder to write the predicted masks to as PNGs.", "Output", "none")
]

MODES = {
    "runs": "data tta weights out template masks device precision batch_size",
    "from_masks": "out template",
    "check": "data truth",
}
"""The option that chooses what the command does, and the options that it takes then."""


@app.command(
    epilog="Three ways: --runs RUN [RUN ...] --data DIR predicts; --from-masks DIR encodes mask "
    "images; --check CSV validates a submission."
)
def submit(
    context: typer.Context,
    runs: Runs = None,
    data: Data = None,
    tta: Tta = None,
    weights: Weights = None,
    from_masks: FromMasks = None,
    check: Check = None,
    truth: Truth = None,
    out: Out = Path("submission.csv"),
    template: Template = None,
    masks: Masks = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Write a Kaggle submission, or check one."""
    from acdc_seg.errors import ConfigError
    from acdc_seg.inference.load import load_members
    from acdc_seg.submission.pipeline import encode_masks, write_submission

    _check_options(context)
    if check is not None:
        _check(check, data, truth)
        return
    if from_masks is not None:
        rows = encode_masks(from_masks, out, template=template)
    elif data is None or not runs:
        raise ConfigError("--runs needs --data DIR, the folder of the images to predict")
    else:
        predictor = load_members(
            runs, tta=tta, weights=parse_weights(weights), device=device, precision=precision
        )
        with progress_bar() as report:
            rows = write_submission(
                predictor,
                data,
                out,
                template=template,
                masks=masks,
                batch_size=batch_size,
                on_progress=report,
            )
    num_images = len({id.rpartition("_mask")[0] for id, _ in rows})
    console.print(f"Wrote {shell_path(out)}: {len(rows)} rows of {num_images} images.")
    folder = shell_path(data) if data else "DIR"
    console.print(f"Next: acdc-submit --check {shell_path(out)} --data {folder}")


def _check_options(context: typer.Context) -> None:
    """Raises ConfigError unless one mode is chosen, without options that would have no effect."""
    from acdc_seg.errors import ConfigError

    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    modes = [name for name in given if name in MODES]
    if len(modes) != 1:
        raise ConfigError(
            "give one of --runs RUN [RUN ...] --data DIR, --from-masks DIR, or --check CSV"
        )
    taken = [*modes, *MODES[modes[0]].split(), "debug", "version"]
    if unused := [_flag(name) for name in sorted(given) if name not in taken]:
        flags = ", ".join(_flag(name) for name in sorted(MODES[modes[0]].split()))
        raise ConfigError(
            f"{', '.join(unused)} has no effect with {_flag(modes[0])}, which takes {flags}; leave "
            "it out"
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check(path: Path, data: Path | None, truth: Path | None) -> None:
    from acdc_seg.config import DataConfig
    from acdc_seg.data.images import image_shape
    from acdc_seg.data.readers.paired import find_images
    from acdc_seg.errors import ConfigError
    from acdc_seg.submission.check import check_submission

    shapes = None
    if data and truth:
        raise ConfigError(
            "--truth says already which images there are and how large; leave --data out"
        )
    if data:
        images = find_images(data, DataConfig())
        shapes = {stem: image_shape(image) for stem, image in images.items()}
    result = check_submission(path, truth=truth, shapes=shapes)
    for problem in result.problems:
        console.print(f"[red]problem[/] {escape(problem)}")
    if result.score is not None:
        by_class = ", ".join(f"{name} {score:.4f}" for name, score in result.class_scores.items())
        console.print(
            f"Score [bold]{result.score:.5f}[/] (mean Dice over images and classes; both empty = "
            f"1): {by_class}"
        )
    name, num_rows = escape(str(path)), result.num_rows
    if result.problems:
        console.print(f"{name}: {len(result.problems)} problems in {num_rows} rows")
        raise typer.Exit(2)
    assumed = ", taken as 96x96; --data DIR checks sizes and that none is missing"
    console.print(
        f"{name}: {num_rows} rows of {result.num_images} images"
        f"{'' if data or truth else assumed}: no problems"
    )


def main() -> None:
    """Entry point of acdc-submit."""
    run(app, greedy=("--runs", "--weights"), implied=BARE)
