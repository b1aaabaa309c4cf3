"""Cuts the slices of NIfTI volumes to small 8-bit PNG images and masks, in the geometry of the
coursework slices.

Row is NIfTI x, column is NIfTI y. A slice is resampled to square pixels of `spacing` (output size
floored; image linear, mask nearest, both on half-pixel centers), cropped around the heart, and its
grey values are stretched to 0..255. The crop's center is the middle of the box around the masks of
all phases of a patient, so that ED and ES align.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acdc_seg import __version__
from acdc_seg.config import ClassesConfig, PrepareConfig, to_dict
from acdc_seg.data.grids import crop, make_grid
from acdc_seg.data.record import SPLITS, ProgressCallback, Record, no_progress
from acdc_seg.data.volumes import Volume, read_volume
from acdc_seg.errors import DataError
from acdc_seg.files import new_folder, write_table, write_text

COLUMNS = (
    *("id", "image", "mask", "split", "patient", "phase", "group", "slice"),
    *("spacing_row", "spacing_col", "spacing_slice", "crop_row", "crop_col"),
)
"""Columns of records.csv."""
SLICING_VERSION = 5
"""Goes up with every change of this file that changes a slice or its row of records.csv, so that
old ones are cut again."""
STRETCH_PERCENTILES = (1, 99)
"""Grey values that become 0 and 255."""
TableRow = tuple[str | int, ...]


@dataclass(frozen=True)
class CroppedSlice:
    """`image` and `mask` (or None) uint8 `(H, W)`, pixel `spacing` (row, column) in mm, first pixel
    `corner` in the resampled slice.
    """

    image: np.ndarray
    mask: np.ndarray | None
    spacing: tuple[float, float]
    corner: tuple[int, int]


def prepare(
    records: Sequence[Record],
    out: Path,
    *,
    settings: PrepareConfig,
    classes: ClassesConfig | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Counter[str]:
    """Writes `out/{train,val,test}/image/ID.png` and `mask/ID_mask.png`, records.csv, splits.json
    and prepare.json, and returns the number of images of each split.

    Args:
        records: NIfTI volumes, with their splits.
        out: Folder to make, complete or not at all; it must not exist, or be empty.
        settings: Geometry, slices and phases to take.
        classes: Values that the masks may have; None takes all. They are written as they are.
        on_progress: Called after each volume.

    Raises:
        DataError: A broken volume, or `out` holds something or cannot be written.
    """
    with new_folder(out) as unfinished:
        rows = _write_slices(records, unfinished, settings, mask_values(classes), on_progress)
        split_of = {record.patient: record.split for record in records}
        _write_tables(unfinished, rows, split_of, settings)
    return Counter(str(row[COLUMNS.index("split")]) for row in rows)


def mask_values(classes: ClassesConfig | None) -> tuple[int, ...] | None:
    """Values that masks of these classes may have; None where the classes are unknown."""
    if classes is None:
        return None
    return (*classes.values, classes.void.value) if classes.void else classes.values


def crop_slice(
    image: np.ndarray,
    mask: np.ndarray | None,
    *,
    spacing: tuple[float, float],
    settings: PrepareConfig,
    center: tuple[float, float] | None = None,
) -> CroppedSlice:
    """Resamples, crops and stretches one slice.

    Args:
        image: Grey values `(X, Y)`.
        mask: Class numbers `(X, Y)`, or None.
        spacing: Pixel size (x, y) in mm.
        center: Middle of the crop (x, y) in mm from the slice's corner; None takes the middle of
            the slice.

    Raises:
        DataError: The resampled slice would have more than `LARGEST_IMAGE` pixels.
    """
    grid = make_grid((image.shape[0], image.shape[1]), spacing, settings, center=center)
    is_whole = settings.crop == "none"
    margin = (0, 0) if is_whole else (settings.size[0] // 6, settings.size[1] // 6)
    nearest = settings.interpolation == "nearest"
    stretched = stretch(grid.cut_image(image, margin=margin, nearest=nearest))
    return CroppedSlice(
        image=crop(stretched, margin, grid.size),
        mask=None if mask is None else grid.cut_labels(mask),
        spacing=grid.pixel_size,
        corner=grid.corner,
    )


def stretch(window: np.ndarray) -> np.ndarray:
    """Grey values between two percentiles of the window to 0..255; a constant window becomes 0.

    The window is a third larger than the crop (128 pixels for 96), as in the coursework slices, or
    the whole slice.
    """
    low, high = np.percentile(window, STRETCH_PERCENTILES)
    scale = 255 / (high - low) if high > low else 0.0
    return np.clip((window - low) * scale, 0, 255).astype(np.uint8)


def _write_slices(
    records: Sequence[Record],
    out: Path,
    settings: PrepareConfig,
    values: Collection[int] | None,
    on_progress: ProgressCallback,
) -> list[TableRow]:
    """Writes images and masks of all patients below `out`, and returns the rows of records.csv."""
    for split in {record.split for record in records}:
        (out / split / "image").mkdir(parents=True)
        (out / split / "mask").mkdir()
    by_patient: dict[str, list[Record]] = {}
    for record in records:
        if record.phase in ("", *settings.phases):
            by_patient.setdefault(record.patient, []).append(record)
    num_volumes = sum(map(len, by_patient.values()))
    rows: list[TableRow] = []
    done = 0
    for patient_records in by_patient.values():
        volumes = [
            read_volume(record.image, record.mask, mask_values=values, frame=record.page)
            for record in patient_records
        ]
        center = _heart_center(volumes) if settings.crop == "heart" else None
        for record, volume in zip(patient_records, volumes, strict=True):
            rows += _write_volume(out, record, volume, center, settings)
            done += 1
            on_progress("volumes cut into slices", done, num_volumes)
    return rows


def _heart_center(volumes: Iterable[Volume]) -> tuple[float, float] | None:
    """Middle (x, y), in mm, of the box around all masks; None where all are empty."""
    edges = []
    for volume in volumes:
        if volume.mask is not None and volume.mask.any():
            occupied = np.argwhere(volume.mask.any(axis=2))  # (N, 2)
            edges.append(occupied.min(axis=0) * volume.spacing[:2])
            edges.append((occupied.max(axis=0) + 1) * volume.spacing[:2])
    if not edges:
        return None
    x, y = (np.min(edges, axis=0) + np.max(edges, axis=0)) / 2
    return float(x), float(y)


def _write_volume(
    out: Path,
    record: Record,
    volume: Volume,
    center: tuple[float, float] | None,
    settings: PrepareConfig,
) -> list[TableRow]:
    num_slices = volume.image.shape[2]
    indices = range(num_slices) if settings.slices == "all" else [round((num_slices - 1) / 2)]
    rows: list[TableRow] = []
    for index in indices:
        name = f"{record.id}_s{index:02d}"
        try:
            cropped = crop_slice(
                volume.image[:, :, index],
                None if volume.mask is None else volume.mask[:, :, index],
                spacing=volume.spacing[:2],
                settings=settings,
                center=center,
            )
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        image, mask = f"{record.split}/image/{name}.png", ""
        _write_png(out / image, cropped.image)
        if cropped.mask is not None:
            mask = f"{record.split}/mask/{name}_mask.png"
            _write_png(out / mask, cropped.mask)
        about = (name, image, mask, record.split, record.patient, record.phase, record.group, index)
        spacing = (*cropped.spacing, volume.spacing[2])
        rows.append((*about, *(f"{size:.6g}" for size in spacing), *cropped.corner))
    return rows


def _write_png(path: Path, pixels: np.ndarray) -> None:
    import cv2

    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _write_tables(
    out: Path, rows: Sequence[TableRow], split_of: Mapping[str, str], settings: PrepareConfig
) -> None:
    write_table(out / "records.csv", [COLUMNS, *rows])
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for patient, split in sorted(split_of.items()):
        splits[split].append(patient)
    made_by = {"settings": to_dict(settings), "acdc_seg": __version__}
    for name, content in (("splits.json", splits), ("prepare.json", made_by)):
        write_text(out / name, json.dumps(content, indent=2) + "\n")
