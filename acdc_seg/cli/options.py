"""Options that choose a predictor: runs, their weights, and test-time augmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from acdc_seg.config import Config
    from acdc_seg.inference.predictors import Predictor

Members = typer.Argument(
    metavar="RUN",
    help="Run folders, checkpoints or an ensemble.yaml; several are averaged.",
    show_default=False,
)
Tta = Annotated[
    str | None,
    typer.Option(
        "--tta",
        help="Average over views of the image: dihedral (8, also without a word) or flips (4).",
        rich_help_panel="What",
        show_default="none",
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        help="Weight of each run, for example 2 1 1.",
        rich_help_panel="What",
        show_default="equal weights",
    ),
]
BARE = {"--tta": "dihedral"}
"""For `app.run`: what an option means without a word after it."""


def load_members(
    runs: Sequence[Path],
    *,
    tta: str | None,
    weights: Sequence[str] | None,
    device: str,
    precision: str,
) -> "tuple[Predictor, Config]":
    """The predictor that the options describe, and the config of the first run.

    Raises:
        AcdcError: A run that cannot be loaded, runs of different classes, or weights that do not
            fit.
    """
    from acdc_seg.errors import ConfigError
    from acdc_seg.inference.predictors import TTA, Ensemble, Predictor, open_predictor

    try:
        numbers = [float(part) for part in ",".join(weights).split(",")] if weights else None
    except ValueError:
        raise ConfigError(
            f"--weights {' '.join(weights or ())}: write a number for each run, for example 2 1 1"
        ) from None
    opened = [open_predictor(path, device=device, precision=precision) for path in runs]
    members = [predictor for predictor, _ in opened]
    try:
        predictor: Predictor = (
            Ensemble(members, weights=numbers) if len(members) > 1 or numbers else members[0]
        )
    except ConfigError as error:
        raise ConfigError(f"{', '.join(map(str, runs))}: {error}") from None
    return (TTA(predictor, views=tta) if tta else predictor), opened[0][1]
