from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import nn

from acdc_seg.models.base import SegmentationModel, to_memory_format
from acdc_seg.models.monai_nets import BasicUNet, DynUNet, SwinUNet

SMALL: list[tuple[Callable[..., SegmentationModel], dict[str, Any]]] = [
    (BasicUNet, {"dropout": 0.0}),
    (DynUNet, {"base_channels": 4, "res_block": False}),
    (DynUNet, {"base_channels": 4, "res_block": True}),
    (SwinUNet, {"feature_size": 12}),
]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def double_conv(in_channels: int, out_channels: int) -> int:
    """Parameters of two 3x3 convolutions without bias, each with an affine norm."""
    return 9 * (in_channels + out_channels) * out_channels + 2 * 2 * out_channels


def test_basic_unet_counted_by_hand() -> None:
    model = BasicUNet(1, 4, dropout=0.0)
    assert count(model.encoder) == sum(
        double_conv(*pair) for pair in pairwise([1, 32, 32, 64, 128, 256])
    )
    ups = [
        (256, 128, 128),
        (128, 64, 64),
        (64, 32, 32),
        (32, 32, 32),
    ]  # channels before and after the transposed convolution, result
    assert count(model.decoder) == sum(
        4 * deep * up + up + double_conv(2 * up, fine) for deep, up, fine in ups
    )
    assert count(model.head) == 32 * 4 + 4
    assert count(model) == 1_976_996


@pytest.mark.parametrize(("res_block", "total"), [(False, 7_762_084), (True, 7_938_180)])
def test_dynunet_counted_by_hand(res_block: bool, total: int) -> None:
    model = DynUNet(1, 4, base_channels=32, res_block=res_block)
    steps = list(pairwise([1, 32, 64, 128, 256, 512]))
    shortcuts = sum(before * after + 2 * after for before, after in steps) if res_block else 0
    assert count(model.encoder) == sum(double_conv(*step) for step in steps) + shortcuts
    assert count(model.decoder) == sum(
        4 * deep * fine + double_conv(2 * fine, fine) for fine, deep in steps[1:]
    )
    assert count(model.head) == 32 * 4 + 4
    assert count(model) == total


def test_swin_unet_has_the_size_of_monais() -> None:
    assert count(SwinUNet(1, 4, feature_size=24)) == 6_302_278


@pytest.mark.parametrize(
    ("network", "options", "channels"),
    [
        (BasicUNet, {"dropout": 0.0}, [32, 32, 64, 128, 256]),
        (DynUNet, {"base_channels": 4, "res_block": True}, [4, 8, 16, 32, 64]),
        (DynUNet, {"base_channels": 96, "res_block": False}, [96, 192, 384, 512, 512]),
        (SwinUNet, {"feature_size": 12}, [12, 12, 24, 48, 96, 192]),
    ],
)
@torch.inference_mode()
def test_every_level_halves_the_map(
    network: Callable[..., SegmentationModel], options: dict[str, Any], channels: list[int]
) -> None:
    model = network(1, 2, **options)
    features = model.encoder(torch.randn(1, 1, 32, 64))
    assert [tuple(feature.shape) for feature in features] == [
        (1, width, 32 // 2**i, 64 // 2**i) for i, width in enumerate(channels)
    ]
    assert model.decoder(features).shape == (1, channels[0], 32, 64)


@pytest.mark.parametrize(
    ("ours", "monais"),
    [
        (
            lambda: BasicUNet(3, 4, dropout=0.2),
            lambda: nets.BasicUNet(2, 3, 4, bias=False, dropout=0.2),
        ),
        (
            lambda: DynUNet(3, 4, base_channels=4, res_block=True),
            lambda: nets.DynUNet(
                2,
                3,
                4,
                [3] * 5,
                [1, 2, 2, 2, 2],
                [2] * 4,
                filters=[4, 8, 16, 32, 64],
                res_block=True,
            ),
        ),
        (
            lambda: SwinUNet(3, 4, feature_size=12),
            lambda: nets.SwinUNETR(3, 4, feature_size=12, spatial_dims=2),
        ),
    ],
    ids=["basic_unet", "dynunet", "swin_unet"],
)
def test_computes_what_monais_network_computes(
    ours: Callable[[], nn.Module], monais: Callable[[], nn.Module]
) -> None:
    images = torch.randn(1, 3, 96, 64)
    results = []
    for build in (ours, monais):
        torch.manual_seed(0)
        results.append(build().train()(images))
    assert torch.equal(*results)


@torch.inference_mode()
def test_biases_before_a_norm_have_no_effect() -> None:
    theirs = nets.BasicUNet(2, 1, 4)
    kept = [value for key, value in theirs.state_dict().items() if not key.endswith(".conv.bias")]
    ours = BasicUNet(1, 4, dropout=0.0)
    ours.load_state_dict(dict(zip(ours.state_dict(), kept, strict=True)))
    images = torch.randn(1, 1, 48, 32)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("network", "options"), SMALL)
def test_every_parameter_learns_from_the_smallest_image_alone(
    network: Callable[..., SegmentationModel], options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = network(1, 4, **options).train()
    model(torch.randn(1, 1, 32, 32)).softmax(1)[:, :2].square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 1e-8, key


def test_basic_unet_drops_after_every_convolution() -> None:
    drops = [
        module.p
        for module in BasicUNet(1, 2, dropout=0.3).modules()
        if isinstance(module, nn.Dropout)
    ]
    assert drops == [0.3] * 2 * 9  # two convolutions in each of five stages and four decoder blocks


def test_networks_of_instance_norms_keep_their_maps_in_nchw() -> None:
    """Their norms give NCHW: in channels_last every map would change its layout twice."""
    layouts = set()
    for network in (BasicUNet(3, 2, dropout=0.0), DynUNet(3, 2, base_channels=4, res_block=False)):
        for module in to_memory_format(network).modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.register_forward_hook(
                    lambda module, inputs, output: layouts.add(
                        (output.is_contiguous(), module.weight.is_contiguous())
                    )
                )
        image = torch.randn(1, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        network(image)
    assert layouts == {(True, True)}


def test_what_says_nothing_is_laid_out_channels_last() -> None:
    layer = to_memory_format(nn.Conv2d(2, 2, 3))
    assert SwinUNet.memory_format == torch.channels_last
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
