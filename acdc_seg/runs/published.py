"""A model for the Hugging Face Hub: model.safetensors, and config.json with all that it needs.

Folders that are published hold no path and no name of a patient. Checksums of the training images
stay, so that scores of them are still refused.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from acdc_seg import __version__
from acdc_seg.config import Config, EncoderConfig, from_dict, to_dict
from acdc_seg.errors import CheckpointError, ConfigError, path_hint
from acdc_seg.files import cached_sha256, write_json
from acdc_seg.runs.checkpoint import Checkpoint
from acdc_seg.runs.trained_on import TrainedOn

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
FORMAT = 1
FACTS = ("epoch", "dice", "data")


def without_names(checkpoint: Checkpoint) -> Checkpoint:
    """The weights and settings of a checkpoint without paths, names of patients and training
    state.
    """
    trained_on = tuple(
        replace(part, data=Path(part.data).name, root="", patients=())
        for part in checkpoint.trained_on
    )
    return replace(
        checkpoint,
        config=_without_paths(checkpoint.config),
        training=None,
        trained_on=trained_on,
    )


def save_published(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes both files.

    Args:
        folder: An existing folder.
        checkpoint: See `without_names`.

    Raises:
        CheckpointError: The weights cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = folder / WEIGHTS_FILE
    # the format knows neither shared memory nor other orders of axes
    weights = {name: tensor.clone().contiguous() for name, tensor in checkpoint.weights.items()}
    try:
        save_file(weights, path, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot write the weights ({error}); check free space"
        ) from None
    content = {
        "format": FORMAT,
        "library": f"acdc_seg {__version__}",
        "sha256": cached_sha256(path),
        "config": to_dict(checkpoint.config),
        **{name: getattr(checkpoint, name) for name in FACTS},
        "trained_on": [part.to_dict() for part in checkpoint.trained_on],
    }
    write_json(folder / CONFIG_FILE, content)


def is_published(path: Path) -> bool:
    """Whether a folder holds such a model."""
    return (path / WEIGHTS_FILE).is_file() and (path / CONFIG_FILE).is_file()


def load_published(path: Path) -> Checkpoint:
    """Reads model.safetensors, once its checksum fits, and the config.json beside it.

    Raises:
        CheckpointError: A file is missing or damaged, or of another program or version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    content = _read_config(path.with_name(CONFIG_FILE))
    try:
        is_whole = content["sha256"] == cached_sha256(path)
        weights = load_file(path) if is_whole else {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot read the weights ({error})") from None
    if not is_whole:
        raise CheckpointError(
            f"{path}: is not the file of {CONFIG_FILE} beside it, or damaged; copy both again from "
            "their source"
        )
    try:
        config = from_dict(content["config"], source=str(path))
        trained_on = tuple(map(TrainedOn.from_dict, content["trained_on"]))
        facts = {name: content[name] for name in FACTS}
    except ConfigError as error:
        raise CheckpointError(f"{path}: its config does not fit this version:\n{error}") from None
    return Checkpoint(config=config, weights=weights, trained_on=trained_on, **facts)


def _read_config(path: Path) -> Mapping[str, Any]:
    """The content of config.json, with all its parts."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot read it ({error.strerror}); {path_hint(path)}"
        ) from None
    except ValueError:
        raise CheckpointError(f"{path}: damaged; copy it again from its source") from None
    needed = {"format", "sha256", "config", "trained_on", *FACTS}
    if not isinstance(content, dict) or not content.keys() >= needed:
        raise CheckpointError(
            f"{path}: is not of acdc_seg; give a folder of acdc-export --format huggingface"
        )
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: has format {content['format']}, this version reads {FORMAT}; export the "
            "model again"
        )
    return content


def _without_paths(config: Config) -> Config:
    folders = {"path": None, "image_dir": None, "mask_dir": None}
    changes: dict[str, Any] = {
        "name": None,
        "runs_dir": "runs",
        "data": config.data.model_copy(update=folders),
    }
    model = config.model
    if isinstance(model, EncoderConfig) and model.pretrained not in (None, "imagenet"):
        first = {"pretrained": None, "freeze_encoder": False}
        changes["model"] = model.model_copy(update=first)
    return config.model_copy(update=changes)
