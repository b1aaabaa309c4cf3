"""Three networks of MONAI in 2-D (Cardoso et al., arXiv 2022), sorted into encoder, decoder, head.

So freezing an encoder or replacing a head means the same as elsewhere. The constructors import
MONAI: that takes seconds, which other networks save.
"""

import torch
from torch import nn

from acdc_seg.models.base import SegmentationModel

INSTANCE_NORM_FORMAT = torch.contiguous_format
"""Of networks that normalize after every convolution by instance: that norm gives NCHW whatever it
is given, so that in channels_last the maps would change their layout at each of them."""
DYNUNET_KERNEL_SIZES = (3, 3, 3, 3, 3)
DYNUNET_STRIDES = (1, 2, 2, 2, 2)
"""nnU-Net halves while the map stays at 4x4 or above: four times at 96x96."""
DYNUNET_MAX_CHANNELS = 512


class BasicUNet(SegmentationModel):
    """U-Net with instance norm and leaky ReLU (Falk et al., Nature Methods 2019).

    The biases of convolutions before a norm are left out: the norm subtracts them again, so they
    would never learn.
    """

    memory_format = INSTANCE_NORM_FORMAT

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float) -> None:
        from monai.networks.nets import basic_unet

        net = basic_unet.BasicUNet(2, in_channels, num_classes, bias=False, dropout=dropout)
        super().__init__(
            encoder=StageEncoder([net.conv_0, net.down_1, net.down_2, net.down_3, net.down_4]),
            decoder=SkipDecoder([net.upcat_4, net.upcat_3, net.upcat_2, net.upcat_1]),
            head=net.final_conv,
            in_channels=in_channels,
            multiple=16,
        )


class DynUNet(SegmentationModel):
    """The U-Net of nnU-Net (Isensee et al., Nature Methods 2021), without deep supervision.

    Five levels, instance norm, strided convolutions. The options are those of `DynUNetConfig`.
    """

    memory_format = INSTANCE_NORM_FORMAT

    def __init__(
        self, in_channels: int, num_classes: int, *, base_channels: int, res_block: bool
    ) -> None:
        from monai.networks.nets import dynunet

        levels = range(len(DYNUNET_STRIDES))
        channels = [min(base_channels * 2**level, DYNUNET_MAX_CHANNELS) for level in levels]
        network = dynunet.DynUNet(
            2,
            in_channels,
            num_classes,
            kernel_size=DYNUNET_KERNEL_SIZES,
            strides=DYNUNET_STRIDES,
            upsample_kernel_size=DYNUNET_STRIDES[1:],
            filters=channels,
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
    """Swin UNETR (Hatamizadeh et al., MICCAI BrainLes 2021)."""

    def __init__(self, in_channels: int, num_classes: int, *, feature_size: int) -> None:
        from monai.networks.nets import swin_unetr

        net = swin_unetr.SwinUNETR(
            in_channels, num_classes, feature_size=feature_size, spatial_dims=2
        )
        skips = [net.encoder1, net.encoder2, net.encoder3, net.encoder4]
        decoder = [net.decoder5, net.decoder4, net.decoder3, net.decoder2, net.decoder1]
        super().__init__(
            encoder=SwinEncoder(net.swinViT, [*skips, nn.Identity(), net.encoder10]),
            decoder=SkipDecoder(decoder),
            head=net.out,
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
        features = [x, *self.transformer(x)]
        return [skip(feature) for skip, feature in zip(self.skips, features, strict=True)]


class SkipDecoder(nn.ModuleList):
    """Blocks that double the resolution and merge the encoder's map there, from the deepest up."""

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Maps the encoder's features to one at the resolution of the finest."""
        *skips, x = features
        for up, skip in zip(self, reversed(skips), strict=True):
            x = up(x, skip)
        return x
