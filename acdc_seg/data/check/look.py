"""Looks at one image or volume and its mask: problems, and numbers about both."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.check.thumbnails import Thumbnail, make_thumbnail
from acdc_seg.data.check.topology import count_contacts
from acdc_seg.data.images import OTHER_HALF, crop_half, decode, read_bytes, read_image
from acdc_seg.data.masks import read_mask
from acdc_seg.data.problems import Problem
from acdc_seg.data.record import Record
from acdc_seg.data.volumes import read_mask_values, read_volume
from acdc_seg.errors import DataError
from acdc_seg.labels import IGNORE_INDEX

NUM_INDICES = IGNORE_INDEX + 1
CLIPPED = 0.25
"""Part of the pixels at the brightest value from which an image counts as clipped."""
MOSTLY_BLACK = 0.98
MASK_VALUE_CODES = ("mask_value", "mask_scaled")
MAX_SAMPLES = 2**16
"""Pixels of an image from which its grey values are described."""


class GreyLevels(NamedTuple):
    """Grey values of one image, of files in 0..1 of their format's range, of volumes as stored."""

    low: float
    p1: float
    median: float
    p99: float
    high: float
    mean: float
    std: float


class Pair(NamedTuple):
    """Image `(C, H, W)` or `(X, Y, Z)` and mask of class indices `(H, W)` or `(X, Y, Z)`, None
    where they are missing or unreadable, spacing in mm, and what is wrong with the files.
    """

    image: np.ndarray | None
    mask: np.ndarray | None
    spacing: tuple[float, ...]
    problems: list[Problem]


@dataclass
class Look:
    """What one record holds; numbers of a part that could not be read are empty."""

    problems: list[Problem] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    """(height, width) of an image, (X, Y, Z) of a volume."""
    spacing: tuple[float, ...] = ()
    levels: GreyLevels | None = None
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(NUM_INDICES, np.int64))
    """Pixels of each class index `(256,)`."""
    images: np.ndarray = field(default_factory=lambda: np.zeros(NUM_INDICES, np.int64))
    """Images or slices in which each class index occurs `(256,)`."""
    contacts: np.ndarray | None = None
    """Neighboring pixels of each two classes `(K, K)`."""
    num_images: int = 0
    """Slices of a volume, 1 for an image."""
    values: list[int] = field(default_factory=list)
    """Values of a mask that has others than those of the classes."""
    num_empty: int = 0
    """Images or slices whose mask has no foreground."""
    thumbnails: list[Thumbnail] = field(default_factory=list)


def look_at(
    record: Record,
    *,
    kind: str,
    data: DataConfig,
    classes: ClassesConfig,
    with_thumbnails: bool = True,
) -> Look:
    """Reads the files of a record and describes them; never raises for what is wrong with them.

    Args:
        record: The image or volume.
        kind: `images` or `volumes`, as in `READERS`.
        data: How images are read.
        classes: How masks are read.
        with_thumbnails: Make thumbnails to find duplicates by.
    """
    image, mask, spacing, problems = read_pair(record, kind=kind, data=data, classes=classes)
    look = Look(problems, spacing=spacing)
    if image is not None:
        look.shape = image.shape if kind == "volumes" else image.shape[1:]
        look.num_images = image.shape[2] if kind == "volumes" else 1
        describe_image(look, record, image[None] if kind == "volumes" else image)
        if with_thumbnails:
            pictures = (make_thumbnail(plane) for plane in _planes(image, kind))
            look.thumbnails = [picture for picture in pictures if picture is not None]
    if record.mask is not None and any(each.code in MASK_VALUE_CODES for each in problems):
        look.values = _mask_values(record, kind)
    if mask is not None:
        masks = np.moveaxis(mask, -1, 0) if kind == "volumes" else mask[None]
        describe_mask(look, record, masks, classes)
    return look


