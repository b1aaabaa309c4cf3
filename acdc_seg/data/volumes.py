"""Reads NIfTI volumes: an image and its labels on one grid, checked before any voxel is used."""

import gzip
import logging
import math
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger as nibabel_logger
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Image

from acdc_seg.errors import DataError
from acdc_seg.labels import ACDC_LABELS

LABEL_VALUES = tuple(label.value for label in ACDC_LABELS)
LARGEST_VOLUME = 2 * 1024**3
"""Bytes of voxels above which a header is taken for damaged."""
LARGEST_OFFSET = 16 * 1024**2
"""Bytes of header extensions in front of the voxels."""
TRAILING = 1024**2
"""Bytes that may follow the voxels; what holds more is no volume, or a small archive of an endless
stream.
"""
LONGEST_HEADER = 540


@dataclass(frozen=True)
class Volume:
    """`image` float32 `(X, Y, Z)`, `label` uint8 `(X, Y, Z)` or None, `spacing` (x, y, z) in mm."""

    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, float, float]


def read_volume(
    image_path: Path, label_path: Path | None, *, label_values: Collection[int] = LABEL_VALUES
) -> Volume:
    """Reads an image and, where there is one, its label volume.

    Args:
        label_values: Values that label voxels may have, in 0..255.

    Raises:
        DataError: A file is missing, damaged or not three-dimensional, its header claims more than
            2 GiB, it goes on after its voxels, the image holds NaN or infinity, the two do not
            cover the same voxels, or a label is none of `label_values`.
    """
    nifti, voxels = _load_nifti(image_path)
    with np.errstate(over="ignore", invalid="ignore"):
        image = voxels.astype(np.float32)
    if bad := image.size - np.count_nonzero(np.isfinite(image)):
        raise DataError(f"{image_path}: {bad:,} voxels are NaN or infinite; export the image again")
    x, y, z = (float(size) for size in nifti.header.get_zooms()[:3])
    if label_path is None:
        return Volume(image, None, (x, y, z))
    label_nifti, label_voxels = _load_nifti(label_path)
    _check_same_grid(image_path, nifti, label_path, label_nifti)
    return Volume(image, _checked_label(label_path, label_voxels, label_values), (x, y, z))


def _load_nifti(path: Path) -> tuple[Nifti1Image, np.ndarray]:
    """A NIfTI-1 or -2 file and its voxels `(X, Y, Z)`, checksum verified; no more is read than the
    header claims.
    """
    try:
        with _quiet_nibabel(), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(LONGEST_HEADER)
            kind = next(
                (
                    kind
                    for kind in (Nifti1Image, Nifti2Image)
                    if kind.header_class.may_contain_header(start)
                ),
                None,
            )
            if kind is None:
                raise ImageFileError("it does not begin with a NIfTI header")
            num_bytes = _claimed_bytes(
                path, kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
            )
            content = start + file.read(max(0, num_bytes - len(start)))
            if len(content) < num_bytes:
                raise EOFError(f"{len(content):,} of {num_bytes:,} bytes")
            if len(file.read(TRAILING)) == TRAILING:
                raise DataError(
                    f"{path}: goes on after the {num_bytes:,} bytes that its header claims; copy "
                    "it again from its source"
                )
            nifti = kind.from_bytes(content)
            with np.errstate(over="ignore", invalid="ignore"):
                return nifti, np.asarray(nifti.dataobj).reshape(nifti.shape[:3])
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing; check the path") from None
    except DataError:
        raise
    except Exception as error:  # a damaged header or stream can end in any of them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: not a readable NIfTI file, truncated or damaged ({reason}); copy it again "
            "from its source"
        ) from None


@contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keeps nibabel from telling the oddities of a header that it mends."""
    level = nibabel_logger.level
    nibabel_logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        nibabel_logger.setLevel(level)


def _claimed_bytes(path: Path, header: Nifti1Header) -> int:
    """Length of the whole file by its header, which is judged here: nibabel mends some of it
    without a word when it reads the file.
    """
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if len(shape) < 3 or any(size != 1 for size in shape[3:]) or min(shape) < 1:
        raise DataError(
            f"{path}: the volume has shape {shape}, expected (X, Y, Z); give one frame, not a "
            "single slice or a cine"
        )
    if dtype.kind not in "iuf":
        raise DataError(
            f"{path}: voxels are {dtype}, expected integers or real numbers; export grey values"
        )
    num_bytes = math.prod(shape) * dtype.itemsize
    offset = float(header["vox_offset"])
    if num_bytes > LARGEST_VOLUME or not offset <= LARGEST_OFFSET:
        claim = (
            f"{shape} voxels, {num_bytes / 1024**3:.1f} GiB"
            if num_bytes > LARGEST_VOLUME
            else f"that voxels begin at byte {offset:,.0f}"
        )
        raise DataError(
            f"{path}: the header claims {claim}; it is damaged, copy the file again from its source"
        )
    voxel_size = header.get_zooms()[:3]
    if not all(0 < size < math.inf for size in voxel_size):
        size = ", ".join(f"{float(edge):g}" for edge in voxel_size)
        raise DataError(
            f"{path}: the voxel size ({size}) mm must be positive; correct pixdim in the header"
        )
    return max(int(offset), header.single_vox_offset) + num_bytes


def _check_same_grid(
    image_path: Path, image: Nifti1Image, label_path: Path, label: Nifti1Image
) -> None:
    if image.shape[:3] != label.shape[:3]:
        raise DataError(
            f"{label_path}: the labels have shape {label.shape}, {image_path.name} has "
            f"{image.shape}; export both on one grid"
        )
    size, label_size = (
        tuple(round(float(edge), 4) for edge in nifti.header.get_zooms()[:3])
        for nifti in (image, label)
    )
    if not np.allclose(size, label_size, rtol=0, atol=1e-3):
        raise DataError(
            f"{label_path}: voxels are {label_size} mm, those of {image_path.name} are {size} mm; "
            "export both on one grid"
        )
    if not np.allclose(image.affine, label.affine, rtol=0, atol=1e-2):
        raise DataError(
            f"{label_path}: position or orientation (affine) differs from {image_path.name} by up "
            "to "
            f"{np.abs(image.affine - label.affine).max():.3g}; export both on one grid"
        )


def _checked_label(path: Path, voxels: np.ndarray, values: Collection[int]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        label = voxels.astype(np.uint8)
    allowed = np.isin(np.arange(256), list(values))
    wrong = (label != voxels) | ~allowed[label]
    if wrong.any():
        found, counts = np.unique(voxels[wrong], return_counts=True)
        listed = ", ".join(
            f"{value:g} ({count:,} voxels)" for value, count in zip(found[:8], counts, strict=False)
        )
        raise DataError(
            f"{path}: label {listed} is no class, the classes are {sorted(values)}; correct or "
            "map the labels"
        )
    return label
