"""One self-describing file per checkpoint: config, classes, weights, and for resuming the whole training state."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from acdc_seg.config import Config, config_from_tree, config_tree
from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.files import replacing

FORMAT = 1
FIELDS = ("weights", "epoch", "dice", "data", "training")


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what is needed to use them.

    `dice` is None where nothing validated; `training` is the state to resume from, in `last.pt` only.
    """

    config: Config
    weights: Mapping[str, torch.Tensor]
    epoch: int
    dice: float | None
    data: str
    training: Mapping[str, Any] | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file in one step, so that `path` is never half a checkpoint.

    Raises:
        AcdcError: The file cannot be written; the one before it stands.
    """
    content = {
        "format": FORMAT,
        "config": config_tree(checkpoint.config),
        "classes": dict(zip(checkpoint.config.classes.names, checkpoint.config.classes.values, strict=True)),
        "weights": dict(checkpoint.weights),
        "epoch": checkpoint.epoch,
        "dice": checkpoint.dice,
        "data": checkpoint.data,
        "training": checkpoint.training,
    }
    try:
        with replacing(path) as file:
            torch.save(content, file)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: cannot write the checkpoint ({str(error).splitlines()[0]}); check free space") from None


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint onto the CPU; nothing in the file is executed.

    Raises:
        CheckpointError: No such file, not a checkpoint of this package, or of another format version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint ({error.strerror}); check the path") from None
    except Exception:  # a damaged stream can end in any of them
        raise CheckpointError(f"{path}: not a checkpoint, or a damaged one; give a run folder or its best.pt") from None
    if not isinstance(content, dict) or not content.keys() >= {"format", "config", *FIELDS}:
        raise CheckpointError(f"{path}: a torch file, but not a checkpoint of acdc_seg; give a run folder or its best.pt")
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {content['format']}, this version reads {FORMAT}; install the version that wrote it"
        )
    try:
        config = config_from_tree(content["config"], source=str(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: its config does not fit this version:\n{error}") from None
    fields = {name: content[name] for name in FIELDS}
    return Checkpoint(config=config, **fields)
