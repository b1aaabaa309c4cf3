from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.fcn import FCN, BilinearConvTranspose2d, FCNDecoder

STRIDES = (8, 16, 32)
POOLS = ((64, 2), (128, 4), (256, 8), (512, 16), (512, 32))  # channels and stride


def small_fcn(stride: int, **options: Any) -> FCN:
    return FCN(
        1, 3, **{"stride": stride, "fc_channels": 16, "norm": "batch", "dropout": 0.0, **options}
    )


def test_parameters_of_the_paper_counted_by_hand() -> None:
    convs = 14_714_688  # the table's thirteen 3x3 convolutions on 3 channels, with biases
    fc = (512 * 4096 * 49 + 4096) + (4096 * 4096 + 4096) + (4096 * 21 + 21)
    pool4, pool3, double = 512 * 21 + 21, 256 * 21 + 21, 21 * 21 * 4 * 4
    expected = {
        32: convs + fc + 21 * 21 * 64 * 64,
        16: convs + fc + pool4 + double + 21 * 21 * 32 * 32,
        8: convs + fc + pool4 + pool3 + 2 * double + 21 * 21 * 16 * 16,
    }
    for stride in STRIDES:
        with torch.device("meta"):
            model = FCN(3, 21, stride=stride, fc_channels=4096, norm="none", dropout=0.5)
        assert sum(parameter.numel() for parameter in model.parameters()) == expected[stride]
    assert expected[8] == 134_489_759


@pytest.mark.parametrize("stride", STRIDES)
@torch.inference_mode()
def test_scores_have_the_stride_and_logits_the_size_of_the_image(stride: int) -> None:
    model = small_fcn(stride).eval()
    assert model.decoder(model.encoder(torch.randn(1, 1, 64, 96))).shape == (
        1,
        3,
        64 // stride,
        96 // stride,
    )
    assert model(torch.randn(1, 1, 33, 75)).shape == (1, 3, 33, 75)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_parameter_learns(stride: int, norm: str) -> None:
    torch.manual_seed(0)
    model = small_fcn(stride, norm=norm, dropout=0.5).train()
    F.cross_entropy(model(torch.randn(1, 1, 64, 64)), torch.randint(0, 3, (1, 64, 64))).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@torch.inference_mode()
def test_skips_of_the_fourth_and_the_third_pool_are_added() -> None:
    decoder = FCNDecoder(3, (512, 256), fc_channels=16, norm=False, dropout=0.0)
    pools = [torch.randn(1, channels, 32 // stride, 32 // stride) for channels, stride in POOLS]
    deep = decoder.ups[0](decoder.score(decoder.fc7(decoder.fc6(pools[4]))))
    fused = decoder.ups[1](deep + decoder.skip_scores[0](pools[3])) + decoder.skip_scores[1](
        pools[2]
    )
    torch.testing.assert_close(decoder(pools), fused)


def test_norm_stands_after_every_convolution_but_the_scores() -> None:
    def norms(norm: str) -> list[int]:
        with torch.device("meta"):
            model = small_fcn(8, norm=norm)
        return [
            module.num_features for module in model.modules() if isinstance(module, nn.BatchNorm2d)
        ]

    assert norms("batch") == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6 + [16] * 2
    assert norms("none") == []


def test_dropout_acts_on_the_classifier_alone() -> None:
    decoder = FCNDecoder(3, (512,), fc_channels=16, norm=False, dropout=1.0).train()
    pools = [torch.randn(1, channels, 32 // stride, 32 // stride) for channels, stride in POOLS]
    assert torch.equal(decoder(pools), decoder.skip_scores[0](pools[3]))


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
@torch.inference_mode()
def test_upsampling_begins_as_bilinear_interpolation(factor: int) -> None:
    x = torch.randn(1, 2, 5, 4)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inner = slice(
        factor // 2, -(factor // 2)
    )  # beyond the outermost centers one fades to zero, the other stays constant
    actual = BilinearConvTranspose2d(2, factor=factor)(x)
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual[..., inner, inner], expected[..., inner, inner])


@torch.inference_mode()
def test_bilinear_weights_of_factor_two() -> None:
    weight = BilinearConvTranspose2d(2, factor=2).weight
    assert (16 * weight[0, 0]).tolist() == [[1, 3, 3, 1], [3, 9, 9, 3], [3, 9, 9, 3], [1, 3, 3, 1]]
    assert not weight[0, 1].any()
