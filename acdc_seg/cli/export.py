"""acdc-export"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from acdc_seg.cli.app import Debug, Version, console, make_app, run, shell_path
from acdc_seg.cli.options import BARE, Tta, Weights, parse_weights
from acdc_seg.cli.settings import option
from acdc_seg.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from acdc_seg.inference.predictors import Predictor

app = make_app()

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Run folders, checkpoints, ensembles, or models of the package; several are averaged.",
        show_default=False,
    ),
]
Format = Annotated[
    str, option("onnx, exported (torch.export), bundle (MONAI) or huggingface.", "Output")
]
Out = Annotated[
    Path | None,
    option("File or folder to write.", "Output", "model.onnx, model.pt2, bundle or huggingface"),
]
Input = Annotated[
    str,
    option("Type of the images: float32 in 0..1, uint8 or uint16.", "What"),
]
Whole = Annotated[
    bool,
    typer.Option(
        "--whole",
        rich_help_panel="What",
        help="Images are segmented as they are, not at the size of the training.",
    ),
]
Volumes = Annotated[
    bool,
    typer.Option(
        "--volumes",
        rich_help_panel="What",
        help="For acdc-predict, which normalizes slices and finds the heart without PyTorch.",
    ),
]
Size = Annotated[
    str | None, option("The only size of images, for example 96x96.", "What", "any size")
]
License = Annotated[
    str | None, option("Terms of the weights, for the metadata.", "Output", "not stated")
]
Check = Annotated[
    bool,
    typer.Option(
        "--check/--no-check",
        rich_help_panel="Output",
        help="Compare the file with PyTorch on synthetic images.",
    ),
]
Int8 = Annotated[
    bool,
    typer.Option(
        "--int8",
        rich_help_panel="What",
        help="8-bit weights and activations; prints what that costs in Dice.",
    ),
]
Calibrate = Annotated[
    Path | None,
    option("Data with images that --int8 is calibrated with.", "What", "that of the training"),
]
OUTPUTS = {
    "onnx": "model.onnx",
    "exported": "model.pt2",
    "bundle": "bundle",
    "huggingface": "huggingface",
}
"""What each format writes, unless --out says otherwise."""


@app.command(epilog="Example: acdc-export runs/unet --out model.onnx")
def export(
    models: Models,
    tta: Tta = None,
    weights: Weights = None,
    input: Input = "float32",
    whole: Whole = False,
    volumes: Volumes = False,
    size: Size = None,
    int8: Int8 = False,
    calibrate: Calibrate = None,
    format: Format = "onnx",
    out: Out = None,
    license: License = None,
    check: Check = True,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Write a model or an ensemble for other programs."""
    if format not in OUTPUTS:
        raise ConfigError(f"--format {format}: {did_you_mean(format, OUTPUTS)}")
    out = out or Path(OUTPUTS[format])
    shape = _parse_size(size)
    if volumes and (input != "float32" or shape):
        raise ConfigError(
            "--volumes: slices of all sizes are normalized before; leave out --input and --size"
        )
    given = {"--input": input != "float32", "--whole": whole, "--volumes": volumes, "--size": shape}
    given |= {"--int8": int8, "--calibrate": calibrate is not None}
    _check_options(format, [name for name, value in given.items() if value])

    from acdc_seg.inference.load import load_members
    from acdc_seg.inference.shipped import find_model

    predictor = load_members(
        [find_model(model) for model in models],
        tta=tta,
        weights=parse_weights(weights),
        device="cpu",
        precision="fp32",
    )
    if format == "onnx":
        _write_onnx(
            predictor,
            out,
            {"input_type": input, "whole": whole, "volumes": volumes, "size": shape},
            license=license,
            check=check,
        )
        if int8:
            from acdc_seg.cli.export_int8 import write_int8

            write_int8(out, predictor, calibrate)
    elif format == "exported":
        _write_program(predictor, out, whole=whole, size=shape, license=license)
    else:
        _write_folder(predictor, format, out, license=license)


