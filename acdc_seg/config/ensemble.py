"""Content of an ensemble.yaml."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from acdc_seg.config.section import Section
from acdc_seg.config.yaml_text import read_yaml
from acdc_seg.errors import ConfigError


class EnsembleMember(Section):
    """One model of an ensemble."""

    path: str
    """Run folder or checkpoint, as seen from the folder of the YAML file."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Weight of its probabilities; only ratios count."""
    tta: Literal["none", "flips", "dihedral"] = "none"
    """Views of the image that its probabilities are averaged over."""
    sha256: str | None = None
    """SHA-256 of its checkpoint when it was chosen; another file is refused."""


class EnsembleFile(Section):
    """A weighted average of models and its post-processing."""

    classes: tuple[str, ...]
    """Class names that every member must have, in this order."""
    members: Annotated[tuple[EnsembleMember, ...], Field(min_length=1)]
    """The models to average."""
    keep_largest: tuple[str, ...] = ()
    """Foreground classes of which only the largest connected region is kept."""


def read_ensemble(path: Path) -> EnsembleFile:
    """Reads and checks an ensemble.yaml; nothing in it is executed.

    Raises:
        ConfigError: The file cannot be read or is not a valid ensemble; all mistakes at once.
    """
    tree, _ = read_yaml(path, what="ensemble")
    try:
        return EnsembleFile.model_validate(tree)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(map(str, mistake['loc'])) or 'the file'}: {mistake['msg']}"
            for mistake in error.errors()
        )
        raise ConfigError(
            f"{path}: not an ensemble as acdc-ensemble writes it: {mistakes}"
        ) from None


def ensemble_yaml(ensemble: EnsembleFile) -> str:
    """The text that `read_ensemble` reads back."""
    return yaml.safe_dump(
        ensemble.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True
    )
