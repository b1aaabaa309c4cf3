import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from acdc_seg.models.blocks import AtrousConv2d, conv_norm_relu, init_kaiming


@pytest.mark.parametrize(
    ("height", "width", "dilation", "stride"),
    [
        (12, 12, 12, 1),
        (12, 12, 36, 1),
        (12, 13, 12, 1),
        (13, 12, 12, 1),
        (11, 14, 13, 2),
        (13, 13, 12, 1),
        (5, 5, 2, 2),
        (1, 1, 1, 1),
    ],
)
def test_leaving_out_dead_taps_changes_nothing(
    height: int, width: int, dilation: int, stride: int
) -> None:
    torch.manual_seed(0)
    atrous = AtrousConv2d(3, 4, dilation=dilation, stride=stride).double()
    reference = nn.Conv2d(3, 4, 3, stride=stride, padding=dilation, dilation=dilation).double()
    reference.load_state_dict(atrous.state_dict())
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    results = []
    for conv in (atrous, reference):
        image = x.clone().requires_grad_()
        y = conv(image)
        score = (y * torch.linspace(-1, 2, y.numel(), dtype=torch.float64).reshape(y.shape)).sum()
        results.append((y, *torch.autograd.grad(score, [image, *conv.parameters()])))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("height", "width", "taps"), [(12, 12, 1), (12, 13, 3), (13, 12, 3), (13, 13, 9)]
)
def test_multiplies_live_taps_only(height: int, width: int, taps: int) -> None:
    conv = AtrousConv2d(2, 5, dilation=12)
    with FlopCounterMode(display=False) as counter:
        conv(torch.randn(1, 2, height, width))
    assert counter.get_total_flops() == 2 * taps * 2 * 5 * height * width


def test_conv_norm_relu_keeps_the_size_and_is_not_negative() -> None:
    x = torch.randn(2, 3, 9, 10)
    for kernel_size, dilation in [(1, 1), (3, 1), (7, 1), (3, 4)]:
        y = conv_norm_relu(3, 5, kernel_size, dilation=dilation)(x)
        assert y.shape == (2, 5, 9, 10)
        assert y.min() == 0
    assert conv_norm_relu(3, 5, stride=2)(x).shape == (2, 5, 5, 5)


def test_kaiming_keeps_the_variance_and_clears_biases() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 128, 3)
    init_kaiming(conv)
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert not conv.state_dict()["bias"].any()