def describe_image(look: Look, record: Record, image: np.ndarray) -> None:
    """Adds grey values, and the problems that they show, of an image `(C, H, W)`; of a volume
    `(1, X, Y, Z)`.
    """
    channels = image.reshape(len(image), -1)  # (C, N)
    low, high = float(channels.min()), float(channels.max())
    sample = channels[:, :: -(-channels.shape[1] // MAX_SAMPLES)]
    p1, median, p99 = (float(value) for value in np.percentile(sample, (1, 50, 99)))
    mean, std = float(sample.mean(dtype=np.float64)), float(sample.std(dtype=np.float64))
    look.levels = GreyLevels(low, p1, median, p99, high, mean, std)
    if low == high:
        text, fix = f"all pixels are {low:g}", "remove the image or export it again"
        look.problems.append(Problem(record.image, "constant", "warning", text, fix))
        return
    bright, dark = (float((sample == end).all(axis=0).mean()) for end in (high, low))
    text, fix = "", "export it with a wider range of grey values"
    if bright > CLIPPED:
        text = f"{bright:.0%} of the pixels have the brightest value: the image is clipped"
    elif dark > MOSTLY_BLACK:
        text = f"{dark:.1%} of the pixels have the darkest value: the image is nearly empty"
        fix += ", or remove it"
    if text:
        look.problems.append(Problem(record.image, "clipped", "warning", text, fix))


def describe_mask(look: Look, record: Record, masks: np.ndarray, classes: ClassesConfig) -> None:
    """Adds pixel counts and contacts of classes of masks `(N, H, W)`, and finds void ones."""
    num_classes = len(classes.names)
    look.contacts = np.zeros((num_classes, num_classes), np.int64)
    for mask in masks:
        counts = np.bincount(mask.ravel(), minlength=NUM_INDICES)
        look.pixels += counts
        look.images += counts > 0
        look.num_empty += not counts[1:num_classes].any()
        look.contacts += count_contacts(mask, num_classes)
    if look.pixels[IGNORE_INDEX] == look.pixels.sum():
        assert record.mask is not None
        text, fix = "all pixels are void", "correct the mask or remove the image"
        look.problems.append(Problem(record.mask, "void_mask", "warning", text, fix))


def read_pair(record: Record, *, kind: str, data: DataConfig, classes: ClassesConfig) -> Pair:
    """Image and mask of a record, each where it can be read: both may have problems.

    Args:
        record: The image or volume.
        kind: `images` or `volumes`, as in `READERS`.
        data: How images are read.
        classes: How masks are read.
    """
    if kind == "volumes":
        return _read_volume(record, classes)
    return _read_files(record, data, classes)


def _read_files(record: Record, data: DataConfig, classes: ClassesConfig) -> Pair:
    image = mask = None
    problems = []
    try:
        image = read_image(record.image, channels=data.channels, page=record.page, half=record.half)
    except DataError as error:
        problems.append(Problem.from_error(record.image, error))
    if record.mask is not None:
        try:
            mask = read_mask(record.mask, classes, record.page, OTHER_HALF[record.half])
        except DataError as error:
            problems.append(Problem.from_error(record.mask, error))
    if image is not None and mask is not None and image.shape[1:] != mask.shape:
        (height, width), (mask_height, mask_width) = image.shape[1:], mask.shape
        text = (
            f"the mask is {mask_height}x{mask_width}, its image {record.image.name} is "
            f"{height}x{width} pixels"
        )
        fix = "export both at one size"
        problems.append(Problem(record.mask or record.image, "size", "error", text, fix))
    return Pair(image, mask, record.spacing or (), problems)


def _read_volume(record: Record, classes: ClassesConfig) -> Pair:
    problems = []
    void = () if classes.void is None else (classes.void.value,)
    for mask_path in dict.fromkeys((record.mask, None)):  # the image alone after a bad mask
        try:
            volume = read_volume(
                record.image,
                mask_path,
                mask_values=(*classes.values, *void),
                frame=record.page,
            )
        except DataError as error:
            is_image = str(error).startswith(f"{record.image}:")
            path = record.image if is_image or mask_path is None else mask_path
            problems.append(Problem.from_error(path, error))
            if is_image:
                break
        else:
            mask = None if volume.mask is None else _indices(volume.mask, classes)
            return Pair(volume.image, mask, volume.spacing, problems)
    return Pair(None, None, (), problems)


def _mask_values(record: Record, kind: str) -> list[int]:
    """All values of a mask that could be opened."""
    assert record.mask is not None
    if kind == "volumes":
        return read_mask_values(record.mask)
    pixels = decode(record.mask, read_bytes(record.mask), record.page)
    pixels = crop_half(record.mask, pixels, OTHER_HALF[record.half])
    return np.unique(pixels[..., 0] if pixels.ndim == 3 else pixels).tolist()


def _indices(mask: np.ndarray, classes: ClassesConfig) -> np.ndarray:
    """Class indices of a mask that holds their values."""
    table = np.full(NUM_INDICES, IGNORE_INDEX, np.uint8)
    table[list(classes.values)] = np.arange(len(classes.values))
    return table[mask]


def _planes(image: np.ndarray, kind: str) -> Iterator[np.ndarray]:
    """Every slice `(X, Y)` of a volume; the mean of the channels of an image `(H, W)`."""
    if kind == "volumes":
        yield from np.moveaxis(image, -1, 0)
    else:
        yield image[0] if len(image) == 1 else image.mean(axis=0)
