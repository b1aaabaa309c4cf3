"""SETR: Zheng et al., "Rethinking semantic segmentation from a sequence-to-sequence perspective
with transformers", CVPR 2021.
"""

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import conv_norm_relu, init_kaiming

IMAGE_SIZE = 96
MLP_RATIO = 4
DECODER_CHANNELS = 256


class SETR(SegmentationModel):
    """Vision transformer, progressive upsampling (SETR-PUP); options are those of `SETRConfig`."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        patch_size: int,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        dropout: float,
    ) -> None:
        encoder = ViTEncoder(
            in_channels,
            patch_size=patch_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout=dropout,
        )
        decoder = progressive_upsampling(hidden_size, patch_size=patch_size)
        head = nn.Conv2d(DECODER_CHANNELS, num_classes, 1)
        decoder.apply(init_kaiming)
        head.apply(init_kaiming)
        super().__init__(encoder, decoder, head, in_channels=in_channels, multiple=patch_size)


class ViTEncoder(nn.Module):
    """Vision transformer: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021.

    The position embeddings are those of images of 96x96, and interpolated for others. The blocks
    are MONAI's, imported by the constructor: that takes seconds, which other networks save.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        patch_size: int,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        dropout: float,
    ) -> None:
        from monai.networks.blocks.transformerblock import TransformerBlock

        super().__init__()
        grid = IMAGE_SIZE // patch_size
        self.patches = nn.Conv2d(in_channels, hidden_size, patch_size, stride=patch_size)
        self.positions = nn.Parameter(
            nn.init.trunc_normal_(torch.empty(1, hidden_size, grid, grid), std=0.02)
        )
        self.dropout = nn.Dropout(dropout)
        blocks = [
            TransformerBlock(hidden_size, MLP_RATIO * hidden_size, num_heads, dropout)
            for _ in range(num_layers)
        ]
        for block in blocks:  # attention to a second sequence would never learn
            del block.norm_cross_attn, block.cross_attn
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, hidden_size, H / patch_size, W / patch_size)`."""
        patches = self.patches(images)
        size = patches.shape[-2:]
        positions = F.interpolate(self.positions, size=size, mode="bicubic", align_corners=False)
        patches = patches + positions
        tokens = self.dropout(patches.flatten(2).transpose(1, 2))  # (B, h * w, hidden_size)
        tokens = self.norm(self.blocks(tokens))
        return tokens.transpose(1, 2).unflatten(2, size)  # (B, hidden_size, h, w)


def progressive_upsampling(in_channels: int, *, patch_size: int) -> nn.Sequential:
    """3x3 convolutions at strides `patch_size`, half of it, ..., 2; bilinear upsampling between.

    The last doubling is left to the logits: a 1x1 convolution and an interpolation are linear and
    the interpolation's weights sum to one, so their order does not change the result, but the
    logits have fewer channels.
    """
    layers: list[nn.Module] = [conv_norm_relu(in_channels, DECODER_CHANNELS)]
    for _ in range(patch_size.bit_length() - 2):
        layers += [
            nn.Upsample(scale_factor=2, mode="bilinear"),
            conv_norm_relu(DECODER_CHANNELS, DECODER_CHANNELS),
        ]
    return nn.Sequential(*layers)
