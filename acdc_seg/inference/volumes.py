"""Label maps of whole volumes on the scanner's grid, slice by slice.

Nobody has to know where the heart is. Slices are resampled and stretched as they were for training
on whole slices (`crop_slice` with `prepare.crop=none`), and normalized as a whole. A model that
windows trained first looks through windows all over one frame; then every slice of the exam is
predicted in one window around the heart that was found. That is faster, and better too: networks
with instance normalization want windows of the size that trained them. Probabilities are brought
back to the scanner's pixels before the most probable class is taken.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage, special

from acdc_seg.data.grids import SliceGrid, make_grid
from acdc_seg.data.normalization import normalize
from acdc_seg.data.slicing import stretch
from acdc_seg.errors import DataError
from acdc_seg.inference.base import Predictor

CONNECTED = np.ones((3, 3, 3), bool)
"""Voxels that touch at a corner are connected: slices are far apart, and hearts move between."""
LEAST_ML = 15.0
"""Volume below which what was found is taken for something else than a heart, wall and cavities
counted: that of a small child's."""
MARGIN = 8
"""Pixels between the heart and the edge of the window that it is predicted in, for it moves."""


@dataclass(frozen=True)
class Segmentation:
    """Labels of one frame `(X, Y, Z)` uint8, values of the classes in files.

    `probabilities` float32 `(K, X, Y, Z)` and their `uncertainty` float32 `(X, Y, Z)`, the entropy
    in 0..1, are None unless they were asked for.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None


class VolumePredictor:
    """Segments volumes with a model or an ensemble of slices.

    The settings of the models in it are changed for that, so that it is not to be used elsewhere.

    Args:
        predictor: It will see windows of whole slices, at `config.prepare.spacing`.
        keep_largest: Leave the largest connected region of every class, in three dimensions; what
            is removed becomes background.
        batch_size: Slices at a time.
    """

    def __init__(
        self, predictor: Predictor, *, keep_largest: bool = True, batch_size: int = 8
    ) -> None:
        self.predictor, self.keep_largest, self.batch_size = predictor, keep_largest, batch_size
        config = predictor.config
        is_whole = config.prepare.crop == "none"
        self.window = config.data.window or (None if is_whole else config.prepare.size)
        rules = {(each.normalize, each.mean, each.std) for each in predictor.data_settings()}
        # slices are normalized as a whole, before windows are cut, where all models agree how
        self.data = config.data if len(rules) == 1 else None
        changes: dict[str, Any] = {"size": self.window, "fit": "crop" if self.window else "pad"}
        if self.data:
            changes["normalize"] = "none"
        predictor.change_data(changes)
        self.values = np.array(predictor.classes.values, np.uint8)
        self.settings = config.prepare.model_copy(update={"crop": "none"})

    def __call__(
        self,
        image: np.ndarray,
        spacing: Sequence[float],
        *,
        center: tuple[float, float] | None = None,
        probabilities: bool = False,
        uncertainty: bool = False,
    ) -> Segmentation:
        """Segments one frame.

        Args:
            image: Grey values `(X, Y, Z)`, slices along the last axis.
            spacing: Voxel size (x, y, z) in mm.
            center: Middle of the heart (x, y) in mm from the corner of the slices, see `locate`;
                None predicts windows all over them.
            probabilities: Keep them, on the grid of the volume.
            uncertainty: Keep it.

        Raises:
            DataError: Not a volume, or pixels of an absurd size.
        """
        grid = self._grid(image, spacing)
        window = self._window_at(grid, center)
        labels = np.empty(image.shape, np.uint8)
        kept = np.empty((len(self.values), *image.shape), np.float32) if probabilities else None
        entropy = np.empty(image.shape, np.float32) if uncertainty else None
        for places, outputs in self._predict(image, grid, window):
            output = _as_array(window.restore_probabilities(outputs))
            labels[:, :, places] = output.argmax(axis=1).transpose(1, 2, 0)
            if kept is not None:
                kept[:, :, :, places] = output.transpose(1, 2, 3, 0)
            if entropy is not None:
                entropy[:, :, places] = _entropy(output).transpose(1, 2, 0)
        if self.keep_largest:
            labels = keep_largest_regions(labels)
        return Segmentation(self.values[labels], kept, entropy)

    def locate(self, image: np.ndarray, spacing: Sequence[float]) -> tuple[float, float] | None:
        """The middle (x, y) in mm of the box around the heart in a frame, by windows all over it.

        None where the model sees whole slices anyway, where there is no heart of `LEAST_ML`, or
        where it does not fit into a window.

        Args:
            image: Grey values `(X, Y, Z)`.
            spacing: (x, y, z) in mm.
        """
        grid = self._grid(image, spacing)
        if self.window is None or self._window_at(grid, (0.0, 0.0)) == grid:
            return None
        found = [_as_array(outputs.argmax(1)) for _, outputs in self._predict(image, grid, grid)]
        heart = keep_largest_regions((np.concatenate(found) > 0).astype(np.uint8))  # (Z, H, W)
        pixel_size = grid.pixel_size
        if heart.sum() * math.prod(pixel_size) * spacing[2] < 1000 * LEAST_ML:
            return None
        places = np.argwhere(heart.any(axis=0))
        first, last = places.min(axis=0), places.max(axis=0) + 1
        if (last - first > np.array(self.window) - 2 * MARGIN).any():
            return None
        x, y = (first + last) / 2 * pixel_size
        return float(x), float(y)

    def _grid(self, image: np.ndarray, spacing: Sequence[float]) -> SliceGrid:
        """Whole slices at the pixel size of the model."""
        if image.ndim != 3 or not image.size:
            raise DataError(f"a volume of shape {image.shape}, expected (X, Y, Z)")
        pixel = float(spacing[0]), float(spacing[1])
        return make_grid((image.shape[0], image.shape[1]), pixel, self.settings)

    def _window_at(self, grid: SliceGrid, center: tuple[float, float] | None) -> SliceGrid:
        """The window around a point in mm that is inside of the slice, or the whole slice."""
        if center is None or self.window is None:
            return grid
        size = np.minimum(self.window, grid.resampled)
        middle = np.array(center) / grid.pixel_size
        corner = np.clip(np.round(middle - size / 2), 0, np.array(grid.resampled) - size)
        return replace(
            grid, corner=(int(corner[0]), int(corner[1])), size=(int(size[0]), int(size[1]))
        )

    def _predict(
        self, image: np.ndarray, grid: SliceGrid, window: SliceGrid
    ) -> Iterator[tuple[slice, Any]]:
        """Probabilities `(B, K, H, W)` of the window in a few slices at a time, see
        `Predictor.predict_arrays`.
        """
        nearest = self.settings.interpolation == "nearest"
        (top, left), (height, width) = window.corner, window.size
        for start in range(0, image.shape[2], self.batch_size):
            places = slice(start, min(start + self.batch_size, image.shape[2]))
            slices = [
                stretch(grid.cut_image(image[:, :, index], nearest=nearest))
                for index in range(places.start, places.stop)
            ]
            batch = np.stack(slices)[:, None].astype(np.float32) / 255
            batch = normalize(batch, self.data) if self.data else batch
            part = batch[..., top : top + height, left : left + width]
            yield places, self.predictor.predict_arrays(np.ascontiguousarray(part))


def keep_largest_regions(labels: np.ndarray) -> np.ndarray:
    """Labels `(X, Y, Z)` with one connected region of every class but 0, the largest."""
    kept = labels.copy()
    for index in np.unique(labels[labels > 0]):
        structure = labels == index
        box = ndimage.find_objects(structure.astype(np.uint8))[0]
        regions, count = ndimage.label(structure[box], CONNECTED)
        if count > 1:
            largest = 1 + np.bincount(regions.ravel())[1:].argmax()
            kept[box][(regions > 0) & (regions != largest)] = 0
    return kept


def _as_array(values: Any) -> np.ndarray:
    """A tensor of any device, or an array, as an array."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy over the classes `(B, X, Y)` of `(B, K, X, Y)`, as a part of the largest possible."""
    sums: np.ndarray = special.entr(probabilities).sum(axis=1)
    return sums / np.log(probabilities.shape[1])
