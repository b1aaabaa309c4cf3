"""Checkpoints: one self-describing file with config, classes, weights, and for resuming the state.

The file is the zip archive that `torch.save` writes, read with `weights_only=True`. The checksum
(CRC-32) of every tensor in it is verified before it is used, which PyTorch itself does not do.
"""

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from acdc_seg.config import Config, from_dict, to_dict
from acdc_seg.errors import AcdcWarning, CheckpointError, ConfigError, path_hint
from acdc_seg.files import replacing
from acdc_seg.runs.trained_on import TrainedOn

FORMAT = 4
FIELDS = ("weights", "epoch", "dice", "data", "training")


class _DamagedError(CheckpointError):
    """The file is missing or not as it was written; the one before it may serve."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what is needed to use them.

    `dice` is None where nothing validated; `training` is the state to resume from, in `last.pt`
    only; `trained_on` counts the images of pretrained weights too.
    """

    config: Config
    weights: Mapping[str, torch.Tensor]
    epoch: int
    dice: float | None
    data: str
    training: Mapping[str, Any] | None = None
    trained_on: tuple[TrainedOn, ...] = ()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file in one step, so that `path` is never half a checkpoint.

    The one before it is kept as `previous_of(path)`.

    Raises:
        AcdcError: The file cannot be written; the one before it is untouched.
    """
    classes = checkpoint.config.classes
    content = {
        "format": FORMAT,
        "config": to_dict(checkpoint.config),
        "classes": dict(zip(classes.names, classes.values, strict=True)),
        **{name: getattr(checkpoint, name) for name in FIELDS},
        "weights": dict(checkpoint.weights),
        "trained_on": [part.to_dict() for part in checkpoint.trained_on],
    }
    try:
        with replacing(path, previous=previous_of(path)) as file:
            torch.save(content, file)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: cannot write the checkpoint ({reason}); check free space"
        ) from None


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint onto the CPU, its checksums verified; nothing in the file is executed.

    A model.safetensors is read with the config.json beside it. Where a checkpoint is damaged, or
    missing because its writer was killed, the one before it is taken, with an `AcdcWarning`.

    Raises:
        CheckpointError: No such file, not a checkpoint of this package, or of another format.
    """
    if path.suffix == ".safetensors":
        from acdc_seg.runs.published import load_published

        return load_published(path)
    try:
        return _load(path)
    except _DamagedError as error:
        previous = previous_of(path)
        if not previous.is_file():
            raise
        checkpoint, reason = _load(previous), str(error)
    warnings.warn(
        f"{reason}\nUsing the one before it: {previous}, epoch {checkpoint.epoch}",
        AcdcWarning,
        stacklevel=2,
    )
    return checkpoint


def previous_of(path: Path) -> Path:
    """Where the checkpoint before `path` is kept: last.previous.pt for last.pt."""
    return path.with_suffix(f".previous{path.suffix}")


def has_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint at `path`, or one before it."""
    return path.is_file() or previous_of(path).is_file()


def _load(path: Path) -> Checkpoint:
    content = _read(path)
    if (
        not isinstance(content, dict)
        or not content.keys() >= {"format", "config", *FIELDS}
        or not isinstance(content["config"], dict)
    ):
        raise CheckpointError(
            f"{path}: a torch file, but not a checkpoint of acdc_seg; give a run folder or its "
            "best.pt"
        )
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {content['format']}, this version reads {FORMAT}; install "
            "the version that wrote it, or train again"
        )
    data = content["config"].get("data", {})
    if isinstance(data, dict) and data.get("size"):
        data.setdefault("fit", "stretch")  # as all images were before there was a choice
    try:
        config = from_dict(content["config"], source=str(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: its config does not fit this version:\n{error}") from None
    try:
        trained_on = tuple(map(TrainedOn.from_dict, content["trained_on"]))
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{path}: does not say which images it was trained on; copy it again from its source"
        ) from None
    return Checkpoint(
        config=config, trained_on=trained_on, **{name: content[name] for name in FIELDS}
    )


def _read(path: Path) -> Any:
    """The content of the file, once the checksum of each of its parts fits."""
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
            if damaged is None:
                file.seek(0)
                return torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251
    except OSError as error:
        raise _DamagedError(
            f"{path}: cannot read the checkpoint ({error.strerror}); {path_hint(path)}"
        ) from None
    except Exception:  # a damaged stream can end in any of them
        raise _DamagedError(
            f"{path}: not a checkpoint, or a damaged one; give a run folder or its best.pt"
        ) from None
    raise _DamagedError(
        f"{path}: damaged, the checksum of {damaged} does not fit; copy it again from its source"
    )
