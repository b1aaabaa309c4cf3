"""acdc-submit"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from acdc_seg.cli.app import Debug, Version, console, make_app, shell_path
from acdc_seg.cli.app import run as run_app
from acdc_seg.cli.options import (
    BARE,
    BatchSize,
    Device,
    Precision,
    Tta,
    Weights,
    parse_weights,
    split_words,
)
from acdc_seg.cli.progress import progress_bar
from acdc_seg.cli.settings import option
from acdc_seg.errors import ConfigError

if TYPE_CHECKING:
    from acdc_seg.config import Config
    from acdc_seg.inference.predictors import Predictor

app = make_app()

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SECTION.KEY=VALUE]...",
        help="Settings of data and classes that say how files are read and named, for example "
        "classes.values=\\[0,255].",
        show_default=False,
    ),
]
Runs = Annotated[list[str] | None, option("Run folders or checkpoints, averaged.", "What", "none")]
RunOption = Annotated[
    Path | None,
    option("Run whose classes and file names --check and --from-masks take.", "What", "none"),
]
Data = Annotated[
    Path | None,
    option(
        "Folder of images, or with test/image/ or image/; --check takes sizes and names from it.",
        "What",
        "none",
    ),
]
FromMasks = Annotated[
    Path | None, option("Folder of masks to encode, or with test/mask/ or mask/.", "What", "none")
]
Check = Annotated[Path | None, option("Submission to validate.", "What", "none")]
Truth = Annotated[
    Path | None,
    option(
        "Folder of true masks, or with test/mask/ or mask/, to score --check with.", "What", "none"
    ),
]
Out = Annotated[Path, option("CSV to write.", "Output")]
Template = Annotated[
    Path | None, option("Sample submission that fixes ids and order.", "Output", "none")
]
Masks = Annotated[
    Path | None,
    option(
        "Folder to write the predicted masks to as PNGs; more than 10 classes are written there "
        "alone.",
        "Output",
        "none",
    ),
]

MODES = {
    "runs": "data tta weights out template masks device precision batch_size",
    "from_masks": "out template run",
    "check": "data truth template run",
}
"""The option that chooses what the command does, and the options that it takes then."""


@app.command(
    epilog="Three ways: acdc-submit --runs RUN [RUN ...] --data DIR predicts; --from-masks DIR "
    "encodes mask images; --check CSV validates a submission."
)
def submit(
    context: typer.Context,
    settings: Settings = None,
    runs: Runs = None,
    data: Data = None,
    tta: Tta = None,
    weights: Weights = None,
    from_masks: FromMasks = None,
    check: Check = None,
    run: RunOption = None,
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
    _check_options(context)
    paths, overrides = split_words([*(runs or ()), *(settings or ())])
    if check is not None:
        _check(check, data, truth, template, _read_config(run, overrides))
    elif from_masks is not None:
        _encode(from_masks, out, template, run, overrides)
    else:
        if data is None or not paths:
            raise ConfigError("--runs needs --data DIR, the folder of the images to predict")
        from acdc_seg.inference.load import load_members
        from acdc_seg.submission.pipeline import write_submission
        from acdc_seg.submission.table import MAX_CLASSES

        predictor = load_members(
            paths,
            overrides=overrides,
            tta=tta,
            weights=parse_weights(weights),
            device=device,
            precision=precision,
        )
        num_classes = len(predictor.classes.names)
        sources = map(context.get_parameter_source, ("out", "template"))
        wants_csv = any(source and source.name == "COMMANDLINE" for source in sources)
        if masks is not None and num_classes > MAX_CLASSES and not wants_csv:
            _write_masks_alone(predictor, data, masks, batch_size)
            return
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
        run = None if _is_default(predictor.config) else paths[0]
        _print_end(out, rows, ["--data", data], template, run, overrides)


def _write_masks_alone(predictor: "Predictor", data: Path, folder: Path, batch_size: int) -> None:
    from acdc_seg.submission.pipeline import predict_masks

    with progress_bar() as report:
        num_masks = predict_masks(
            predictor, data, folder, batch_size=batch_size, on_progress=report
        )
    console.print(
        f"Wrote {shell_path(folder)}: {num_masks} masks, and no CSV: ids end in one class digit, "
        f"which {len(predictor.classes.names)} classes do not fit."
    )


def _encode(
    folder: Path, out: Path, template: Path | None, run: Path | None, overrides: list[str]
) -> None:
    from acdc_seg.submission.pipeline import encode_masks

    config = _read_config(run, overrides)
    rows = encode_masks(folder, out, template=template, classes=config.classes, data=config.data)
    _print_end(out, rows, ["--truth", folder], template, run, overrides)


def _read_config(run: Path | None, overrides: list[str]) -> "Config":
    from acdc_seg.config import Config, parse_override, with_overrides
    from acdc_seg.inference.load import is_reading, read_settings

    if run is not None:
        return read_settings(run, overrides)
    changes = dict(map(parse_override, overrides))
    for key in changes:
        if not is_reading(key):
            raise ConfigError(f"{key}: has no effect here; give settings of data.* and classes.*")
    return with_overrides(Config(), changes)


def _is_default(config: "Config") -> bool:
    """Whether --check needs no settings to read what was written by these."""
    from acdc_seg.config import Config

    names, default = ("image_dir", "mask_pattern", "extensions"), Config()
    return config.classes == default.classes and all(
        getattr(config.data, name) == getattr(default.data, name) for name in names
    )


def _print_end(
    out: Path,
    rows: list[tuple[str, str]],
    source: list[str | Path],
    template: Path | None,
    run: Path | None,
    overrides: list[str],
) -> None:
    num_images = len({id[:-1] for id, _ in rows})
    console.print(f"Wrote {shell_path(out)}: {len(rows)} rows of {num_images} images.")
    words = ["acdc-submit", "--check", out, *source]
    words += ["--template", template] if template else []
    words += ["--run", run] if run else []
    console.print(f"Next: {' '.join(shell_path(word) for word in [*words, *overrides])}")


def _check_options(context: typer.Context) -> None:
    """Raises ConfigError unless one mode is chosen, without options that would have no effect."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    modes = [name for name in given if name in MODES]
    if len(modes) != 1:
        raise ConfigError(
            "give one of --runs RUN [RUN ...] --data DIR, --from-masks DIR, or --check CSV"
        )
    taken = [*modes, *MODES[modes[0]].split(), "settings", "debug", "version"]
    if unused := [_flag(name) for name in sorted(given) if name not in taken]:
        flags = ", ".join(_flag(name) for name in sorted(MODES[modes[0]].split()))
        raise ConfigError(
            f"{', '.join(unused)} has no effect with {_flag(modes[0])}, which takes {flags}; leave "
            "it out"
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check(
    path: Path, data: Path | None, truth: Path | None, template: Path | None, config: "Config"
) -> None:
    from acdc_seg.data.examples import example_size
    from acdc_seg.data.readers.unpaired import find_images
    from acdc_seg.submission.check import check_submission

    shapes = None
    if data and truth:
        raise ConfigError(
            "--truth says already which images there are and how large; leave --data out"
        )
    if data:
        records = find_images(data, config.data)
        shapes = {record.id: example_size(record) for record in records}
    result = check_submission(
        path,
        truth=truth,
        shapes=shapes,
        template=template,
        classes=config.classes,
        data=config.data,
    )
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
    run_app(app, greedy=("--runs", "--weights"), implied=BARE)
