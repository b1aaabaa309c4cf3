"""Networks by name. A new one is a file here, a section in `config/models.py` and a row below."""

from collections.abc import Callable
from functools import partial
from typing import Any

from acdc_seg.config import EncoderConfig, Section, build_model_section
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.deeplab import DeepLabV3Plus
from acdc_seg.models.deeplabv3 import DeepLabV3ResNet50
from acdc_seg.models.effunet import EffUNet
from acdc_seg.models.enet import ENet
from acdc_seg.models.esnet import ESNet
from acdc_seg.models.fcn import FCN
from acdc_seg.models.monai_nets import BasicUNet, DynUNet, SwinUNet
from acdc_seg.models.resnet34_unet import ResNet34UNet
from acdc_seg.models.segnet import SegNet
from acdc_seg.models.setr import SETR
from acdc_seg.models.unet import UNet

MODELS: dict[str, Callable[..., SegmentationModel]] = {
    "unet": UNet,
    "deeplab_drn": partial(DeepLabV3Plus, backbone="drn", output_stride=8),
    "fcn8s": partial(FCN, stride=8),
    "fcn16s": partial(FCN, stride=16),
    "fcn32s": partial(FCN, stride=32),
    "segnet": SegNet,
    "effunet": EffUNet,
    "deeplab_resnet101": partial(DeepLabV3Plus, backbone="resnet101"),
    "deeplab_mobilenet": partial(DeepLabV3Plus, backbone="mobilenet"),
    "deeplab_xception": partial(DeepLabV3Plus, backbone="xception"),
    "deeplabv3_resnet50": DeepLabV3ResNet50,
    "resnet34_unet": ResNet34UNet,
    "enet": ENet,
    "esnet": ESNet,
    "swin_unet": SwinUNet,
    "setr": SETR,
    "basic_unet": BasicUNet,
    "dynunet": DynUNet,
}


def create_model(
    name: str, in_channels: int, num_classes: int, **options: Any
) -> SegmentationModel:
    """A network with fresh weights: images `(B, in_channels, H, W)` to `(B, num_classes, H, W)`.

    Args:
        name: Key of `MODELS`.
        in_channels: Channels of the image.
        num_classes: Channels of the logits, the background's first.
        options: Settings of the network's config section; those left out take its defaults.

    Raises:
        ConfigError: Unknown network or option, or a value out of range.
    """
    return build_model(build_model_section(name, options), in_channels, num_classes)


def build_model(section: Section, in_channels: int, num_classes: int) -> SegmentationModel:
    """The network of a config's `model` section, with fresh weights; see `create_model`."""
    options = section.model_dump(exclude=set(EncoderConfig.model_fields))
    return MODELS[options.pop("name")](in_channels, num_classes, **options)
