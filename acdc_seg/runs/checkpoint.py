"""One self-describing file per checkpoint: config, classes, weights, and for resuming the whole
training state.

The file is what `torch.save` writes, a zip archive; its archive comment holds the SHA-256 of all
that stands before it. Any zip reader, and `torch.load(path, weights_only=True)` too, reads it as if
there were none.
"""

import hashlib
import io
import os
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from acdc_seg.config import Config, from_dict, to_dict
from acdc_seg.errors import AcdcWarning, CheckpointError, ConfigError
from acdc_seg.files import replacing

FORMAT = 3
FIELDS = ("weights", "epoch", "dice", "data", "training")
SEAL = b"acdc_seg sha256 "
SEAL_BYTES = len(SEAL) + 2 * hashlib.sha256().digest_size


class _Damaged(CheckpointError):
    """The file is missing or not as it was written; the one before it may serve."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what is needed to use them.

    `dice` is None where nothing validated; `training` is the state to resume from, in `last.pt`
    only.
    """

    config: Config
    weights: Mapping[str, torch.Tensor]
    epoch: int
    dice: float | None
    data: str
    training: Mapping[str, Any] | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file in one step, so that `path` is never half a checkpoint; the one before it
    stays under `previous_of(path)`.

    Raises:
        AcdcError: The file cannot be written; the one before it stands.
    """
    content = {
        "format": FORMAT,
        "config": to_dict(checkpoint.config),
        "classes": dict(
            zip(checkpoint.config.classes.names, checkpoint.config.classes.values, strict=True)
        ),
        "weights": dict(checkpoint.weights),
        "epoch": checkpoint.epoch,
        "dice": checkpoint.dice,
        "data": checkpoint.data,
        "training": checkpoint.training,
    }
    try:
        with replacing(path, previous=previous_of(path)) as file:
            torch.save(content, file)
            _seal(file)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: cannot write the checkpoint ({str(error).splitlines()[0]}); check free space"
        ) from None


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint onto the CPU, its checksum verified; nothing in the file is executed.

    Where the file is damaged, or missing because its writer was killed, the one before it is taken,
    with an `AcdcWarning`.

    Raises:
        CheckpointError: No such file, not a checkpoint of this package, or of another format
            version.
    """
    try:
        return _load(path)
    except _Damaged as error:
        if not previous_of(path).is_file():
            raise
        found, reason = _load(previous_of(path)), str(error)
    warnings.warn(
        f"{reason}\nGoing on with the one before it: {previous_of(path)}, epoch {found.epoch}",
        AcdcWarning,
        stacklevel=2,
    )
    return found


def previous_of(path: Path) -> Path:
    """Where the checkpoint before `path` is kept: last.previous.pt for last.pt."""
    return path.with_suffix(f".previous{path.suffix}")


def has_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint at `path`, or one before it."""
    return path.is_file() or previous_of(path).is_file()


def _load(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as file:
            sealed = _check_seal(path, file)
            content = _read(path, file)
    except OSError as error:
        raise _Damaged(
            f"{path}: cannot read the checkpoint ({error.strerror}); check the path"
        ) from None
    if (
        not isinstance(content, dict)
        or not content.keys() >= {"format", "config", *FIELDS}
        or not isinstance(content["config"], dict)
    ):
        raise CheckpointError(
            f"{path}: a torch file, but not a checkpoint of acdc_seg; give a run folder or its "
            "best.pt"
        )
    version = content["format"]
    if version != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {version}, this version reads {FORMAT}; install the "
            "version that wrote it, or train again"
        )
    if not sealed:
        raise _Damaged(f"{path}: damaged, its checksum is missing; copy it again from its source")
    try:
        config = from_dict(content["config"], source=str(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: its config does not fit this version:\n{error}") from None
    return Checkpoint(config=config, **{name: content[name] for name in FIELDS})


def _read(path: Path, file: IO[bytes]) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception:  # a damaged stream can end in any of them
        raise _Damaged(
            f"{path}: not a checkpoint, or a damaged one; give a run folder or its best.pt"
        ) from None


def _seal(file: IO[bytes]) -> None:
    """Ends the zip archive with a comment: the SHA-256 of all bytes before it."""
    file.seek(-2, io.SEEK_END)
    assert file.read() == b"\0\0", "the archive has a comment already"
    file.seek(-2, io.SEEK_END)
    file.write(struct.pack("<H", SEAL_BYTES))
    digest = _digest(file, file.tell())
    file.seek(0, io.SEEK_END)
    file.write(SEAL + digest.encode())


def _check_seal(path: Path, file: IO[bytes]) -> bool:
    """Whether the file ends with its checksum; raises CheckpointError where that is another one."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - SEAL_BYTES))
    seal = file.read()
    sealed = seal.startswith(SEAL)
    if sealed and seal != SEAL + _digest(file, size - SEAL_BYTES).encode():
        raise _Damaged(f"{path}: damaged, its checksum does not fit; copy it again from its source")
    file.seek(0)
    return sealed


def _digest(file: IO[bytes], num_bytes: int) -> str:
    """SHA-256 of the first bytes of a file, read a mebibyte at a time."""
    hasher = hashlib.sha256()
    file.seek(0)
    while part := file.read(min(num_bytes, 2**20)):
        hasher.update(part)
        num_bytes -= len(part)
    return hasher.hexdigest()
