"""Options that several commands share: those that choose a config, and those that choose a
predictor.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from acdc_seg.config import Config
    from acdc_seg.inference.predictors import Predictor

DEFAULT_MODEL = "unet"


def option(help: str, panel: str, default: str | bool = True) -> Any:
    """A typer option with its help text, its panel, and the default as the help shows it."""
    return typer.Option(help=help, rich_help_panel=panel, show_default=default)


def config_from_options(model: str | None, path: Path | None, overrides: Sequence[str]) -> "Config":
    """The config that --model, --config and SECTION.KEY=VALUE describe; `DEFAULT_MODEL` where none
    of them names a network.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """
    from acdc_seg.config import load_config, parse_override

    if model is None and path is None:
        model = str(dict(map(parse_override, overrides)).get("model.name", DEFAULT_MODEL))
    return load_config(path, model=model, overrides=overrides)


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
) -> "Predictor":
    """The predictor that the options describe; its config is that of the first run.

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
