"""Options that several commands share: those that choose a predictor and its data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc_seg.cli.settings import option

if TYPE_CHECKING:
    from acdc_seg.inference.predictors import Predictor

Members = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN",
        help="Run folders, checkpoints or an ensemble.yaml; several are averaged.",
        show_default=False,
    ),
]
Tta = Annotated[
    str | None,
    option(
        "Average over views of the image: dihedral (8, also without a word) or flips (4).",
        "What",
        "none",
    ),
]
Weights = Annotated[
    list[str] | None, option("Weight of each run, for example 2 1 1.", "What", "equal weights")
]
Device = Annotated[str, option("auto, cpu, cuda or mps.", "Computing")]
Precision = Annotated[
    str,
    option(
        "auto, fp32, bf16 or fp16; auto takes fp32 for a run trained in it, else the fastest.",
        "Computing",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, rich_help_panel="Computing", help="Images predicted at a time.")
]
BARE = {"--tta": "dihedral"}
"""For `app.run`: the value of an option that is given without one."""


def load_members(
    runs: Sequence[Path],
    *,
    tta: str | None,
    weights: Sequence[str] | None,
    device: str,
    precision: str,
) -> "Predictor":
    """The predictor that the options describe; its config is that of the first run.

    Args:
        runs: Run folders, checkpoints or an ensemble.yaml.
        tta: Views to average over.
        weights: Numbers, in one text or several.
        device: As for `load_predictor`.
        precision: As for `load_predictor`.

    Raises:
        AcdcError: A run that cannot be loaded, runs of different classes, or weights that do not
            fit.
    """
    from acdc_seg.errors import ConfigError
    from acdc_seg.inference.load import load_predictor
    from acdc_seg.inference.predictors import TTA, Ensemble, Predictor

    try:
        numbers = [float(part) for part in ",".join(weights).split(",")] if weights else None
    except ValueError:
        raise ConfigError(
            f"--weights {' '.join(weights or ())}: write a number for each run, for example 2 1 1"
        ) from None
    members = [load_predictor(path, device=device, precision=precision) for path in runs]
    try:
        predictor: Predictor = (
            Ensemble(members, weights=numbers) if len(members) > 1 or numbers else members[0]
        )
    except ConfigError as error:
        raise ConfigError(f"{', '.join(map(str, runs))}: {error}") from None
    return TTA(predictor, views=tta) if tta else predictor
