"""Label maps of whole volumes on the scanner's grid, slice by slice.

Slices are given to the network as they were when it was trained on whole slices (`crop_slice` with
`prepare.crop=none`): at its pixel size, with nothing cut away, so that nobody has to know where the
heart is. Probabilities are brought back to the scanner's pixels before the most probable class is
taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from acdc_seg.data.grids import SliceGrid, make_grid
from acdc_seg.data.slicing import stretch
from acdc_seg.errors import DataError
from acdc_seg.inference.postprocess import KeepLargest
from acdc_seg.inference.predictors import TTA, Ensemble, ModelPredictor, Predictor
from acdc_seg.inference.stream import to_labels

CONNECTED = np.ones((3, 3, 3), bool)
"""Voxels that touch at a corner are connected: slices are far apart, and hearts move between."""


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

    Args:
        predictor: It will see whole slices, at `config.prepare.spacing`.
        keep_largest: Leave the largest connected region of every class, in three dimensions; what
            is removed becomes background.
        batch_size: Slices at a time.
    """

    def __init__(
        self, predictor: Predictor, *, keep_largest: bool = True, batch_size: int = 8
    ) -> None:
        self.predictor, self.keep_largest, self.batch_size = predictor, keep_largest, batch_size
        for model in find_models(predictor):
            data = model.config.data.model_copy(update={"size": None, "fit": "pad"})
            model.config = model.config.model_copy(update={"data": data})
        self.values = np.array(predictor.classes.values, np.uint8)
        self.settings = predictor.config.prepare.model_copy(update={"crop": "none"})

    def __call__(
        self,
        image: np.ndarray,
        spacing: Sequence[float],
        *,
        probabilities: bool = False,
        uncertainty: bool = False,
    ) -> Segmentation:
        """Segments one frame.

        Args:
            image: Grey values `(X, Y, Z)`, slices along the last axis.
            spacing: Voxel size (x, y, z) in mm.
            probabilities: Keep them, on the grid of the volume.
            uncertainty: Keep it.

        Raises:
            DataError: Not a volume, or pixels of an absurd size.
        """
        if image.ndim != 3 or not image.size:
            raise DataError(f"a volume of shape {image.shape}, expected (X, Y, Z)")
        native, pixel = (image.shape[0], image.shape[1]), (float(spacing[0]), float(spacing[1]))
        grid = make_grid(native, pixel, self.settings)
        labels = np.empty(image.shape, np.uint8)
        kept = np.empty((len(self.values), *image.shape), np.float32) if probabilities else None
        entropy = np.empty(image.shape, np.float32) if uncertainty else None
        for places, output in self._predict(image, grid):
            labels[:, :, places] = to_labels(output).transpose(1, 2, 0)
            if kept is not None:
                kept[:, :, :, places] = output.permute(1, 2, 3, 0).numpy()
            if entropy is not None:
                entropy[:, :, places] = _entropy(output).permute(1, 2, 0).numpy()
        if self.keep_largest:
            labels = keep_largest_regions(labels)
        return Segmentation(self.values[labels], kept, entropy)

    def _predict(self, image: np.ndarray, grid: SliceGrid) -> Iterator[tuple[slice, torch.Tensor]]:
        """Probabilities `(B, K, X, Y)` of a few slices at a time."""
        nearest = self.settings.interpolation == "nearest"
        for start in range(0, image.shape[2], self.batch_size):
            places = slice(start, min(start + self.batch_size, image.shape[2]))
            windows = [
                stretch(grid.cut_image(image[:, :, index], nearest=nearest))
                for index in range(places.start, places.stop)
            ]
            batch = torch.from_numpy(np.stack(windows))[:, None].float() / 255
            output = self.predictor.predict_batch(batch)
            yield places, grid.restore_probabilities(output).cpu()


def find_models(predictor: Predictor) -> Iterator[ModelPredictor]:
    """The models in a predictor."""
    if isinstance(predictor, ModelPredictor):
        yield predictor
    elif isinstance(predictor, Ensemble):
        for member in predictor.members:
            yield from find_models(member)
    elif isinstance(predictor, TTA | KeepLargest):
        yield from find_models(predictor.predictor)


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


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy over the classes `(B, X, Y)` of `(B, K, X, Y)`, as a part of the largest possible."""
    logs = torch.special.entr(probabilities).sum(1)
    return logs / np.log(probabilities.shape[1])
