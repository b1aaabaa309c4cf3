"""Options of the networks: one section per network, chosen by `name`.

The first line of a section's docstring is the network's description in `acdc-models`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args

from pydantic import Field, model_validator

from acdc_seg.config.section import Count, Probability, Section
from acdc_seg.errors import did_you_mean


class UNetConfig(Section):
    """U-Net (Ronneberger 2015)."""

    shorthands: ClassVar[tuple[str, ...]] = ("preset",)
    name: Literal["unet"] = "unet"
    depth: Annotated[int, Field(ge=1, le=6)] = 5
    """Number of resolution levels; 5 means four times halved."""
    base_channels: Count = 32
    """Channels of the first level; every level doubles them."""
    upsample: Literal["transpose", "bilinear", "bilinear_conv1x1"] = "transpose"
    """Upsampling in the decoder."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation after every 3x3 convolution."""
    conv_bias: bool = False
    """Give the 3x3 convolutions a bias."""
    dropout: Probability = 0.0
    """Dropout between the two convolutions of the deepest level."""

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "preset" not in values:
            return values
        options = dict(values)
        preset = str(options.pop("preset"))
        if preset not in UNET_PRESETS:
            raise ValueError(f"unknown preset '{preset}': {did_you_mean(preset, UNET_PRESETS)}")
        return UNET_PRESETS[preset] | options


UNET_PRESETS: dict[str, dict[str, Any]] = {
    "cityscapes": {
        "depth": 5,
        "base_channels": 32,
        "upsample": "transpose",
        "norm": "batch",
        "conv_bias": False,
    },
    "pets": {
        "depth": 5,
        "base_channels": 64,
        "upsample": "bilinear_conv1x1",
        "norm": "batch",
        "conv_bias": True,
    },
}


class EncoderConfig(Section):
    """A network whose encoder has public ImageNet weights."""

    pretrained: str | None = None
    """First weights of the encoder: `imagenet` (downloaded once), or a checkpoint file; null draws
    them at random.
    """
    freeze_encoder: bool | Count = False
    """Train only the decoder: true for the whole training, or a number of epochs."""

    @model_validator(mode="after")
    def _check_frozen(self) -> Self:
        if self.freeze_encoder and self.pretrained is None:
            raise ValueError("freeze_encoder freezes random weights: set pretrained too")
        return self

    def is_frozen(self, epoch: int) -> bool:
        """Whether the encoder is frozen in this epoch, counted from 0."""
        return self.freeze_encoder is True or epoch < self.freeze_encoder


class DeepLabDRNConfig(EncoderConfig):
    """DeepLabV3+ (Chen 2018) on DRN-D-54 (Yu 2017)."""

    name: Literal["deeplab_drn"] = "deeplab_drn"
    dropout: Probability = 0.5
    """Dropout after the ASPP and after the decoder's first convolution."""


class FCNConfig(EncoderConfig):
    """FCN (Long 2015) on VGG16."""

    name: Literal["fcn8s", "fcn16s", "fcn32s"] = "fcn8s"
    fc_channels: Count = 4096
    """Channels of the two fully connected layers that became convolutions."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation after every convolution; VGG16 as published has none."""
    dropout: Probability = 0.5
    """Dropout after each of those two layers."""


class SegNetConfig(EncoderConfig):
    """SegNet (Badrinarayanan 2017) on VGG16-BN."""

    name: Literal["segnet"] = "segnet"
    dropout: Probability = 0.0
    """Dropout after the three deepest levels of encoder and decoder (Bayesian SegNet has 0.5)."""


class EffUNetConfig(EncoderConfig):
    """Eff-UNet (Baheti 2020) on EfficientNet (Tan 2019)."""

    name: Literal["effunet"] = "effunet"
    variant: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"] = "b3"
    """Size of the encoder."""
    concat_input: bool = True
    """Concatenate the image before the last decoder block."""
    drop_connect: Probability = 0.2
    """Probability of skipping the last residual block in training; it rises linearly with depth."""


class DeepLabOptions(Section):
    """Options of DeepLabV3+ on a backbone of variable stride."""

    output_stride: Literal[8, 16] = 16
    """Image size by that of the encoder's last map."""
    dropout: Probability = 0.5
    """Dropout after the ASPP and after the decoder's first convolution."""


