"""acdc-data"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from acdc_seg.cli.app import Debug, Version, console, make_app, run, shell_path
from acdc_seg.cli.data_check import check, fix, info, show
from acdc_seg.cli.progress import progress_bar
from acdc_seg.cli.settings import print_notes
from acdc_seg.errors import ConfigError, did_you_mean

app = make_app()


def _option(help: str, panel: str, default: str | bool = True, minimum: int | None = None) -> Any:
    return typer.Option(help=help, rich_help_panel=panel, show_default=default, min=minimum)


Tree = Annotated[
    Path, typer.Argument(help="ACDC tree, or NIfTI images and masks.", show_default=False)
]
Spacing = Annotated[str, _option("Pixel size in mm, or 'native'.", "Geometry")]
Size = Annotated[str, _option("Pixels of the crop: 96 or 96x128 (height x width).", "Geometry")]
Crop = Annotated[str, _option("heart (from the masks), center, or none: whole slices.", "Geometry")]
Interpolation = Annotated[
    str, _option("linear, or nearest like the coursework's images.", "Geometry")
]
Slices = Annotated[str, _option("all or mid.", "What")]
Phases = Annotated[str, _option("ED, ES or ED,ES.", "What")]
Splits = Annotated[
    Path | None,
    _option("JSON of patient lists: train, val, test.", "Split", "testing/, --val-fraction"),
]
ValFraction = Annotated[float, _option("Part of the training patients that validates.", "Split")]
SplitSeed = Annotated[int, _option("Seed of that choice.", "Split")]


NumPatients = Annotated[int | None, _option("Hearts to train on.", "Hearts", "40", 1)]
NumTestPatients = Annotated[int | None, _option("Hearts of the testing folder.", "Hearts", "10", 0)]
FirstPatient = Annotated[
    int | None, _option("Number of the first patient, in names alone.", "Hearts", "1", 0)
]
Cine = Annotated[
    bool,
    typer.Option(
        "--cine",
        help="Write the whole heart beat too (patientNNN_4d.nii.gz).",
        rich_help_panel="Hearts",
    ),
]
NumImages = Annotated[
    int | None,
    _option(
        "Images to train on; of streets a quarter more validates.", "Streets and pets", "200", 1
    ),
]
SceneSize = Annotated[
    int | None,
    _option("Pixels of a street's edge, or of a pet's on average.", "Streets and pets", "256", 32),
]
NEXT_COMMANDS = {
    "hearts": ("patients", "acdc-data prepare OUT"),
    "streets": ("street scenes", "acdc-train --model enet --data OUT classes=cityscapes8"),
    "pets": (
        "images",
        "acdc-train --model unet --data OUT classes=binary data.channels=3 loss.name=bce",
    ),
}
"""Content of each kind of synthetic data, and the command that trains on it."""
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SECTION.KEY=VALUE",
        help="Settings of data and classes, for example classes=mnms.",
        show_default=False,
    ),
]


@app.callback(no_args_is_help=True)
def data(debug: Debug = False, version: Version = False) -> None:
    """Make, cut and inspect data."""


@app.command(epilog="Example: acdc-data synthesize streets --kind streets --images 400")
def synthesize(
    out: Annotated[
        Path | None, typer.Argument(help="Folder to make.", show_default="data/KIND")
    ] = None,
    kind: Annotated[str, typer.Option(help="hearts, streets or pets.")] = "hearts",
    patients: NumPatients = None,
    test_patients: NumTestPatients = None,
    first: FirstPatient = None,
    cine: Cine = False,
    images: NumImages = None,
    size: SceneSize = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same files.")] = 0,
) -> None:
    """Write synthetic data: hearts, street scenes or pets.

    hearts: an ACDC tree of five groups, ED and ES volumes with masks. streets: street scenes of
    eight categories, image and colour mask side by side. pets: animals of several sizes before a
    background.
    """
    from acdc_seg.data.phantom import is_builtin
    from acdc_seg.data.phantom.patients import synthesize as write_hearts
    from acdc_seg.data.phantom.pets import write_pets
    from acdc_seg.data.phantom.streets import write_streets

    if kind not in NEXT_COMMANDS:
        raise ConfigError(f"unknown --kind '{kind}': {did_you_mean(kind, NEXT_COMMANDS)}")
    of_hearts = {
        "num_patients": patients,
        "num_test_patients": test_patients,
        "first": first,
        "cine": cine or None,
    }
    of_photos = {"num_images": images, "size": size}
    writers: dict[str, Callable[..., list[Path]]] = {
        "hearts": write_hearts,
        "streets": write_streets,
        "pets": write_pets,
    }
    own, others = (of_hearts, of_photos) if kind == "hearts" else (of_photos, of_hearts)
    if any(value is not None for value in others.values()):
        raise ConfigError(
            "--patients, --test-patients, --first and --cine are for --kind hearts, --images and "
            "--size for the other kinds"
        )
    out = out or Path("data") / kind
    if is_builtin(out):
        raise ConfigError(
            f"{out}: this is the folder of the built-in phantom, which acdc-train without --data "
            "uses; choose another one"
        )
    with progress_bar() as report:
        numbers = {name: value for name, value in own.items() if value is not None}
        written = writers[kind](out, seed=seed, on_progress=report, **numbers)
    things, command = NEXT_COMMANDS[kind]
    console.print(
        f"Wrote {shell_path(out)}: {len(written)} {things}. Next: "
        f"{command.replace('OUT', shell_path(out))}"
    )


@app.command(epilog="Example: acdc-data prepare ACDC/database --out data/slices --size 96x128")
def prepare(
    tree: Tree,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("data/slices"),
    spacing: Spacing = "1.8",
    size: Size = "96",
    crop: Crop = "heart",
    interpolation: Interpolation = "linear",
    slices: Slices = "all",
    phases: Phases = "ED,ES",
    splits: Splits = None,
    val_fraction: ValFraction = 0.2,
    split_seed: SplitSeed = 0,
) -> None:
    """Cut the slices of volumes (ACDC or any NIfTI pairs) to PNG images and masks.

    The defaults are the geometry of the 96x96 coursework slices.
    """
    from acdc_seg.config import load_config
    from acdc_seg.data.problems import raise_errors
    from acdc_seg.data.record import SPLITS
    from acdc_seg.data.slicing import prepare as write_slices
    from acdc_seg.data.source import scan_volumes
    from acdc_seg.data.splits import hold_out, read_splits, select_splits

    settings = {
        "data.path": str(tree),
        "data.val_fraction": val_fraction,
        "data.split_seed": split_seed,
        "prepare.spacing": _parse_spacing(spacing),
        "prepare.size": _parse_size(size),
        "prepare.crop": crop,
        "prepare.interpolation": interpolation,
        "prepare.slices": slices,
        "prepare.phases": [phase.strip() for phase in phases.split(",")],
    }
    texts = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    config = load_config(overrides=[*texts, *(overrides or ())])
    patients = read_splits(splits) if splits else None
    scan = scan_volumes(config.data)
    raise_errors(scan.problems)
    print_notes(scan.notes)
    volumes = scan.records
    if patients is not None:
        records = select_splits(volumes, patients)
    else:
        records = hold_out(volumes, val_fraction=val_fraction, seed=split_seed)
    with progress_bar() as report:
        num_images = write_slices(
            records, out, settings=config.prepare, classes=config.classes, on_progress=report
        )
    for split in SPLITS:
        num_patients = len({record.patient for record in records if record.split == split})
        console.print(f"{split:<5} {num_images[split]:>5} images of {num_patients} patients")
    left_out = {record.patient for record in volumes} - {record.patient for record in records}
    if left_out:
        console.print(f"{len(left_out)} patients are in no split and were left out")
    reading = [word for word in overrides or () if word.startswith("classes")]
    words = " ".join(shell_path(word) for word in ["--data", str(out), *reading])
    console.print(f"Wrote {shell_path(out)}. Next: acdc-train --model unet {words}")


app.command(epilog="Example: acdc-data check data/slices --json check.json")(check)
app.command(epilog="Example: acdc-data fix data/cells --out data/cells-fixed")(fix)
app.command(epilog="Example: acdc-data show data/slices --out sheet.png --by class")(show)
app.command(epilog="Example: acdc-data info data/slices")(info)


def _parse_spacing(text: str) -> float | None:
    try:
        return None if text == "native" else float(text)
    except ValueError:
        raise ConfigError(
            f"--spacing {text}: write a pixel size in mm, for example 1.8, or native"
        ) from None


def _parse_size(text: str) -> list[int]:
    """Height and width; one number means both."""
    edges = text.lower().split("x")
    if len(edges) > 2 or not all(edge.isdecimal() for edge in edges):
        raise ConfigError(f"--size {text}: write pixels as 96, or as 96x128 (height x width)")
    return [int(edges[0]), int(edges[-1])]


def main() -> None:
    """Entry point of acdc-data."""
    run(app)
