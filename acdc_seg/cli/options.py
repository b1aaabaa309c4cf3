"""Options that several commands share: those that choose a predictor and its data."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from acdc_seg.cli.settings import option

_members = typer.Argument(
    metavar="RUN... [SECTION.KEY=VALUE...]",
    help="Run folders, checkpoints or an ensemble.yaml; several are averaged. Settings of data "
    "and classes say how files are read, for example classes.values=\\[0,255].",
    show_default=False,
)
Members = Annotated[list[str], _members]
OptionalMembers = Annotated[list[str] | None, _members]
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


def split_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Paths, and the `section.key=value` among them."""
    paths, overrides = [], []
    for word in words:
        if re.match(r"[a-z_]+(\.[a-z_]+)*=", word) and not Path(word).exists():
            overrides.append(word)
        else:
            paths.append(Path(word))
    return paths, overrides


def parse_weights(weights: Sequence[str] | None) -> list[float] | None:
    """Numbers, in one text or several; raises ConfigError for other words."""
    from acdc_seg.errors import ConfigError

    try:
        return [float(part) for part in ",".join(weights).split(",")] if weights else None
    except ValueError:
        raise ConfigError(
            f"--weights {' '.join(weights or ())}: write a number for each run, for example 2 1 1"
        ) from None
