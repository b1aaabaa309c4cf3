"""Examples to train and validate on: in memory, in an unnamed file, or in their own files."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import TensorDataset

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.images import read_image
from acdc_seg.data.masks import read_mask
from acdc_seg.data.record import Record
from acdc_seg.data.transforms import resize
from acdc_seg.errors import DataError
from acdc_seg.files import work_dir
from acdc_seg.runtime.memory import available_disk, available_memory, choose_storage


class Example(NamedTuple):
    """A record with its image float32 `(C, H, W)` in 0..1 and its mask of class indices."""

    record: Record
    image: torch.Tensor
    mask: Any
    """Tensor uint8 `(H, W)`, or None where the record has no mask."""


class ExamplePairs(Protocol):
    """A sequence of tuples whose last two entries are image `(C, H, W)` and mask `(H, W)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, ...]: ...


def read_example(record: Record, *, data: DataConfig, classes: ClassesConfig) -> Example:
    """Reads image and mask of a record at their size on disk.

    Raises:
        DataError: A file is unreadable, has other channels or values than configured, or the two
            differ in size.
    """
    image = read_image(record.image, channels=data.channels, page=record.page)
    if record.mask is None:
        return Example(record, torch.from_numpy(image), None)
    mask = read_mask(record.mask, classes)
    if image.shape[1:] != mask.shape:
        (height, width), (mask_height, mask_width) = image.shape[1:], mask.shape
        raise DataError(
            f"{record.mask}: the mask is {mask_height}x{mask_width}, its image {record.image.name} "
            f"is {height}x{width} pixels; export both at one size",
            code="size",
        )
    return Example(record, torch.from_numpy(image), torch.from_numpy(mask))


class FileExamples(Sequence[Example]):
    """Examples with masks, read from their files whenever they are asked for.

    Args:
        records: Images and masks to read.
        data: Channels, and the size to train at.
        classes: Values of the masks.
        for_training: Resize to `data.size`, and refuse an example of another size than the first;
            else they keep the size of their files.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        data: DataConfig,
        classes: ClassesConfig,
        for_training: bool = False,
    ) -> None:
        self.records, self.data, self.classes = records, data, classes
        self.for_training = for_training
        self.size: torch.Size | None = None
        self.size = self[0].image.shape if for_training and records else None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: Any) -> Any:
        """Raises DataError for an unreadable file, a missing mask, or a size unlike the first."""
        record, image, mask = read_example(
            self.records[index], data=self.data, classes=self.classes
        )
        if mask is None:
            purpose = "training" if self.for_training else "validation"
            raise DataError(f"{record.image}: {purpose} needs a mask for every image")
        if self.for_training:
            image = resize(image[None], self.data.size)[0]
            mask = resize(mask[None, None], self.data.size, mode="nearest-exact")[0, 0]
        if self.size and image.shape != self.size:
            raise DataError(
                f"{record.image}: size {tuple(image.shape[1:])} differs from "
                f"{self.records[0].image.name}; set data.size=[H, W]"
            )
        return Example(record, image, mask)

    def num_bytes(self) -> int:
        """Memory that all examples take, estimated from the first."""
        return len(self) * sum(part.nbytes for part in self[0][1:]) if len(self) else 0

    def check(self) -> None:
        """Reads every file once; raises DataError like `__getitem__`."""
        for _ in self:
            pass


class DiskExamples:
    """Training examples in a memory-mapped file without a name, so that nothing is left of them
    however the process ends. Another process maps the file again instead of receiving a copy.

    Raises:
        DataError: No room for the file, or it cannot be written.
    """

    def __init__(self, examples: FileExamples, folder: Path) -> None:
        _, image, mask = examples[0]
        parts = [("image", np.float32, image.shape), ("mask", np.uint8, mask.shape)]
        row = np.zeros((), np.dtype(parts, align=True))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                # written, for a full disk would kill a process that writes into a mapping
                for _, row["image"], row["mask"] in examples:
                    file.write(row.tobytes())
                file.flush()
                self.__setstate__((_path_of(file), len(examples), row.dtype))
        except OSError as error:
            raise DataError(
                f"{folder}: cannot keep the training images here ({error.strerror}); free some "
                "space, or set data.cache=none"
            ) from None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = self.rows["image"][index], self.rows["mask"][index]
        return torch.from_numpy(image), torch.from_numpy(mask)

    def __getstate__(self) -> tuple[str, int, np.dtype]:
        return _path_of(self.file), len(self), self.rows.dtype

    def __setstate__(self, state: tuple[str, int, np.dtype]) -> None:
        path, size, dtype = state
        self.file = open(path, "rb")  # noqa: SIM115
        self.rows = np.memmap(self.file, dtype, mode="c", shape=(size,))


def _path_of(file: IO[bytes]) -> str:
    """A path that opens this file again from any process, although it has no name."""
    return f"/proc/{os.getpid()}/fd/{file.fileno()}"


@dataclass(frozen=True)
class TrainingData:
    """Training examples of one size, validation examples of the files' sizes, where the former are
    kept (memory, disk or none), and what all take in memory.
    """

    training: ExamplePairs
    validation: Sequence[Example]
    storage: str
    num_bytes: int


def load_examples(
    training: Sequence[Record],
    validation: Sequence[Record],
    *,
    data: DataConfig,
    classes: ClassesConfig,
    folder: Path | None = None,
) -> TrainingData:
    """Reads and checks every file once and keeps the examples as `data.cache` says; validation
    examples that are not in memory are read again each time.

    Args:
        training: Records to train on.
        validation: Records to validate on.
        data: Channels, size and cache.
        classes: Values of the masks.
        folder: Where a cache on disk is; None is `files.work_dir()`.

    Raises:
        DataError: No records to train on, a damaged file, a record without mask, training images of
            several sizes without `data.size`, or no room to keep them.
    """
    if not training:
        raise DataError("no images to train on; check the data folder and its split folders")
    folder = folder or work_dir()
    train_files = FileExamples(training, data=data, classes=classes, for_training=True)
    val_files = FileExamples(validation, data=data, classes=classes)
    num_bytes = train_files.num_bytes() + val_files.num_bytes()
    storage: str = data.cache
    if storage == "auto":
        storage = choose_storage(
            num_bytes,
            train_files.num_bytes(),
            memory=available_memory(),
            disk=available_disk(folder),
        )
    if storage == "memory":
        return TrainingData(stack_examples(train_files), list(val_files), storage, num_bytes)
    val_files.check()
    if storage == "disk":
        return TrainingData(DiskExamples(train_files, folder), val_files, storage, num_bytes)
    train_files.check()
    return TrainingData(train_files, val_files, storage, num_bytes)


def stack_examples(examples: FileExamples) -> TensorDataset:
    """Training examples in memory: images `(N, C, H, W)` float32 and masks `(N, H, W)` uint8."""
    first = examples[0]
    images = torch.empty((len(examples), *first.image.shape))
    masks = torch.empty((len(examples), *first.mask.shape), dtype=torch.uint8)
    for index, (_, image, mask) in enumerate(examples):
        images[index], masks[index] = image, mask
    return TensorDataset(images, masks)
