"""EfficientNet: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural
networks", ICML 2019.

The layers are MONAI's; parameter names are those of the public `efficientnet-b0` to
`efficientnet-b7` checkpoints. MONAI is imported where an encoder is built: that takes seconds,
which other networks need not wait for.
"""

from math import prod, sqrt
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

Variant = Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"]


class EfficientNetStage(NamedTuple):
    """A row of the paper's table, before scaling."""

    blocks: int
    kernel_size: int
    stride: int
    expansion: int
    in_channels: int
    channels: int


class Scaling(NamedTuple):
    """Factors of the table's channels and blocks."""

    width: float
    depth: float


B0 = (
    EfficientNetStage(blocks=1, kernel_size=3, stride=1, expansion=1, in_channels=32, channels=16),
    EfficientNetStage(blocks=2, kernel_size=3, stride=2, expansion=6, in_channels=16, channels=24),
    EfficientNetStage(blocks=2, kernel_size=5, stride=2, expansion=6, in_channels=24, channels=40),
    EfficientNetStage(blocks=3, kernel_size=3, stride=2, expansion=6, in_channels=40, channels=80),
    EfficientNetStage(blocks=3, kernel_size=5, stride=1, expansion=6, in_channels=80, channels=112),
    EfficientNetStage(
        blocks=4, kernel_size=5, stride=2, expansion=6, in_channels=112, channels=192
    ),
    EfficientNetStage(
        blocks=1, kernel_size=3, stride=1, expansion=6, in_channels=192, channels=320
    ),
)

SCALING: dict[Variant, Scaling] = {
    "b0": Scaling(width=1.0, depth=1.0),
    "b1": Scaling(width=1.0, depth=1.1),
    "b2": Scaling(width=1.1, depth=1.2),
    "b3": Scaling(width=1.2, depth=1.4),
    "b4": Scaling(width=1.4, depth=1.8),
    "b5": Scaling(width=1.6, depth=2.2),
    "b6": Scaling(width=1.8, depth=2.6),
    "b7": Scaling(width=2.0, depth=3.1),
}

STRIDE = 32
SQUEEZE_RATIO = 0.25
NORM = ("batch", {"eps": 1e-3, "momentum": 0.1})
"""The published momentum, 0.01, is for millions of steps."""


class EfficientNetEncoder(nn.Module):
    """EfficientNet without its classifier; output stride 32.

    Args:
        in_channels: Channels of the image.
        variant: Row of the scaling table.
        drop_connect: Probability that an image skips the last residual block in train mode; it
            rises linearly from zero over the blocks.
    """

    def __init__(self, in_channels: int, *, variant: Variant, drop_connect: float) -> None:
        from monai.networks.nets.efficientnet import EfficientNet, MBConvBlock

        super().__init__()
        network = EfficientNet(
            [_notation(stage) for stage in B0],
            in_channels=in_channels,
            num_classes=1,
            width_coefficient=SCALING[variant].width,
            depth_coefficient=SCALING[variant].depth,
            # padding is fixed here, and is the same for every multiple of the stride
            image_size=STRIDE,
            norm=NORM,
            drop_connect_rate=drop_connect,
        )
        self.public_weights = f"efficientnet-{variant}"
        self._conv_stem_padding = network._conv_stem_padding
        self._conv_stem = network._conv_stem
        self._bn0 = network._bn0
        self._swish = nn.SiLU(inplace=True)
        blocks = [module for module in network._blocks.modules() if isinstance(module, MBConvBlock)]
        for block in blocks:
            channels, kernel_size = (
                block._depthwise_conv.in_channels,
                block._depthwise_conv.kernel_size,
            )
            block._depthwise_conv = DepthwiseConv2d(channels, kernel_size[0], stride=block.stride)
            block._depthwise_conv_padding = nn.Identity()
        self._blocks = nn.ModuleList(blocks)
        self.out_channels = [
            in_channels,
            *(block.in_channels for block in blocks if block.stride == 2),
            blocks[-1].out_channels,
        ]
        self.apply(_init)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The image `(B, in_channels, H, W)` itself and the last maps at strides 2, 4, 8, 16, 32.

        H and W are multiples of 32; the maps have `out_channels` channels.
        """
        features = [x]
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x))))
        for block in self._blocks:
            if block.stride == 2:
                features.append(x)
            x = block(x)
        return [*features, x]


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution of stride 1 or 2 on maps of even height and width, padded as in the
    public checkpoints.

    On the CPU the library's gradients are much slower for strides, and for kernels of more than
    three columns. So where there will be gradients a stride takes every other position of stride 1,
    and columns are convolved by threes and summed. Parameters are those of `nn.Conv2d`.
    """

    def __init__(self, channels: int, kernel_size: int, *, stride: int) -> None:
        padding = kernel_size // 2
        super().__init__(
            channels, channels, kernel_size, stride, padding, groups=channels, bias=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, channels, H, W)` to `(B, channels, H / stride, W / stride)`."""
        for_gradients = x.is_cpu and torch.is_grad_enabled()
        return self._convolve_by_threes(x) if for_gradients else self._convolve(x)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        after = self.kernel_size[0] // 2
        before = after - (self.stride[0] - 1)
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x, self.weight, stride=self.stride, groups=self.groups)

    def _convolve_by_threes(self, x: torch.Tensor) -> torch.Tensor:
        margin = self.kernel_size[0] // 2
        parts = []
        for first in range(0, self.kernel_size[1], 3):
            weight = self.weight[..., first : first + 3]  # (channels, 1, kernel_size, 1 to 3)
            left, right = margin - first, first + weight.shape[-1] - 1 - margin
            padded = F.pad(x, (left, right, margin, margin))
            parts.append(F.conv2d(padded, weight, groups=self.groups))
        y = sum(parts[1:], parts[0])
        return y if self.stride == (1, 1) else y[..., 1::2, 1::2]


def _notation(stage: EfficientNetStage) -> str:
    """A row of the table as MONAI writes it."""
    from monai.networks.nets.efficientnet import BlockArgs

    return BlockArgs(
        num_repeat=stage.blocks,
        kernel_size=stage.kernel_size,
        stride=stage.stride,
        expand_ratio=stage.expansion,
        input_filters=stage.in_channels,
        output_filters=stage.channels,
        id_skip=True,
        se_ratio=SQUEEZE_RATIO,
    ).to_string()


def _init(module: nn.Module) -> None:
    """The published initialisation; MONAI's takes a depthwise convolution for a full one."""
    if isinstance(module, nn.Conv2d):
        fan_out = prod(module.kernel_size) * module.out_channels
        nn.init.normal_(module.weight, 0.0, sqrt(2 * module.groups / fan_out))
