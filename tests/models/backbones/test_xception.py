from functools import cache

import pytest
import torch
from torch import nn

from acdc_seg.models.backbones.xception import Xception, XceptionBlock


@cache
def xception(output_stride: int) -> Xception:
    torch.manual_seed(0)
    return Xception(3, output_stride=output_stride).eval()


def separable_size(before: int, after: int) -> int:
    return (
        9 * before + 2 * before + before * after + 2 * after
    )  # depthwise and its BatchNorm, 1x1 and its BatchNorm


def shortcut_size(before: int, after: int) -> int:
    return before * after + 2 * after


def test_parameters_counted_by_hand() -> None:
    stem = 3 * 32 * 9 + 2 * 32 + 32 * 64 * 9 + 2 * 64
    entry = sum(
        separable_size(before, after)
        + 2 * separable_size(after, after)
        + shortcut_size(before, after)
        for before, after in [(64, 128), (128, 256), (256, 728)]
    )
    middle = 16 * 3 * separable_size(728, 728)
    exit_block = (
        separable_size(728, 728)
        + separable_size(728, 1024)
        + separable_size(1024, 1024)
        + shortcut_size(728, 1024)
    )
    last = separable_size(1024, 1536) + separable_size(1536, 1536) + separable_size(1536, 2048)
    assert (
        sum(parameter.numel() for parameter in xception(16).parameters())
        == stem + entry + middle + exit_block + last
    )


def test_65_layers() -> None:
    depthwise = [
        module
        for module in xception(16).modules()
        if isinstance(module, nn.Conv2d) and module.groups > 1
    ]
    assert len(depthwise) == 3 * (3 + 16 + 2)  # with the two convolutions of the stem 65
    assert all(conv.groups == conv.in_channels == conv.out_channels for conv in depthwise)


@pytest.mark.parametrize(
    ("output_stride", "size", "dilations"),
    [(16, (7, 4), [1] * 20 + [2]), (8, (13, 8), [1] * 3 + [2] * 17 + [4])],
)
@torch.inference_mode()
def test_strides_past_the_output_stride_become_dilations(
    output_stride: int, size: tuple[int, int], dilations: list[int]
) -> None:
    low, high = xception(output_stride)(torch.randn(1, 3, 97, 64))
    assert low.shape == (1, 128, 25, 16)
    assert high.shape == (1, 2048, *size)
    depthwise = [
        module
        for module in xception(output_stride).modules()
        if isinstance(module, nn.Conv2d) and module.groups > 1
    ]
    assert [conv.dilation[0] for conv in depthwise] == [
        dilation for dilation in dilations for _ in range(3)
    ]


@torch.inference_mode()
def test_maps_differ_between_images_and_the_last_is_not_negative() -> None:
    low, high = xception(16)(torch.randn(2, 3, 48, 48))
    assert high.min() == 0
    assert low.min() < 0
    assert all((features[0] - features[1]).abs().max() > 0.1 for features in (low, high))


@pytest.mark.parametrize(
    ("in_channels", "stride", "projected"), [(6, 1, False), (6, 2, True), (4, 1, True)]
)
@torch.inference_mode()
def test_shortcuts_convolve_only_where_the_shape_changes(
    in_channels: int, stride: int, projected: bool
) -> None:
    block = XceptionBlock(in_channels, (5, 5, 6), stride=stride, dilation=1, residual=True).eval()
    x = torch.randn(1, in_channels, 8, 8)
    y = block(x)
    assert y.shape == (1, 6, 8 // stride, 8 // stride)
    assert (block.shortcut is not None) == projected
    torch.testing.assert_close(
        y - block.convs(x), x if block.shortcut is None else block.shortcut(x)
    )


@torch.inference_mode()
def test_a_block_without_shortcut_is_its_convolutions() -> None:
    block = XceptionBlock(4, (4, 4, 4), stride=1, dilation=2, residual=False).eval()
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block(x), block.convs(x))


@torch.inference_mode()
def test_separable_convolutions_strided_and_activated_as_published() -> None:
    block = XceptionBlock(4, (4, 4, 4), stride=2, dilation=1, residual=False)
    layers = [layer for convs in block.convs.children() for layer in convs.children()]
    assert [type(layer) for layer in layers] == [
        nn.ReLU,
        nn.Conv2d,
        nn.BatchNorm2d,
        nn.ReLU,
        nn.Conv2d,
        nn.BatchNorm2d,
    ] * 3
    assert [
        layer.stride for layer in layers if isinstance(layer, nn.Conv2d) and layer.groups > 1
    ] == [(1, 1), (1, 1), (2, 2)]
    x = torch.randn(1, 4, 8, 8)
    kept = x.clone()
    block.eval()(x)
    assert torch.equal(x, kept)  # a shortcut may still need it
