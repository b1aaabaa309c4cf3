from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models import create_model
from acdc_seg.models.unet import make_upsample


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("preset", "num_classes", "parameters"), [("cityscapes", 8, 7_763_272), ("pets", 1, 28_954_561)]
)
def test_presets_have_the_published_number_of_parameters(
    preset: str, num_classes: int, parameters: int
) -> None:
    assert count(create_model("unet", 3, num_classes, preset=preset)) == parameters


def test_parameters_counted_by_hand() -> None:
    model = create_model("unet", 1, 4, depth=2, base_channels=2, norm="none", conv_bias=True)
    encoder = (1 * 2 * 9 + 2) + (2 * 2 * 9 + 2) + (2 * 4 * 9 + 4) + (4 * 4 * 9 + 4)
    decoder = (4 * 2 * 4 + 2) + (4 * 2 * 9 + 2) + (2 * 2 * 9 + 2)
    head = 2 * 4 + 4
    assert (count(model.encoder), count(model.decoder), count(model.head)) == (
        encoder,
        decoder,
        head,
    )


@pytest.mark.parametrize("depth", range(1, 7))
@torch.inference_mode()
def test_every_depth_halves_the_map_and_doubles_the_channels(depth: int) -> None:
    model = create_model("unet", 1, 3, depth=depth, base_channels=2).eval()
    features = model.encoder(torch.randn(1, 1, 64, 96))
    assert [tuple(feature.shape) for feature in features] == [
        (1, 2 * 2**i, 64 // 2**i, 96 // 2**i) for i in range(depth)
    ]
    assert model(torch.randn(1, 1, 33, 50)).shape == (1, 3, 33, 50)


@pytest.mark.parametrize("upsample", ["transpose", "bilinear", "bilinear_conv1x1"])
@pytest.mark.parametrize(("norm", "conv_bias"), [("batch", False), ("none", True)])
def test_every_variant_learns_with_all_its_parameters(
    upsample: str, norm: str, conv_bias: bool
) -> None:
    torch.manual_seed(0)
    model = create_model(
        "unet",
        1,
        2,
        depth=3,
        base_channels=8,
        upsample=upsample,
        norm=norm,
        conv_bias=conv_bias,
        dropout=0.2,
    )
    F.cross_entropy(model(torch.randn(2, 1, 32, 32)), torch.randint(0, 2, (2, 32, 32))).backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in model.parameters()
    )


def test_norm_and_bias_are_as_asked() -> None:
    options: dict[str, Any] = {"depth": 2, "base_channels": 2}
    assert not any(
        isinstance(module, nn.BatchNorm2d)
        for module in create_model("unet", 1, 2, norm="none", **options).modules()
    )
    convs = [
        module
        for module in create_model("unet", 1, 2, **options).modules()
        if isinstance(module, nn.Conv2d)
    ]
    assert [conv.bias is None for conv in convs] == [True] * 6 + [
        False
    ]  # the head's 1x1 keeps its bias


def test_dropout_acts_on_the_deepest_level_alone() -> None:
    model = create_model("unet", 1, 2, depth=3, base_channels=4, norm="none", dropout=0.5).train()
    images = torch.randn(1, 1, 32, 32)
    first, second = model.encoder(images), model.encoder(images)
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [True, True, False]


def test_convolving_before_interpolating_is_the_same_as_after() -> None:
    up = make_upsample(6, 3, upsample="bilinear_conv1x1").double()
    conv, bilinear = up.children()
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(up(x), conv(bilinear(x)), atol=1e-12, rtol=0)
