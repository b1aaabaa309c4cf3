"""Predictors: image in, class probabilities out.

A model, an average of models, and post-processing of either all look the same to callers.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers import SlidingWindowInferer
from torch import nn

from acdc_seg.config import ClassesConfig, Config, DataConfig
from acdc_seg.data.geometry import place
from acdc_seg.data.transforms import preprocess
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.inference.arrays import to_gray
from acdc_seg.inference.base import Origin as Origin
from acdc_seg.inference.base import Predictor as Predictor
from acdc_seg.inference.windows import OVERLAP, SIGMA, WINDOWS_AT_ONCE
from acdc_seg.models.base import to_memory_format
from acdc_seg.runtime.device import DTYPES


class ModelPredictor(Predictor):
    """A network with its preprocessing: fit the image to its size, normalize, network, and back to
    the image's size; window by window where windows trained it.
    """

    def __init__(
        self, model: nn.Module, config: Config, *, device: torch.device, precision: str
    ) -> None:
        self.model: Any = to_memory_format(model.to(device))
        self.config, self.classes, self.channels = config, config.classes, config.data.channels
        self.device, self.precision = device, precision

    @torch.inference_mode()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores float32 `(B, K, H, W)` at the images' size, on the predictor's device."""
        self.model.eval()
        data, size = self.config.data, (images.shape[-2], images.shape[-1])
        inputs = preprocess(self._fit_channels(images).to(self.device), data)
        if data.window in (None, inputs.shape[-2:]):
            logits = self._forward(inputs)
        else:
            slide = SlidingWindowInferer(
                data.window, WINDOWS_AT_ONCE, OVERLAP, mode="gaussian", sigma_scale=SIGMA
            )
            logits = cast(torch.Tensor, slide(inputs, self._forward))
        return place(size, data).undo(logits, size)

    def _forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits float32 of what the network sees."""
        if torch.compiler.is_exporting():  # files of torch.export cannot hold an autocast
            return self.model(inputs).float()
        is_low = self.precision != "fp32"
        with torch.autocast(self.device.type, DTYPES[self.precision], enabled=is_low):
            return self.model(inputs).float()

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        """The softmax of `logits`; the sigmoids, divided by their sum, where `bce` trained them."""
        logits = self.logits(images)
        if self.config.loss.name == "bce":
            logits = F.logsigmoid(logits)
        return logits.softmax(dim=1)

    def data_settings(self) -> list[DataConfig]:
        """Those of the network."""
        return [self.config.data]

    def change_data(self, changes: Mapping[str, Any]) -> None:
        """In the network's config."""
        data = self.config.data.model_copy(update=changes)
        self.config = self.config.model_copy(update={"data": data})

    def describe(self) -> dict[str, Any]:
        """Its checkpoint and precision."""
        members = [
            {
                "path": str(origin.path),
                "sha256": origin.sha256,
                "weight": 1.0,
                "tta": "none",
                "precision": self.precision,
            }
            for origin in self.origins
        ]
        return {**super().describe(), "members": members}

    def __repr__(self) -> str:
        return f"ModelPredictor({self.config.model.name}, {self.device}, {self.precision})"

    def _fit_channels(self, images: torch.Tensor) -> torch.Tensor:
        num_channels = images.shape[1]
        if num_channels == self.channels:
            return images
        if num_channels == 1:
            return images.expand(-1, self.channels, -1, -1)
        raise DataError(
            f"the image has {num_channels} channels, the model takes {self.channels}; convert the "
            f"image to {self.channels} channel(s)"
        )


