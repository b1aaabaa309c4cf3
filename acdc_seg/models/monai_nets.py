"""Three networks of MONAI in 2-D: Cardoso et al., "MONAI: an open-source framework for deep
learning in healthcare", arXiv 2022.

MONAI builds them and its layers stay as they are, here only sorted into encoder, decoder and head,
so that freezing an encoder or replacing a head means the same as elsewhere. The constructors import
MONAI: that takes seconds, which other networks need not wait for.
"""

from typing import NamedTuple

import torch
from torch import nn

from acdc_seg.models.base import SegmentationModel


class Level(NamedTuple):
    """One row of DynUNet's table; a stride's upsampling is a transposed convolution with the stride
    for kernel.
    """

    kernel_size: int
    stride: int


DYNUNET_LEVELS = (
    Level(3, stride=1),
    Level(3, stride=2),
    Level(3, stride=2),
    Level(3, stride=2),
    Level(3, stride=2),
)
"""nnU-Net halves while the map stays at 4x4 or above: four times at 96x96."""
DYNUNET_MAX_CHANNELS = 512


class BasicUNet(SegmentationModel):
    """U-Net with instance norm and leaky ReLU: Falk et al., "U-Net: deep learning for cell
    counting, detection, and morphometry", Nature Methods 2019.

    Only the biases of convolutions before a norm are left out: the norm subtracts them again, so
    they would never learn.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        dropout: Probability of dropout after every convolution.
    """

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float) -> None:
        from monai.networks.nets import basic_unet

        network = basic_unet.BasicUNet(2, in_channels, num_classes, bias=False, dropout=dropout)
        super().__init__(
            encoder=StageEncoder(
                [network.conv_0, network.down_1, network.down_2, network.down_3, network.down_4]
            ),
            decoder=SkipDecoder(
                [network.upcat_4, network.upcat_3, network.upcat_2, network.upcat_1]
            ),
            head=network.final_conv,
            in_channels=in_channels,
            multiple=16,
        )


class DynUNet(SegmentationModel):
    """The U-Net of nnU-Net: Isensee et al., "nnU-Net: a self-configuring method for deep
    learning-based biomedical image segmentation", Nature Methods 2021.

    Five levels, instance norm, strided convolutions, no deep supervision.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        base_channels: Channels of the first level; every level doubles them, up to 512.
        res_block: Residual blocks in the encoder instead of plain ones.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, base_channels: int, res_block: bool
    ) -> None:
        from monai.networks.nets import dynunet

        network = dynunet.DynUNet(
            2,
            in_channels,
            num_classes,
            kernel_size=[level.kernel_size for level in DYNUNET_LEVELS],
            strides=[level.stride for level in DYNUNET_LEVELS],
            upsample_kernel_size=[level.stride for level in DYNUNET_LEVELS[1:]],
            filters=[
                min(base_channels * 2**i, DYNUNET_MAX_CHANNELS) for i in range(len(DYNUNET_LEVELS))
            ],
            res_block=res_block,
        )
        super().__init__(
            encoder=StageEncoder([network.input_block, *network.downsamples, network.bottleneck]),
            decoder=SkipDecoder(network.upsamples),
            head=network.output_block,
            in_channels=in_channels,
            multiple=16,
        )


class SwinUNet(SegmentationModel):
    """Swin UNETR: Hatamizadeh et al., "Swin UNETR: Swin transformers for semantic segmentation of
    brain tumors in MRI images", MICCAI BrainLes 2021.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        feature_size: Channels of the first level, a multiple of 12.
    """

    def __init__(self, in_channels: int, num_classes: int, *, feature_size: int) -> None:
        from monai.networks.nets import swin_unetr

        network = swin_unetr.SwinUNETR(
            in_channels, num_classes, feature_size=feature_size, spatial_dims=2
        )
        skips = [
            network.encoder1,
            network.encoder2,
            network.encoder3,
            network.encoder4,
            nn.Identity(),
            network.encoder10,
        ]
        super().__init__(
            encoder=SwinEncoder(network.swinViT, skips),
            decoder=SkipDecoder(
                [
                    network.decoder5,
                    network.decoder4,
                    network.decoder3,
                    network.decoder2,
                    network.decoder1,
                ]
            ),
            head=network.out,
            in_channels=in_channels,
            multiple=32,
            min_size=64,  # the deepest map of 32x32 is one pixel, and instance norm needs more
        )


class StageEncoder(nn.ModuleList):
    """Stages one after another."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The map after every stage, the finest first."""
        features = []
        for stage in self:
            x = stage(x)
            features.append(x)
        return features


class SwinEncoder(nn.Module):
    """A Swin transformer and a convolution block on the image and on each of its maps."""

    def __init__(self, transformer: nn.Module, skips: list[nn.Module]) -> None:
        super().__init__()
        self.transformer = transformer
        self.skips = nn.ModuleList(skips)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps at strides 1, 2, 4, 8, 16 and 32."""
        return [
            skip(feature)
            for skip, feature in zip(self.skips, [x, *self.transformer(x)], strict=True)
        ]


class SkipDecoder(nn.ModuleList):
    """Blocks that double the resolution and merge the encoder's map there, from the deepest up."""

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Maps the encoder's features to one at the resolution of the finest."""
        *skips, x = features
        for up, skip in zip(self, reversed(skips), strict=True):
            x = up(x, skip)
        return x
