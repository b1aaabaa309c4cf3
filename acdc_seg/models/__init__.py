"""Networks by name."""

from collections.abc import Callable
from typing import Any

from acdc_seg.config import Section, build_model_section
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.deeplab import DeepLabDRN
from acdc_seg.models.unet import UNet

MODELS: dict[str, Callable[..., SegmentationModel]] = {
    "unet": UNet,
    "deeplab_drn": DeepLabDRN,
}


def build_model(name: str, in_channels: int, num_classes: int, **options: Any) -> SegmentationModel:
    """A network with fresh weights, mapping images `(B, in_channels, H, W)` to logits `(B, num_classes, H, W)`.

    Args:
        name: Key of `MODELS`.
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 is a foreground score.
        options: Settings of the network's config section; those left out take its defaults.

    Raises:
        ConfigError: Unknown network or option, or a value out of range.
    """
    return model_of(build_model_section(name, options), in_channels, num_classes)


def model_of(section: Section, in_channels: int, num_classes: int) -> SegmentationModel:
    """The network of a config's `model` section; see `build_model`."""
    options = section.model_dump()
    return MODELS[options.pop("name")](in_channels, num_classes, **options)
