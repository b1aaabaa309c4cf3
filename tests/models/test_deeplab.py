import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from acdc_seg.models import SegmentationModel, build_model
from acdc_seg.models.blocks import AtrousConv2d
from acdc_seg.models.deeplab import ASPP, ImagePooling, PooledBatchNorm2d


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    return build_model("deeplab_drn", 3, 4)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_published_number_of_parameters(model: SegmentationModel) -> None:
    assert count(model) == 40_732_692
    assert count(model.encoder) == 35_296_176


def test_dropout_stands_after_the_aspp_and_the_two_decoder_convolutions() -> None:
    model = build_model("deeplab_drn", 1, 4, dropout=0.3)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3, 0.3, 0.1]


def test_aspp_rates(model: SegmentationModel) -> None:
    assert [module.dilation for module in model.decoder.modules() if isinstance(module, AtrousConv2d)] == [(12, 12), (24, 24), (36, 36)]


def test_aspp_branches_cost_a_1x1_convolution_on_a_12x12_map() -> None:
    aspp = ASPP(8, dropout=0.0)
    with FlopCounterMode(display=False) as counter:
        aspp(torch.randn(2, 8, 12, 12))
    branches, pooling, merge = 4 * 8 * 256 * 144, 8 * 256, 5 * 256 * 256 * 144
    assert counter.get_total_flops() == 2 * 2 * (branches + pooling + merge)


def test_image_pooling_is_one_value_per_channel() -> None:
    pooling = ImagePooling(3, 2).eval()
    y = pooling(torch.randn(2, 3, 5, 7))
    assert y.shape == (2, 2, 5, 7)
    assert torch.equal(y, y[:, :, :1, :1].expand_as(y))


def test_one_image_alone_is_normalised_by_running_statistics() -> None:
    norm = PooledBatchNorm2d(2).train()
    norm.load_state_dict({"running_mean": torch.tensor([1.0, -1.0]), "running_var": torch.tensor([4.0, 1.0])}, strict=False)
    single = torch.tensor([3.0, -1.0]).reshape(1, 2, 1, 1)
    assert norm(single).flatten().tolist() == pytest.approx([(3 - 1) / 2, 0.0], abs=1e-4)
    assert norm.state_dict()["running_mean"].tolist() == [1.0, -1.0]
    norm(torch.cat([single, -single]))  # two images move the mean a tenth of the way to theirs, zero
    assert norm.state_dict()["running_mean"].tolist() == pytest.approx([0.9, -0.9])
