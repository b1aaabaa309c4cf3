"""Reads NIfTI volumes: an image and its mask on one grid, checked before any voxel is used."""

import gzip
import logging
import math
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger as nibabel_logger
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Image

from acdc_seg.errors import DataError
from acdc_seg.labels import ACDC_LABELS

MASK_VALUES = tuple(label.value for label in ACDC_LABELS)
LARGEST_VOLUME = 2 * 1024**3
"""Bytes of voxels above which a header is taken for damaged."""
LARGEST_OFFSET = 16 * 1024**2
"""Bytes of header extensions in front of the voxels."""
TRAILING = 1024**2
"""Bytes that may follow the voxels; more can be a small archive of an endless stream."""
LONGEST_HEADER = 540


@dataclass(frozen=True)
class Volume:
    """`image` float32 `(X, Y, Z)`, `mask` uint8 or uint16 `(X, Y, Z)` or None, `spacing` (x, y, z)
    in mm.
    """

    image: np.ndarray
    mask: np.ndarray | None
    spacing: tuple[float, float, float]


def read_volume(
    image_path: Path,
    mask_path: Path | None,
    *,
    mask_values: Collection[int] | None = MASK_VALUES,
    frame: int | None = None,
) -> Volume:
    """Reads an image and, where there is one, its mask.

    Args:
        image_path: NIfTI file, compressed or not.
        mask_path: NIfTI file of the mask, or None.
        mask_values: Values that mask voxels may have, in 0..65535; None takes all of these.
        frame: Frame of a 4-D image, from 0; None expects one volume. A 2-D image is one slice.

    Raises:
        DataError: A file is missing, damaged or of several channels or frames, its header claims
            more than 2 GiB, it continues after its voxels, the image holds NaN or infinity, the two
            do not cover the same voxels, or the mask has another value than `mask_values`.
    """
    nifti, voxels = _load_nifti(image_path, frame)
    with np.errstate(over="ignore", invalid="ignore"):
        image = voxels.astype(np.float32)
    num_bad = image.size - np.count_nonzero(np.isfinite(image))
    if num_bad:
        raise DataError(
            f"{image_path}: {num_bad:,} voxels are NaN or infinite; export the image again",
            code="nan",
        )
    x, y, z = (float(size) for size in (*nifti.header.get_zooms(), 1.0)[:3])
    if mask_path is None:
        return Volume(image, None, (x, y, z))
    mask_nifti, mask_voxels = _load_nifti(mask_path)
    _check_same_grid(image_path, nifti, mask_path, mask_nifti)
    return Volume(image, _check_values(mask_path, mask_voxels, mask_values), (x, y, z))


def read_mask_values(path: Path) -> list[int]:
    """The whole numbers that occur in a mask, of whatever class, sorted.

    Raises:
        DataError: The file is missing or damaged.
    """
    values = np.unique(_load_nifti(path)[1])
    return [int(value) for value in values if value == np.floor(value)]


def _load_nifti(path: Path, frame: int | None = None) -> tuple[Nifti1Image, np.ndarray]:
    """A NIfTI-1 or -2 file and its voxels `(X, Y, Z)`, checksum verified."""
    try:
        with _quiet_nibabel(), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            nifti = _read_nifti(path, file, frame)
            with np.errstate(over="ignore", invalid="ignore"):
                voxels = np.asarray(nifti.dataobj if frame is None else nifti.dataobj[..., frame])
                return nifti, voxels.reshape((*nifti.shape, 1)[:3])
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing; check the path", code="unreadable") from None
    except DataError:
        raise
    except Exception as error:  # a damaged header or stream can end in any of them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: not a readable NIfTI file, truncated or damaged ({reason}); copy it again "
            "from its source",
            code="unreadable",
        ) from None


