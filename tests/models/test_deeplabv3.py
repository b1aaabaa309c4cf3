import pytest
import torch
from torch import nn

from acdc_seg.models.blocks import AtrousConv2d
from acdc_seg.models.deeplabv3 import DeepLabV3ResNet50


@pytest.fixture(scope="module")
def model() -> DeepLabV3ResNet50:
    with torch.device("meta"):
        return DeepLabV3ResNet50(3, 8, dropout=0.3)


def test_published_number_of_parameters(model: DeepLabV3ResNet50) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == 39_635_528


def test_only_the_aspp_has_dropout(model: DeepLabV3ResNet50) -> None:
    assert [
        (name, module.p) for name, module in model.named_modules() if isinstance(module, nn.Dropout)
    ] == [("decoder.aspp.merge.1", 0.3)]


def test_decoder_works_at_output_stride_8_with_its_rates(model: DeepLabV3ResNet50) -> None:
    (high,) = model.encoder(torch.empty(2, 3, 97, 64, device="meta"))
    assert high.shape == (2, 2048, 13, 8)
    assert model.decoder([high]).shape == (2, 256, 13, 8)
    dilations = [
        module.dilation[0] for module in model.decoder.modules() if isinstance(module, AtrousConv2d)
    ]
    assert dilations == [12, 24, 36]


@torch.inference_mode()
def test_logits_are_interpolated_from_a_grey_image() -> None:
    model = DeepLabV3ResNet50(1, 1, dropout=0.5).eval()
    logits = model(torch.randn(1, 1, 33, 40))
    assert logits.shape == (1, 1, 33, 40)
    assert logits.isfinite().all()
