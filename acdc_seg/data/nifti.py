"""Reads and writes NIfTI files; a header is checked before any voxel is used."""

import gzip
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger as nibabel_logger
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Image

from acdc_seg.data.orientation import (
    Orientation,
    check_positive,
    find_orientation,
    find_spacing,
)
from acdc_seg.errors import DataError
from acdc_seg.files import replacing

LARGEST_VOLUME = 2 * 1024**3
"""Bytes of voxels above which a header is taken for damaged."""
LARGEST_OFFSET = 16 * 1024**2
"""Bytes of header extensions in front of the voxels."""
TRAILING = 1024**2
"""Bytes that may follow the voxels; more can be a small archive of an endless stream."""
LONGEST_HEADER = 540


@dataclass(frozen=True)
class NiftiFile:
    """An image on disk: its header, and voxels that are converted frame by frame.

    Attributes:
        path: The file.
        image: Its header and voxels; affine and header belong to the axes of the file.
        spacing: Size in mm of voxels along our axes, see `orientation`.
        orientation: The file's axes to ours.
        frame_seconds: Time from frame to frame; None where it is unknown.
    """

    path: Path
    image: Nifti1Image
    spacing: tuple[float, float, float]
    orientation: Orientation
    frame_seconds: float | None = None

    @property
    def num_frames(self) -> int:
        """1, or the length of the fourth axis."""
        return int(math.prod(self.image.shape[3:]))

    @property
    def affine(self) -> np.ndarray:
        """Voxel indices along our axes to mm, RAS+, `(4, 4)`."""
        return self.orientation.turn_affine(self.image.affine, (*self.image.shape, 1)[:3])

    def voxels(self, frame: int | None = None) -> np.ndarray:
        """Voxels `(X, Y, Z)` in our axes, of the file's type; a 2-D image is one slice."""
        is_cine = len(self.image.shape) > 3
        data = self.image.dataobj
        with np.errstate(over="ignore", invalid="ignore"):
            array = np.asarray(data[..., frame or 0] if is_cine else data)
        return self.orientation.apply(array.reshape((*array.shape, 1)[:3]))

    def frame(self, index: int) -> np.ndarray:
        """Grey values `(X, Y, Z)` float32 of a frame.

        Raises:
            DataError: NaN or infinity in it.
        """
        voxels = self.voxels(index)
        with np.errstate(over="ignore", invalid="ignore"):
            image = voxels.astype(np.float32)
        num_bad = image.size - np.count_nonzero(np.isfinite(image))
        if num_bad:
            raise DataError(
                f"{self.path}: {num_bad:,} voxels are NaN or infinite; export the image again",
                code="nan",
            )
        return image


def open_nifti(path: Path, *, frames: bool = False, frame: int | None = None) -> NiftiFile:
    """Reads a file of one volume, `(X, Y, Z)` or `(X, Y)`.

    Args:
        path: NIfTI-1 or -2, compressed or not; the checksum of compressed ones is verified.
        frames: A cine `(X, Y, Z, T)` will do too.
        frame: The frame of a cine that will be used, from 0.

    Raises:
        DataError: The file is missing, damaged, or of several channels; its header claims more than
            2 GiB or contradicts itself; it continues after its voxels.
    """
    try:
        with _quiet_nibabel(), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            image = _read_nifti(path, file, frames, frame)
            return describe_nifti(path, image)
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


def write_labels(path: Path, labels: np.ndarray, like: NiftiFile) -> None:
    """Writes labels `(X, Y, Z)` or `(X, Y, Z, T)` in our axes as uint8, or float maps as float32,
    on the grid of a file, with its affine and pixdim.

    Args:
        path: To write, .nii.gz or .nii.
        labels: The map.
        like: The file whose grid it is on.

    Raises:
        DataError: The file cannot be written.
    """
    array = like.orientation.undo(labels)
    kind = np.float32 if array.dtype.kind == "f" else np.uint8
    header = like.image.header.copy()
    header.set_data_dtype(kind)
    header["scl_slope"], header["scl_inter"] = np.nan, np.nan
    header["cal_max"], header["cal_min"] = 0, 0
    image = type(like.image)(np.asarray(array, kind), like.image.affine, header)
    zooms = (*like.image.header.get_zooms(), 1.0, 1.0)
    with _quiet_nibabel():
        image.header.set_zooms(zooms[: array.ndim])
        content = image.to_bytes()
    with replacing(path) as file:
        is_packed = path.suffix == ".gz"
        # without a time stamp, so that the same labels are the same bytes
        file.write(gzip.compress(content, compresslevel=4, mtime=0) if is_packed else content)


def describe_nifti(path: Path, image: Nifti1Image) -> NiftiFile:
    """A file with the size and direction of its voxels."""
    header = image.header
    length, duration = header.get_xyzt_units()
    scale = {"meter": 1000.0, "micron": 0.001}.get(length, 1.0)
    zooms = [float(size) for size in header.get_zooms()[:3]]
    affine = image.affine
    try:
        spacing = [size * scale for size in find_spacing(affine, zooms)]
    except DataError as error:
        raise DataError(f"{path}: {error}", code=error.code) from None
    orientation = find_orientation(affine, spacing, (*image.shape, 1)[:3])
    seconds = _frame_seconds(header, duration) if len(image.shape) > 3 else None
    return NiftiFile(path, image, orientation.reorder(spacing), orientation, seconds)


def _frame_seconds(header: Nifti1Header, unit: str) -> float | None:
    """Time from frame to frame by the header; a value without unit is in ms where it is above 5."""
    step = float(header.get_zooms()[3])
    if not 0 < step < math.inf:
        return None
    scale = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(unit, 1e-3 if step > 5 else 1.0)
    return step * scale


def _read_nifti(path: Path, file: Any, frames: bool, frame: int | None) -> Nifti1Image:
    """Reads no more than the header claims, so that a small archive cannot fill the memory."""
    start = file.read(LONGEST_HEADER)
    is_nifti2 = Nifti2Image.header_class.may_contain_header(start)
    kind = Nifti2Image if is_nifti2 else Nifti1Image
    if not kind.header_class.may_contain_header(start):
        raise ImageFileError("it does not begin with a NIfTI header")
    header = kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
    num_bytes = _check_header(path, header, frames, frame)
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


def _check_header(path: Path, header: Nifti1Header, frames: bool, frame: int | None) -> int:
    """Length of the whole file by its header, which nibabel would mend without a word."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    num_frames = math.prod(shape[3:])
    if frame is not None and (len(shape) != 4 or not 0 <= frame < num_frames):
        raise DataError(
            f"{path}: frame {frame + 1} does not exist, the file has {num_frames}; correct the "
            "number",
            code="shape",
        )
    takes_cine = (frames or frame is not None) and len(shape) == 4
    if len(shape) < 2 or min(shape) < 1 or (num_frames != 1 and not takes_cine):
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
    try:
        check_positive(header.get_zooms()[:3])
    except DataError as error:
        raise DataError(f"{path}: {error}", code=error.code) from None
    return max(int(offset), header.single_vox_offset) + num_bytes
