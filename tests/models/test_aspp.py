import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from acdc_seg.models.aspp import ASPP, RATES, ImagePooling, PooledBatchNorm2d
from acdc_seg.models.blocks import AtrousConv2d


@pytest.mark.parametrize(("output_stride", "dilations"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
def test_rates_double_with_the_resolution(output_stride: int, dilations: list[int]) -> None:
    aspp = ASPP(4, rates=RATES[output_stride], dropout=0.0)
    assert [
        module.dilation[0] for module in aspp.modules() if isinstance(module, AtrousConv2d)
    ] == dilations


def test_aspp_branches_cost_a_1x1_convolution_on_a_12x12_map() -> None:
    aspp = ASPP(8, rates=RATES[8], dropout=0.0)
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
    norm.load_state_dict(
        {"running_mean": torch.tensor([1.0, -1.0]), "running_var": torch.tensor([4.0, 1.0])},
        strict=False,
    )
    single = torch.tensor([3.0, -1.0]).reshape(1, 2, 1, 1)
    assert norm(single).flatten().tolist() == pytest.approx([(3 - 1) / 2, 0.0], abs=1e-4)
    assert norm.state_dict()["running_mean"].tolist() == [1.0, -1.0]
    norm(
        torch.cat([single, -single])
    )  # two images move the mean a tenth of the way to theirs, zero
    assert norm.state_dict()["running_mean"].tolist() == pytest.approx([0.9, -0.9])
