"""Where examples wait between epochs: in memory, in unnamed files on disk, or in the files they
came from.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
import torch
from torch.utils.data import TensorDataset

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.record import Record
from acdc_seg.data.transforms import fixed_transforms, load_example
from acdc_seg.errors import DataError

Example = tuple[Record, torch.Tensor, torch.Tensor]
"""A record with its image float32 `(C, H, W)` and its mask uint8 `(H, W)`."""
Pairs = Any
"""What has a length and gives, by row, a tuple that ends in image and mask."""

WORK_DIR = Path("data")
MEMORY_SHARE = 0.5
"""Part of the free memory that examples may take; the rest is for network, batches and what else
runs.
"""


class FileExamples(Sequence[Example]):
    """Examples read from their files whenever they are asked for.

    Args:
        fitted: Bring them to `data.size`, and refuse one of another size than the first; else they
            keep the size of their files.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        data: DataConfig,
        classes: ClassesConfig,
        fitted: bool = False,
    ) -> None:
        self.records, self.data, self.classes = records, data, classes
        self.transforms = fixed_transforms(data) if fitted else None
        self.size: torch.Size | None = None
        self.size = self[0][1].shape if fitted and records else None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: Any) -> Any:
        """Raises DataError for a file that is unreadable or has no mask, or an image of another
        size than the first.
        """
        record = self.records[row]
        image, mask = load_example(record, data=self.data, classes=self.classes)
        if mask is None:
            raise DataError(
                f"{record.image}: {'training' if self.transforms else 'validation'} needs a mask "
                "for every image"
            )
        if self.transforms:
            pair = self.transforms({"image": image, "mask": mask[None]})
            image, mask = pair["image"], pair["mask"][0].to(torch.uint8)
        if self.size and image.shape != self.size:
            first = self.records[0].image.name
            raise DataError(
                f"{record.image}: size {tuple(image.shape[1:])} differs from {first}; set "
                "data.size=[H, W]"
            )
        return record, image, mask

    def num_bytes(self) -> int:
        """What all of them take in memory, judged by the first."""
        return len(self) * sum(part.nbytes for part in self[0][1:]) if len(self) else 0


class DiskExamples:
    """Fitted examples in two memory-mapped files without a name, so that nothing is left of them
    however the process ends.

    Raises:
        DataError: No room for the files, or they cannot be written.
    """

    def __init__(self, examples: FileExamples, folder: Path) -> None:
        _, *parts = examples[0]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # open as long as they are mapped
            files = [tempfile.TemporaryFile(dir=folder) for _ in parts]  # noqa: SIM115
            for _, *arrays in examples:
                for file, array in zip(files, arrays, strict=True):
                    file.write(array.numpy().tobytes())
            for file in files:
                file.flush()
        except OSError as error:
            raise DataError(
                f"{folder}: cannot keep the training images here ({error.strerror}); free some "
                "space, or set data.cache=none"
            ) from None
        self.images, self.masks = (
            MappedRows(file, (len(examples), *part.shape), part.numpy().dtype)
            for file, part in zip(files, parts, strict=True)
        )

    def __len__(self) -> int:
        return len(self.images.values)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.images.values[row]), torch.from_numpy(self.masks.values[row])


