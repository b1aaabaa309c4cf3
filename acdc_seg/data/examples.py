"""Examples to train and validate on: in memory, in an unnamed file, or in their own files."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import TensorDataset

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.disk import DiskExamples
from acdc_seg.data.geometry import place
from acdc_seg.data.images import OTHER_HALF, image_shape, read_image
from acdc_seg.data.masks import read_mask
from acdc_seg.data.record import Record
from acdc_seg.data.transforms import normalize
from acdc_seg.errors import DataError
from acdc_seg.files import work_dir
from acdc_seg.labels import IGNORE_INDEX
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
    image = read_image(record.image, channels=data.channels, page=record.page, half=record.half)
    if record.mask is None:
        return Example(record, torch.from_numpy(image), None)
    mask = read_mask(record.mask, classes, record.page, OTHER_HALF[record.half])
    if image.shape[1:] != mask.shape:
        (height, width), (mask_height, mask_width) = image.shape[1:], mask.shape
        raise DataError(
            f"{record.mask}: the mask is {mask_height}x{mask_width}, its image {record.image.name} "
            f"is {height}x{width} pixels; export both at one size",
            code="size",
        )
    return Example(record, torch.from_numpy(image), torch.from_numpy(mask))


def example_size(record: Record) -> tuple[int, int]:
    """Height and width of a record's image, from the header of its file.

    Raises:
        DataError: The file is unreadable.
    """
    height, width = image_shape(record.image, record.page)
    return height, width // 2 if record.half else width


class FileExamples(Sequence[Example]):
    """Examples with masks, read from their files whenever they are asked for.

    Args:
        records: Images and masks to read.
        data: Channels, and the size to train at.
        classes: Values of the masks.
        for_training: Fit them to `data.size`, and refuse an example of another size than the first;
            images that windows are cut from keep their size and are normalized. Else all are as in
            their files.
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
        self.is_present = np.zeros(IGNORE_INDEX + 1, bool)
        self.size: torch.Size | None = None
        if for_training and records and not data.window:
            self.size = self[0].image.shape

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
        self.is_present[mask] = True
        if self.for_training:
            image, mask = self._fit(record, image, mask)
        if self.size and image.shape != self.size:
            raise DataError(
                f"{record.image}: size {tuple(image.shape[1:])} differs from "
                f"{self.records[0].image.name}; set data.size=[H, W]",
                code="size",
            )
        return Example(record, image, mask)

    def _fit(
        self, record: Record, image: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and mask as training keeps them."""
        if self.data.window:
            return normalize(image[None], self.data)[0], mask
        placement = place((mask.shape[0], mask.shape[1]), self.data)
        if self.data.size not in (None, placement.padded):
            raise DataError(
                f"{record.image}: {mask.shape[0]}x{mask.shape[1]} pixels do not fit into "
                f"data.size={list(self.data.size or ())}, and data.fit=pad scales nothing; set "
                "data.fit=crop for windows of the images, or a larger data.size",
                code="size",
                settings=("data.fit=crop",),
            )
        return placement.fit_images(image[None])[0], placement.fit_mask(mask)

    def num_bytes(self) -> int:
        """Memory that all examples take, by the headers of their files."""
        pixel_bytes = 4 * self.data.channels + 1
        if self.size:
            return len(self) * self.size[1] * self.size[2] * pixel_bytes
        return sum(prod(example_size(record)) for record in self.records) * pixel_bytes

    def absent_classes(self) -> tuple[str, ...]:
        """Names of the classes that no mask read so far has."""
        names = enumerate(self.classes.names)
        return tuple(name for index, name in names if not self.is_present[index])

    def check(self) -> None:
        """Reads every file once; raises DataError like `__getitem__`."""
        for _ in self:
            pass


@dataclass(frozen=True)
class TrainingData:
    """Training examples, validation examples of the files' sizes, where the former are kept
    (memory, disk or none), what all take in memory, and the classes that no training mask has.
    """

    training: ExamplePairs
    validation: Sequence[Example]
    storage: str
    num_bytes: int
    absent: tuple[str, ...]


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
            several sizes without `data.size`, one larger than it with `data.fit=pad`, or no room to
            keep them.
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
    kept = _keep(train_files, storage, folder)
    checked: Sequence[Example] = val_files
    if storage == "memory":
        checked = list(val_files)
    else:
        val_files.check()
    return TrainingData(kept, checked, storage, num_bytes, train_files.absent_classes())


def _keep(examples: FileExamples, storage: str, folder: Path) -> ExamplePairs:
    """Training examples where they stay, after all files were read."""
    if storage == "memory":
        return _in_memory(examples)
    if storage == "disk":
        return DiskExamples(examples, folder)
    examples.check()
    return examples


def _in_memory(examples: FileExamples) -> ExamplePairs:
    if examples.size:
        return stack_examples(examples)
    return [(image, mask) for _, image, mask in examples]


def stack_examples(examples: FileExamples) -> TensorDataset:
    """Training examples in memory: images `(N, C, H, W)` float32 and masks `(N, H, W)` uint8."""
    first = examples[0]
    images = torch.empty((len(examples), *first.image.shape))
    masks = torch.empty((len(examples), *first.mask.shape), dtype=torch.uint8)
    for index, (_, image, mask) in enumerate(examples):
        images[index], masks[index] = image, mask
    return TensorDataset(images, masks)
