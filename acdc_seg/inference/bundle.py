"""VolumeInferer: what acdc-predict does with a network, as an inferer of MONAI bundles."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import nn

from acdc_seg.config import from_dict
from acdc_seg.data.orientation import find_spacing
from acdc_seg.errors import DataError
from acdc_seg.inference.api import predict_array
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.inference.volumes import VolumePredictor


class VolumeInferer(Inferer):
    """Segments volumes and cines on their own grid, with the labels of `acdc-predict`.

    Everything between the file and its label map is in here, since it depends on the whole exam:
    orientation, resampling of slices, gray values, where the heart is, windows, the way back, and
    the largest regions.

    Args:
        settings: Sections `data`, `prepare`, `classes` and `loss` of the config of the network.
        keep_largest: Leave the largest connected region of every class.
        batch_size: Slices at a time.
    """

    def __init__(
        self, settings: Mapping[str, Any], *, keep_largest: bool = True, batch_size: int = 8
    ) -> None:
        super().__init__()
        self.config = from_dict(settings, source="settings of the inferer")
        self.keep_largest, self.batch_size = keep_largest, batch_size

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Labels `(B, C, X, Y, Z)` of gray values of that shape, with their meta data.

        Args:
            inputs: A MetaTensor as `LoadImaged` reads it; channels are the frames of a cine.
            network: Maps slices to logits.
            args: Ignored, like `kwargs`.

        Raises:
            DataError: No MetaTensor of volumes, or a header that contradicts itself.
        """
        if not isinstance(inputs, MetaTensor) or inputs.ndim != 5:
            raise DataError(
                f"images of shape {tuple(inputs.shape)}, expected a MetaTensor (B, C, X, Y, Z); "
                "read NIfTI files with LoadImaged and EnsureChannelFirstd"
            )
        model = ModelPredictor(
            cast(nn.Module, network), self.config, device=inputs.device, precision="fp32"
        )
        predictor = VolumePredictor(
            model, keep_largest=self.keep_largest, batch_size=self.batch_size
        )
        maps = [
            _segment(cast(MetaTensor, inputs[index]), predictor) for index in range(len(inputs))
        ]
        labels: torch.Tensor = convert_to_dst_type(torch.from_numpy(np.stack(maps)), inputs)[0]
        return labels


def _segment(image: MetaTensor, predictor: VolumePredictor) -> np.ndarray:
    """Labels `(C, X, Y, Z)` of one image."""
    affine = image.affine.cpu().numpy().astype(float)
    zooms = image.meta.get("pixdim")  # of the header of a NIfTI file
    given = np.linalg.norm(affine[:3, :3], axis=0) if zooms is None else np.asarray(zooms)[1:4]
    sizes = find_spacing(affine, [float(size) for size in given])
    frames = np.moveaxis(image.cpu().numpy(), 0, -1)  # (X, Y, Z, C)
    labels = predict_array(frames.astype(np.float32), affine, sizes, predictor)
    return np.moveaxis(labels, -1, 0)
