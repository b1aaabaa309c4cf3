import pytest
import torch
from torch import nn

from acdc_seg.errors import ConfigError
from acdc_seg.models import create_model
from acdc_seg.models.blocks import AtrousConv2d
from acdc_seg.models.deeplab import BACKBONES, DeepLabDecoder, DeepLabV3Plus


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("name", "total", "backbone", "low_channels", "rates"),
    [
        ("deeplab_drn", 40_732_692, 35_296_176, 256, [12, 24, 36]),
        ("deeplab_resnet101", 59_339_940, 42_500_160, 256, [6, 12, 18]),
        ("deeplab_xception", 54_700_948, 37_867_312, 128, [6, 12, 18]),
        ("deeplab_mobilenet", 5_811_684, 1_811_712, 24, [6, 12, 18]),
    ],
)
def test_published_networks(
    name: str, total: int, backbone: int, low_channels: int, rates: list[int]
) -> None:
    model = create_model(name, 3, 4)
    assert count(model) == total
    assert count(model.encoder) == backbone
    assert model.decoder.state_dict()["low_level.0.weight"].shape == (48, low_channels, 1, 1)
    assert [
        module.dilation[0] for module in model.decoder.modules() if isinstance(module, AtrousConv2d)
    ] == rates


def test_resnet101_has_a_multi_grid() -> None:
    layer4 = BACKBONES["resnet101"](1, output_stride=16).get_submodule("layer4")
    assert [
        module.dilation[0] for module in layer4.modules() if isinstance(module, AtrousConv2d)
    ] == [2, 4, 8]


def test_dropout_stands_after_the_aspp_and_the_two_decoder_convolutions() -> None:
    model = create_model("deeplab_mobilenet", 1, 4, dropout=0.3)
    assert [module.p for module in model.decoder.modules() if isinstance(module, nn.Dropout)] == [
        0.3,
        0.3,
        0.1,
    ]


@pytest.mark.parametrize(
    ("output_stride", "rates", "size"), [(8, (12, 24, 36), 12), (16, (6, 12, 18), 6)]
)
@torch.inference_mode()
def test_output_stride_sets_the_rates_and_the_map(
    output_stride: int, rates: tuple[int, ...], size: int
) -> None:
    model = create_model("deeplab_mobilenet", 1, 4, output_stride=output_stride).eval()
    aspp = [
        module.dilation[0] for module in model.decoder.modules() if isinstance(module, AtrousConv2d)
    ]
    assert aspp == list(rates)
    assert model.encoder(torch.randn(1, 1, 96, 96))[1].shape == (1, 320, size, size)


def test_drn_has_no_output_stride_16() -> None:
    with pytest.raises(
        ConfigError,
        match=r"output_stride=16: DRN-D-54 has output stride 8, take that or another backbone",
    ):
        DeepLabV3Plus(1, 4, backbone="drn", output_stride=16, dropout=0.5)


@torch.inference_mode()
def test_decoder_works_at_the_low_level_resolution_and_uses_both_maps() -> None:
    torch.manual_seed(0)
    decoder = DeepLabDecoder(5, 7, rates=(6, 12, 18), dropout=0.5).eval()
    low, high = torch.randn(1, 5, 25, 16), torch.randn(1, 7, 7, 4)
    y = decoder((low, high))
    assert y.shape == (1, 256, 25, 16)
    assert not torch.allclose(decoder((torch.zeros_like(low), high)), y)
    assert not torch.allclose(decoder((low, torch.zeros_like(high))), y)