def _read_nifti(path: Path, file: Any, frame: int | None) -> Nifti1Image:
    """Reads no more than the header claims, so that a small archive cannot fill the memory."""
    start = file.read(LONGEST_HEADER)
    is_nifti2 = Nifti2Image.header_class.may_contain_header(start)
    kind = Nifti2Image if is_nifti2 else Nifti1Image
    if not kind.header_class.may_contain_header(start):
        raise ImageFileError("it does not begin with a NIfTI header")
    header = kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
    num_bytes = _check_header(path, header, frame)
    content = start + file.read(max(0, num_bytes - len(start)))
    if len(content) < num_bytes:
        raise EOFError(f"{len(content):,} of {num_bytes:,} bytes")
    # to the end of the file, where gzip keeps its checksum
    if len(file.read(TRAILING)) == TRAILING:
        raise DataError(
            f"{path}: continues after the {num_bytes:,} bytes that its header claims; copy it "
            "again from its source",
            code="unreadable",
        )
    return kind.from_bytes(content)


@contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keeps nibabel from logging the oddities of a header that it mends."""
    level = nibabel_logger.level
    nibabel_logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        nibabel_logger.setLevel(level)


def _check_header(path: Path, header: Nifti1Header, frame: int | None) -> int:
    """Length of the whole file by its header, which nibabel would mend without a word."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    num_frames = math.prod(shape[3:])
    if frame is not None and (len(shape) != 4 or not 0 <= frame < num_frames):
        raise DataError(
            f"{path}: frame {frame + 1} does not exist, the file has {num_frames}; correct the "
            "number",
            code="shape",
        )
    if len(shape) < 2 or min(shape) < 1 or (num_frames != 1 and (frame is None or len(shape) > 4)):
        raise DataError(
            f"{path}: the volume has shape {shape}, expected (X, Y, Z) or (X, Y); save the channel "
            "or frame to use as a file of its own",
            code="shape",
        )
    if dtype.kind not in "iuf":
        raise DataError(
            f"{path}: voxels are {dtype}, expected integers or real numbers; export grey values",
            code="depth",
        )
    num_bytes, offset = math.prod(shape) * dtype.itemsize, float(header["vox_offset"])
    if num_bytes > LARGEST_VOLUME or not offset <= LARGEST_OFFSET:  # or NaN
        raise DataError(
            f"{path}: the header claims {shape} voxels, {num_bytes / 1024**3:.1f} GiB, from byte "
            f"{offset:,.0f} on; it is damaged, copy the file again from its source",
            code="too_large",
        )
    voxel_size = header.get_zooms()[:3]
    if not all(0 < size < math.inf for size in voxel_size):
        size = ", ".join(f"{float(edge):g}" for edge in voxel_size)
        raise DataError(
            f"{path}: the voxel size ({size}) mm must be positive; correct pixdim in the header",
            code="spacing",
        )
    return max(int(offset), header.single_vox_offset) + num_bytes


def _check_same_grid(
    image_path: Path, image: Nifti1Image, mask_path: Path, mask: Nifti1Image
) -> None:
    if (*image.shape, 1)[:3] != (*mask.shape, 1)[:3]:
        raise DataError(
            f"{mask_path}: the mask has shape {mask.shape}, {image_path.name} has "
            f"{image.shape}; export both on one grid",
            code="size",
        )
    difference = np.abs(image.affine - mask.affine).max()
    if not difference <= 1e-2:  # or NaN
        raise DataError(
            f"{mask_path}: voxel size, position or orientation (affine) differs from "
            f"{image_path.name} by up to {difference:.3g}; export both on one grid",
            code="affine",
        )


def _check_values(path: Path, voxels: np.ndarray, values: Collection[int] | None) -> np.ndarray:
    """Mask voxels as uint8 or uint16; raises DataError where one is none of `values`."""
    with np.errstate(invalid="ignore"):
        mask = voxels.astype(np.uint16)
    values = range(2**16) if values is None else values
    allowed = np.isin(np.arange(2**16), list(values))
    wrong = (mask != voxels) | ~allowed[mask]
    if wrong.any():
        unknown, counts = np.unique(voxels[wrong], return_counts=True)
        listed = ", ".join(
            f"{value:g} ({count:,} voxels)"
            for value, count in zip(unknown[:8], counts, strict=False)
        )
        expected = "0..65535" if len(values) == 2**16 else f"one of {sorted(values)}"
        raise DataError(
            f"{path}: the mask contains value {listed}, expected {expected}; correct "
            "the values, or set classes.names and classes.values",
            code="mask_value",
        )
    return mask.astype(np.uint8) if mask.max(initial=0) < 256 else mask
