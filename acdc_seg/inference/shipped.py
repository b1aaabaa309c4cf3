"""Models that come with the package."""

from pathlib import Path

from acdc_seg.errors import ConfigError, did_you_mean

FOLDER = Path(__file__).parents[1] / "weights"
DEFAULT = "acdc_volumes"
"""The model of `acdc-predict` and `predict_volume`."""


def shipped_models() -> dict[str, Path]:
    """Checkpoints of the package by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.pt"))}


def find_model(name: str | Path | None = None) -> Path:
    """A run folder, checkpoint or ensemble, or a model of the package by its name.

    Args:
        name: None takes `DEFAULT`.

    Raises:
        ConfigError: Neither a path nor the name of a model.
    """
    models = shipped_models()
    if name is None and DEFAULT not in models:
        raise ConfigError(
            f"this installation has no model ({FOLDER} is empty); train one with acdc-train "
            "--config configs/volumes.yaml --data TREE, and give its run folder with --model"
        )
    text = DEFAULT if name is None else str(name)
    if text in models:
        return models[text]
    if Path(text).exists():
        return Path(text)
    raise ConfigError(
        f"'{text}' is neither a run folder, a checkpoint nor a model of the package; "
        f"{did_you_mean(text, models)}"
    )