class MappedRows:
    """An array in an open file.

    Sent to another process it is the file that goes, not its content.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.file = file
        self.values = np.memmap(file, dtype, mode="c", shape=shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return _map_again, (DupFd(self.file.fileno()), self.values.shape, self.values.dtype)


def _map_again(descriptor: Any, shape: tuple[int, ...], dtype: np.dtype) -> MappedRows:
    return MappedRows(os.fdopen(descriptor.detach(), "rb"), shape, dtype)


@dataclass(frozen=True)
class Loaded:
    """Training examples of one size, validation examples of the files' sizes, and where the former
    are kept: memory, disk or none.
    """

    training: Pairs
    validation: Sequence[Example]
    place: str
    num_bytes: int


def load_examples(
    training: Sequence[Record],
    validation: Sequence[Record],
    *,
    data: DataConfig,
    classes: ClassesConfig,
    folder: Path = WORK_DIR,
) -> Loaded:
    """Reads and checks every file once and keeps the examples as `data.cache` says.

    Where memory does not hold them, validation examples are read anew each time.

    Raises:
        DataError: No records to train on, a damaged file, a record without mask, training images of
            several sizes without `data.size`, or no room to keep them.
    """
    if not training:
        raise DataError("no images to train on; check the data folder and its split folders")
    fitted = FileExamples(training, data=data, classes=classes, fitted=True)
    shown = FileExamples(validation, data=data, classes=classes)
    num_bytes = fitted.num_bytes() + shown.num_bytes()
    place: str = data.cache
    if place == "auto":
        place = choose_place(
            num_bytes, fitted.num_bytes(), memory=available_memory(), disk=_free_disk(folder)
        )
    if place == "memory":
        return Loaded(stack_examples(fitted), list(shown), place, num_bytes)
    kept = DiskExamples(fitted, folder) if place == "disk" else _checked(fitted)
    return Loaded(kept, _checked(shown), place, num_bytes)


def stack_examples(examples: FileExamples) -> TensorDataset:
    """Fitted examples in memory: images `(N, C, H, W)` float32 and masks `(N, H, W)` uint8; there
    is never a second copy.
    """
    stacked = [
        torch.empty((len(examples), *part.shape), dtype=part.dtype) for part in examples[0][1:]
    ]
    for row, (_, *parts) in enumerate(examples):
        for whole, part in zip(stacked, parts, strict=True):
            whole[row] = part
    return TensorDataset(*stacked)


def choose_place(num_bytes: int, num_bytes_on_disk: int, *, memory: int, disk: int) -> str:
    """memory or disk, whichever holds the examples of all processes of this machine.

    Args:
        num_bytes: What one process keeps in memory; on disk it keeps `num_bytes_on_disk`.
        memory: Free bytes, of which `MEMORY_SHARE` may be taken.
        disk: Free bytes.

    Raises:
        DataError: Neither does.
    """
    num_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if num_bytes * num_processes <= memory * MEMORY_SHARE:
        return "memory"
    if num_bytes_on_disk * num_processes <= disk:
        return "disk"
    raise DataError(
        f"the images take {megabytes(num_bytes * num_processes)} in memory or "
        f"{megabytes(num_bytes_on_disk * num_processes)} on disk; "
        f"{megabytes(memory)} of memory (of which {MEMORY_SHARE:.0%} may be taken) and "
        f"{megabytes(disk)} of disk are free; free some, "
        "set a smaller data.size, or data.cache=none to read the files in every epoch"
    )


def megabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e6:.2f} MB"


def available_memory(root: Path = Path("/")) -> int:
    """Bytes left on this machine without swapping, or fewer where a control group (of a container
    or a batch job) limits them.
    """
    return min([psutil.virtual_memory().available, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """Bytes left in the control groups (version 1 or 2) of this process and in all above them."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        if "memory" in controllers.split(","):
            top, names = (
                top / "memory",
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            )
        elif controllers:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder == top.parent:
                break
            yield from _left_in_group(folder, *names)


def _left_in_group(folder: Path, limit: str, usage: str, inactive: str) -> Iterator[int]:
    """Bytes left in one group where it has a limit; file pages that the system would drop count as
    left.
    """
    (most, *_), (used, *_) = [[*_lines(folder / name), ""] for name in (limit, usage)]
    if most.isdecimal() and used.isdecimal():
        droppable = sum(
            int(line.split()[1])
            for line in _lines(folder / "memory.stat")
            if line.split()[0] == inactive
        )
        yield max(0, int(most) - int(used) + droppable)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _free_disk(folder: Path) -> int:
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _checked(examples: FileExamples) -> FileExamples:
    """The same, every file of it read once."""
    for _ in examples:
        pass
    return examples