def _check_options(format: str, names: list[str]) -> None:
    """Raises ConfigError for options that the format does not have."""
    allowed = {"onnx": names, "exported": ["--whole", "--size"]}
    for name in names:
        if name not in allowed.get(format, ()):
            raise ConfigError(f"{name}: not for --format {format}; leave it out")


def _write_onnx(
    predictor: "Predictor",
    out: Path,
    options: dict[str, Any],
    *,
    license: str | None,
    check: bool,
) -> None:
    """One ONNX file, and what is in it."""
    from acdc_seg.export.graph import export_onnx

    about = export_onnx(predictor, out, license=license, **options)
    console.print(f"Wrote {shell_path(out)} ({out.stat().st_size / 1e6:.1f} MB)")
    for name in ("images", "classes", "license"):
        console.print(f"  {name}: {escape(about[name])}")
    if names := predictor.describe()["keep_largest"]:
        console.print(f"Not in the file: the largest regions of {', '.join(names)} alone are kept.")
    if check:
        _check(out, predictor, options["input_type"], options["size"])


def _write_program(
    predictor: "Predictor",
    out: Path,
    *,
    whole: bool,
    size: tuple[int, int] | None,
    license: str | None,
) -> None:
    """One file of torch.export."""
    from acdc_seg.export.program import export_program

    shape, difference = export_program(predictor, out, whole=whole, size=size, license=license)
    console.print(
        f"Wrote {shell_path(out)} ({out.stat().st_size / 1e6:.1f} MB), for images of {shape[0]} x "
        f"{shape[1]} pixels; probabilities differ by up to {difference:.1e} from the model's."
    )


def _write_folder(predictor: "Predictor", format: str, out: Path, *, license: str | None) -> None:
    """A folder, and how to go on with it."""
    folder = shell_path(out)
    if format == "bundle":
        from acdc_seg.export.bundle import export_bundle

        export_bundle(predictor, out, license=license)
        console.print(f"Wrote {folder}. Read docs/README.md and LICENSE in it and complete them.")
        console.print(
            f"Next: python -m monai.bundle run --config_file {folder}/configs/inference.json "
            f"--bundle_root {folder} --dataset_dir DIR"
        )
        return
    from acdc_seg.export.huggingface import export_huggingface

    export_huggingface(predictor, out, license=license)
    console.print(
        f"Wrote {folder}: model.safetensors, config.json, README.md. Read the card and complete it."
    )
    console.print(f"Next: huggingface-cli upload OWNER/NAME {folder}")


def _parse_size(text: str | None) -> tuple[int, int] | None:
    """Height and width of a text like 96x128."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise ConfigError(f"--size {text}: expected HEIGHTxWIDTH, for example 96x96")
    return int(found[1]), int(found[2])


def _check(path: Path, predictor: "Predictor", kind: str, size: tuple[int, int] | None) -> None:
    """Compares the file with what it was made from; raises ConfigError where they differ."""
    from acdc_seg.export.parity import MAX_DIFFERENCE, SIZES, compare, make_images
    from acdc_seg.inference.postprocess import without_largest

    sizes = SIZES if size is None else (size,)
    images = list(make_images(predictor.channels, sizes=sizes, input_type=kind))
    parity = compare(path, without_largest(predictor), images)
    console.print(
        f"Against PyTorch, on {parity.num_pixels:,} pixels of synthetic images: probabilities "
        f"differ by up to {parity.max_difference:.1e}, labels are equal in "
        f"{parity.equal_labels:.4%}."
    )
    if not parity.holds:
        raise ConfigError(
            f"{path}: differs from PyTorch by more than {MAX_DIFFERENCE:g}, or in labels; do not "
            "use this file, or look closer with --no-check and acdc_seg.export.parity.compare"
        )


def main() -> None:
    """Entry point of acdc-export."""
    run(app, greedy=("--weights",), implied=BARE)