class Ensemble(Predictor):
    """Soft voting: the weighted mean of the members' probabilities, added up member by member.

    Raises:
        ConfigError: No members, members of different classes, or weights that do not fit.
    """

    def __init__(
        self, members: Sequence[Predictor], *, weights: Sequence[float] | None = None
    ) -> None:
        if not members:
            raise ConfigError("an ensemble needs at least one member")
        for member in members[1:]:
            check_classes(member.classes, members[0].classes)
        self.members = list(members)
        self.weights = _normalized([1.0] * len(members) if weights is None else weights, members)
        self.config, self.classes = members[0].config, members[0].classes
        self.channels = max(member.channels for member in members)
        self.origins = tuple(origin for member in members for origin in member.origins)

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        """The weighted mean over the members; a gray member takes the luma of RGB images."""
        parts = (
            member.predict_batch(to_gray(images) if member.channels == 1 else images) * weight
            for member, weight in zip(self.members, self.weights, strict=True)
        )
        return reduce(lambda total, part: total + part.to(total.device), parts)

    def data_settings(self) -> list[DataConfig]:
        """Those of all members."""
        return [data for member in self.members for data in member.data_settings()]

    def change_data(self, changes: Mapping[str, Any]) -> None:
        """In every member."""
        for member in self.members:
            member.change_data(changes)

    def describe(self) -> dict[str, Any]:
        """The checkpoints of all members, with their weights."""
        members = []
        for member, weight in zip(self.members, self.weights, strict=True):
            part = member.describe()
            for model in part["members"]:
                tta = model["tta"] if part["tta"] == "none" else part["tta"]
                members.append({**model, "weight": model["weight"] * weight, "tta": tta})
        return {**super().describe(), "members": members}

    def __repr__(self) -> str:
        weights = ", ".join(f"{weight:.3g}" for weight in self.weights)
        return f"Ensemble({self.members}, weights=[{weights}])"


class TTA(Predictor):
    """Test-time augmentation: the mean over flipped and rotated views, each mapped back.

    Args:
        predictor: A model or an ensemble.
        views: `flips` takes 4 views (none, horizontal, vertical, both), `dihedral` all 8 with
            rotations by 90 degrees.
    """

    def __init__(self, predictor: Predictor, *, views: str = "dihedral") -> None:
        if views not in TTA_VIEWS:
            raise ConfigError(
                f"test-time augmentation '{views}' is unknown; choose from: {', '.join(TTA_VIEWS)}"
            )
        self.predictor, self.views = predictor, views
        self.config, self.classes = predictor.config, predictor.classes
        self.channels, self.origins = predictor.channels, predictor.origins

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        """The mean over the views."""
        views = TTA_VIEWS[self.views]
        return reduce(torch.add, (self._predict_view(images, *view) for view in views)) / len(views)

    def _predict_view(self, images: torch.Tensor, quarter_turns: int, flip: bool) -> torch.Tensor:
        view = _rotate(images.flip(-1) if flip else images, quarter_turns)
        probabilities = self.predictor.predict_batch(view)
        probabilities = _rotate(probabilities, -quarter_turns)
        return probabilities.flip(-1) if flip else probabilities

    def data_settings(self) -> list[DataConfig]:
        """Those of the predictor."""
        return self.predictor.data_settings()

    def change_data(self, changes: Mapping[str, Any]) -> None:
        """In the predictor."""
        self.predictor.change_data(changes)

    def describe(self) -> dict[str, Any]:
        """The predictor's, with the views."""
        return {**self.predictor.describe(), "tta": self.views}

    def __repr__(self) -> str:
        return f"TTA({self.predictor}, views={self.views!r})"


TTA_VIEWS: dict[str, tuple[tuple[int, bool], ...]] = {
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "dihedral": tuple(itertools.product(range(4), (False, True))),
}
"""Quarter turns and horizontal flip of each view."""


def check_classes(classes: ClassesConfig, expected: ClassesConfig) -> None:
    """Raises ConfigError unless both name the same classes in the same order."""
    if classes.names != expected.names:
        raise ConfigError(
            f"the models do not share their classes: {', '.join(classes.names)} against "
            f"{', '.join(expected.names)}; "
            "an ensemble needs members of the same classes in the same order"
        )


def _rotate(images: torch.Tensor, quarter_turns: int) -> torch.Tensor:
    """`torch.rot90` of the last two axes, by operations that ONNX has."""
    if quarter_turns % 2:
        images = images.flip(-1).transpose(-2, -1)
    return images.flip((-2, -1)) if quarter_turns % 4 > 1 else images


def _normalized(weights: Sequence[float], members: Sequence[Predictor]) -> list[float]:
    if len(weights) != len(members):
        raise ConfigError(
            f"{len(weights)} weights for {len(members)} members; give one weight each"
        )
    if not all(np.isfinite(weights)) or min(weights) < 0 or sum(weights) == 0:
        raise ConfigError(f"weights {list(weights)} must be numbers from 0 up, not all 0")
    return [weight / sum(weights) for weight in weights]
