"""Content of an experiment file: settings that all trainings share, variants of them, and what is
drawn and compared.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from acdc_seg.config.load import configs_dir
from acdc_seg.config.section import Section
from acdc_seg.config.validation import describe
from acdc_seg.config.yaml_text import read_yaml
from acdc_seg.errors import ConfigError, did_you_mean, path_hint

Settings = dict[str, Any]
"""Values by `section.key`."""
FigureName = Literal["curves", "dice", "scores", "axis", "crossing", "cost", "predictions"]
BEST, WORST = "best", "worst"


class Comparison(Section):
    """Two variants that a sentence of the conclusion compares."""

    better: str
    """Variant that is expected to have the higher Dice, or `best`."""
    than: str | None = None
    """Variant that it is compared with, or `worst`; null takes the best of the others."""
    found: float | None = None
    """Gain in Dice that the reference study found."""


class ExperimentFile(Section):
    """Trainings that differ in a few settings, and what shall be learned from them."""

    title: str
    """Heading of figures and pages."""
    found: str = ""
    """What the reference study found, a sentence."""
    recipe: bool = True
    """Lay the settings over the recipe of the network; false takes the defaults below them."""
    base: Settings = Field(default_factory=dict)
    """Settings that all variants share."""
    variants: dict[str, Settings] | tuple[Settings, ...] = Field(default_factory=dict)
    """Settings of each variant, by its name; in a list the names are made of the values."""
    grid: dict[str, dict[str, Settings] | tuple[Any, ...]] = Field(default_factory=dict)
    """In place of `variants` all combinations of choices: `section.key: [values]`, or a name with
    the settings of each choice.
    """
    group_by: str | None = None
    """Factor of the grid whose choices get figures of their own."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Each variant is trained with each of them."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Number of folds by patient that each variant is trained on; null trains on the one split."""
    phantom: Literal["heart", "streets", "pets"] = "heart"
    """Synthetic data that is taken where none is given."""
    needs: dict[str, str] = Field(default_factory=dict)
    """Settings that the command must give, each with its meaning."""
    figures: tuple[FigureName, ...] = ("curves", "dice", "scores")
    """Figures to draw."""
    axis: str | None = None
    """Setting on the horizontal axis of the figure `axis`."""
    vote: str | None = None
    """Name under which the mean of all variants' probabilities is scored as one more variant."""
    comparisons: tuple[Comparison, ...] = (Comparison(better=BEST),)
    """What the conclusion says."""
    study_dice: dict[str, float] = Field(default_factory=dict)
    """Dice that the reference study published, by variant."""
    keep_weights: bool = True
    """Keep best.pt of finished trainings."""
    quick: Settings = Field(default_factory=dict)
    """Settings of `--quick` beside the number of epochs."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.variants) == bool(self.grid):
            raise ValueError("give variants or a grid, one of the two")
        if self.group_by is not None and self.group_by not in self.grid:
            raise ValueError(
                f"group_by: '{self.group_by}' is not a factor of the grid; "
                f"{did_you_mean(self.group_by, self.grid or ['(no grid)'])}"
            )
        if "axis" in self.figures and self.axis is None:
            raise ValueError("the figure `axis` needs the setting: axis: optimizer.lr")
        return self


def shipped_experiments() -> dict[str, Path]:
    """The files of the shipped experiments by name."""
    return {path.stem: path for path in sorted((configs_dir() / "experiments").glob("*.yaml"))}


def find_experiment(name: str) -> Path:
    """The file of an experiment: the name of a shipped one, or a path.

    Raises:
        ConfigError: There is no such file and no shipped experiment of that name.
    """
    shipped, path = shipped_experiments(), Path(name)
    if name in shipped:
        return shipped[name]
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"{path}: no such experiment file; {path_hint(path)}")
    raise ConfigError(f"experiment '{name}' is unknown; {did_you_mean(name, shipped)}")


def read_experiment(path: Path) -> ExperimentFile:
    """Reads and checks an experiment file.

    Raises:
        ConfigError: Invalid YAML, or an unknown or wrong key; all mistakes at once, a line each.
    """
    tree, lines = read_yaml(path, what="experiment")
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path}: an experiment has a title, a base and variants")
    try:
        return ExperimentFile.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(
            describe(error, root=ExperimentFile, source=str(path), lines=lines)
        ) from None