class DeepLabResNet101Config(EncoderConfig, DeepLabOptions):
    """DeepLabV3+ (Chen 2018) on ResNet-101 (He 2016)."""

    name: Literal["deeplab_resnet101"] = "deeplab_resnet101"


class DeepLabMobileNetConfig(EncoderConfig, DeepLabOptions):
    """DeepLabV3+ (Chen 2018) on MobileNetV2 (Sandler 2018)."""

    name: Literal["deeplab_mobilenet"] = "deeplab_mobilenet"


class DeepLabXceptionConfig(DeepLabOptions):
    """DeepLabV3+ (Chen 2018) on Xception-65 (Chollet 2017)."""

    name: Literal["deeplab_xception"] = "deeplab_xception"


class DeepLabV3Config(EncoderConfig):
    """DeepLabV3 (Chen 2017) on ResNet-50 (He 2016)."""

    name: Literal["deeplabv3_resnet50"] = "deeplabv3_resnet50"
    dropout: Probability = 0.5
    """Dropout after the ASPP."""


class ResNet34UNetConfig(EncoderConfig):
    """U-Net (Ronneberger 2015) on ResNet-34 (He 2016)."""

    name: Literal["resnet34_unet"] = "resnet34_unet"
    shortcuts: Literal["always", "resnet"] = "always"
    """`resnet`: ResNet-34 as published, which takes ImageNet weights; `always`, as in the reference
    study: a 1x1 convolution in the shortcut of every residual block, no ReLU after the sum.
    """

    @model_validator(mode="after")
    def _check_shortcuts(self) -> Self:
        if self.pretrained == "imagenet" and self.shortcuts == "always":
            raise ValueError(
                "pretrained=imagenet is for ResNet-34 as published: set shortcuts to resnet"
            )
        return self


class ENetConfig(Section):
    """ENet (Paszke 2016)."""

    name: Literal["enet"] = "enet"


class ESNetConfig(Section):
    """ESNet (Wang 2019)."""

    name: Literal["esnet"] = "esnet"


class SwinUNetConfig(Section):
    """Swin UNETR (Hatamizadeh 2022) of MONAI."""

    name: Literal["swin_unet"] = "swin_unet"
    feature_size: Annotated[int, Field(ge=12, multiple_of=12)] = 24
    """Channels of the first level."""


class SETRConfig(Section):
    """SETR-PUP (Zheng 2021) on ViT (Dosovitskiy 2021)."""

    name: Literal["setr"] = "setr"
    patch_size: Literal[4, 8, 16] = 8
    """Height and width in pixels of a token."""
    hidden_size: Count = 384
    """Channels of a token; a multiple of `num_heads`."""
    num_layers: Count = 8
    """Transformer blocks."""
    num_heads: Count = 6
    """Attention heads per block."""
    dropout: Probability = 0.0
    """Dropout inside the transformer blocks."""

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        return self


class BasicUNetConfig(Section):
    """BasicUNet (Falk 2019) of MONAI."""

    name: Literal["basic_unet"] = "basic_unet"
    dropout: Probability = 0.0
    """Dropout after every convolution."""


class DynUNetConfig(Section):
    """DynUNet (nnU-Net, Isensee 2021) of MONAI."""

    name: Literal["dynunet"] = "dynunet"
    base_channels: Count = 32
    """Channels of the first level; every level doubles them, up to 512."""
    res_block: bool = True
    """Residual blocks instead of plain ones."""


ModelConfig = Annotated[
    Union[
        UNetConfig,
        DeepLabDRNConfig,
        FCNConfig,
        SegNetConfig,
        EffUNetConfig,
        DeepLabResNet101Config,
        DeepLabMobileNetConfig,
        DeepLabXceptionConfig,
        DeepLabV3Config,
        ResNet34UNetConfig,
        ENetConfig,
        ESNetConfig,
        SwinUNetConfig,
        SETRConfig,
        BasicUNetConfig,
        DynUNetConfig,
    ],
    Field(discriminator="name"),
]
MODEL_SECTIONS: dict[str, type[Section]] = {
    name: section
    for section in get_args(get_args(ModelConfig)[0])
    for name in get_args(section.model_fields["name"].annotation)
}
"""The section of every network by its name."""
