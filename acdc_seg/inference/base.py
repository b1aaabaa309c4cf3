"""Predictor: images in, class probabilities out, whatever computes them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acdc_seg.config import ClassesConfig, Config, DataConfig

if TYPE_CHECKING:
    import torch

    from acdc_seg.runs.trained_on import TrainedOn


@dataclass(frozen=True)
class Origin:
    """The checkpoint file that a model was loaded from, its SHA-256, and what trained it."""

    path: Path
    sha256: str
    trained_on: "tuple[TrainedOn, ...]"


class Predictor(ABC):
    """Maps images to class probabilities.

    Attributes:
        config: Settings that the model was trained with; of an ensemble, those of its first member.
        classes: The classes of the probabilities, in order.
        channels: Channels to read image files with: 1 gray, 3 RGB.
        origins: The checkpoints of all models in it.
    """

    config: Config
    classes: ClassesConfig
    channels: int
    origins: tuple[Origin, ...] = ()

    @abstractmethod
    def predict_batch(self, images: "torch.Tensor") -> "torch.Tensor":
        """Probabilities float32 `(B, K, H, W)` of images `(B, C, H, W)`; 8-bit images are scaled to
        0..1.
        """

    def predict_arrays(self, images: np.ndarray) -> Any:
        """Probabilities `(B, K, H, W)` of images float32 `(B, C, H, W)`: a tensor on the device of
        the model, or an array where no PyTorch computes them.
        """
        import torch

        return self.predict_batch(torch.from_numpy(images))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Probabilities float32 `(K, H, W)` of one image `(H, W)` or `(C, H, W)`, uint8 or float.

        An array does not tell its pixel size: resample it to that of the training images
        (`config.prepare.spacing` for volumes) first.

        Raises:
            DataError: Another shape or type, NaN or infinity, or a color image for a gray model.
        """
        from acdc_seg.inference.arrays import as_batch

        return self.predict_batch(as_batch(image))[0].cpu().numpy()

    def data_settings(self) -> list[DataConfig]:
        """The settings of the data of every network in it, as far as it has some."""
        return []

    def change_data(self, changes: Mapping[str, Any]) -> None:  # noqa: B027
        """Changes these settings in every network, once, before anything is predicted."""

    def describe(self) -> dict[str, Any]:
        """Its part of the protocol in metrics.json: members, test-time augmentation, largest
        regions.
        """
        return {"members": [], "tta": "none", "keep_largest": []}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.classes.names)})"
