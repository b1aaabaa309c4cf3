"""Options of acdc-train."""

from pathlib import Path
from typing import Annotated

import typer

from acdc_seg.cli.app import console
from acdc_seg.cli.settings import DEFAULT_MODEL, choices, option

RECIPE = "the model's recipe"
SPLIT = "the data's split"


def _print_settings(value: bool) -> None:
    if value:
        from acdc_seg.config import default_yaml

        console.print(default_yaml(), markup=False, end="")
        raise typer.Exit


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SECTION.KEY=VALUE", help="Settings over those of the recipe.", show_default=False
    ),
]
Model = Annotated[
    str | None,
    option("Network, for example deeplab_drn; acdc-models lists all.", "What", DEFAULT_MODEL),
]
Data = Annotated[
    Path | None,
    option("ACDC tree or folder of image/mask pairs.", "What", "the built-in phantom"),
]
ConfigFile = Annotated[
    Path | None,
    option(
        "YAML file of settings, or volumes (whole slices, for acdc-predict), laid over the recipe; "
        "runs/NAME/config.yaml repeats a run.",
        "What",
        RECIPE,
    ),
]
Name = Annotated[
    str | None, option("Name of the run folder below runs/.", "What", "the model's, numbered")
]
Resume = Annotated[Path | None, option("Run folder to resume.", "What", "none")]
ExtendEpochs = Annotated[
    int | None, option("With --resume: train to this epoch instead of the last.", "What", "none")
]
Folds = Annotated[
    int | None,
    option("Number of folds that train and val are divided into.", "Cross-validation", SPLIT),
]
Fold = Annotated[
    str | None,
    option("Fold that validates, from 0; all trains each in turn.", "Cross-validation", SPLIT),
]
Validation = Annotated[
    bool | None,
    typer.Option(
        "--validation/--no-validation",
        help="Hold the validation images out, or train on them too.",
        rich_help_panel="Cross-validation",
        show_default="--validation",
    ),
]
Epochs = Annotated[int | None, option("Passes over the training images.", "How", RECIPE)]
BatchSize = Annotated[int | None, option("Images in a batch.", "How", RECIPE)]
LearningRate = Annotated[
    float | None, option("Learning rate, the peak of its schedule.", "How", RECIPE)
]
WeightDecay = Annotated[float | None, option("Weight decay.", "How", RECIPE)]
Loss = Annotated[str | None, option(choices("loss.name"), "How", RECIPE)]
Optimizer = Annotated[str | None, option(choices("optimizer.name"), "How", RECIPE)]
Seed = Annotated[int | None, option("Seed of everything random.", "How", "0")]
Device = Annotated[str | None, option(choices("train.device"), "Computing", "auto")]
Precision = Annotated[str | None, option(choices("train.precision"), "Computing", "auto")]
PrintSettings = Annotated[
    bool,
    typer.Option(
        "--settings",
        callback=_print_settings,
        is_eager=True,
        rich_help_panel="Other",
        help="Print every setting with its meaning and default, and exit.",
    ),
]
