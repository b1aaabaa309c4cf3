import pytest
import torch
from torch import nn

from acdc_seg.models.backbones.mobilenet import InvertedResidual, MobileNetV2
from acdc_seg.models.blocks import dilate


@pytest.fixture(scope="module")
def mobilenet() -> MobileNetV2:
    return MobileNetV2(3, output_stride=16)


def conv_and_norm(conv: str, norm: str) -> set[str]:
    return {
        f"{conv}.weight",
        *(
            f"{norm}.{entry}"
            for entry in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        ),
    }


def test_parameters_are_named_as_in_the_public_checkpoint(mobilenet: MobileNetV2) -> None:
    keys = conv_and_norm("features.0.0", "features.0.1") | conv_and_norm(
        "features.1.conv.0.0", "features.1.conv.0.1"
    )
    keys |= conv_and_norm(
        "features.1.conv.1", "features.1.conv.2"
    )  # the first block does not expand
    for layer in range(2, 18):
        for index in (0, 1):
            keys |= conv_and_norm(
                f"features.{layer}.conv.{index}.0", f"features.{layer}.conv.{index}.1"
            )
        keys |= conv_and_norm(f"features.{layer}.conv.2", f"features.{layer}.conv.3")
    assert set(mobilenet.state_dict()) == keys


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("features.0.0.weight", (32, 3, 3, 3)),
        ("features.1.conv.0.0.weight", (32, 1, 3, 3)),
        ("features.1.conv.1.weight", (16, 32, 1, 1)),
        ("features.2.conv.0.0.weight", (96, 16, 1, 1)),
        ("features.4.conv.1.0.weight", (144, 1, 3, 3)),
        ("features.11.conv.2.weight", (96, 384, 1, 1)),
        ("features.14.conv.3.running_var", (160,)),
        ("features.17.conv.2.weight", (320, 960, 1, 1)),
    ],
)
def test_shapes_are_those_of_the_public_checkpoint(
    mobilenet: MobileNetV2, key: str, shape: tuple[int, ...]
) -> None:
    assert tuple(mobilenet.state_dict()[key].shape) == shape


def test_published_number_of_parameters_less_the_classifier(mobilenet: MobileNetV2) -> None:
    last_conv, classifier = 320 * 1280 + 2 * 1280, 1280 * 1000 + 1000
    assert (
        sum(parameter.numel() for parameter in mobilenet.parameters())
        == 3_504_872 - last_conv - classifier
    )


@pytest.mark.parametrize(
    ("output_stride", "size", "dilations"),
    [(16, (7, 4), [1] * 14 + [2, 2, 2]), (8, (13, 8), [1] * 7 + [2] * 7 + [4, 4, 4])],
)
@torch.inference_mode()
def test_strides_past_the_output_stride_become_dilations(
    output_stride: int, size: tuple[int, int], dilations: list[int]
) -> None:
    mobilenet = MobileNetV2(1, output_stride=output_stride).eval()
    low, high = mobilenet(torch.randn(1, 1, 97, 64))
    assert low.shape == (1, 24, 25, 16)
    assert high.shape == (1, 320, *size)
    depthwise = [
        module
        for module in mobilenet.modules()
        if isinstance(module, nn.Conv2d) and module.groups > 1
    ]
    assert [conv.dilation[0] for conv in depthwise] == dilations


@torch.inference_mode()
def test_dilated_layers_see_what_strided_ones_saw() -> None:
    torch.manual_seed(0)
    strided, dilated = (MobileNetV2(1, output_stride=stride).eval().double() for stride in (16, 8))
    dilated.load_state_dict(strided.state_dict())
    images = torch.randn(
        1, 1, 65, 49, dtype=torch.float64
    )  # odd, so that every map's last row falls on one of the finer map
    torch.testing.assert_close(dilated(images)[1][..., ::2, ::2], strided(images)[1])


@torch.inference_mode()
def test_blocks_that_keep_the_shape_add_their_input(mobilenet: MobileNetV2) -> None:
    residual = []
    for layer, block in enumerate(mobilenet.features):
        if not isinstance(block, InvertedResidual):
            continue
        x = torch.randn(1, next(block.parameters()).shape[0 if layer == 1 else 1], 4, 4)
        added = block.eval()(x) - block.conv(x)
        if added.any():
            torch.testing.assert_close(added, x)
            residual.append(layer)
    assert residual == [
        3,
        5,
        6,
        8,
        9,
        10,
        12,
        13,
        15,
        16,
    ]  # all but the first block of each of the table's seven rows


def test_strides_and_dilations_by_hand() -> None:
    assert list(dilate([2, 1, 2, 2, 1, 2, 1], output_stride=4)) == [
        (2, 1),
        (1, 1),
        (2, 1),
        (1, 1),
        (1, 2),
        (1, 2),
        (1, 4),
    ]
