from math import sqrt

import pytest
import torch

from acdc_seg.models.backbones.drn import DRN54


@pytest.fixture(scope="module")
def drn() -> DRN54:
    torch.manual_seed(0)
    return DRN54(3)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("layer0.0.weight", (16, 3, 7, 7)),
        ("layer0.1.running_mean", (16,)),
        ("layer1.0.weight", (16, 16, 3, 3)),
        ("layer2.0.weight", (32, 16, 3, 3)),
        ("layer3.0.conv1.weight", (64, 32, 1, 1)),
        ("layer3.0.downsample.0.weight", (256, 32, 1, 1)),
        ("layer3.2.bn3.weight", (256,)),
        ("layer4.3.conv2.weight", (128, 128, 3, 3)),
        ("layer5.0.downsample.1.bias", (1024,)),
        ("layer5.5.conv3.weight", (1024, 256, 1, 1)),
        ("layer6.2.conv2.weight", (512, 512, 3, 3)),
        ("layer7.0.weight", (512, 2048, 3, 3)),
        ("layer8.1.weight", (512,)),
    ],
)
def test_parameters_are_named_as_in_the_public_checkpoint(
    drn: DRN54, key: str, shape: tuple[int, ...]
) -> None:
    assert tuple(drn.state_dict()[key].shape) == shape


def test_state_dict_has_nothing_else(drn: DRN54) -> None:
    convs = 5 + 16 * 3 + 4  # plain layers, three per bottleneck, four shortcuts
    assert len(drn.state_dict()) == convs * 6  # a weight, and the five entries of its BatchNorm


@torch.inference_mode()
def test_strides_and_dilations(drn: DRN54) -> None:
    low, high = drn.eval()(torch.randn(1, 3, 97, 64))
    assert low.shape == (1, 256, 25, 16)
    assert high.shape == (1, 512, 13, 8)
    assert [getattr(drn, f"layer{n}")[-1].conv2.dilation[0] for n in (3, 4, 5, 6)] == [1, 1, 2, 4]
    assert [getattr(drn, f"layer{n}")[0].dilation[0] for n in (0, 1, 2, 7, 8)] == [1, 1, 1, 2, 1]


def test_initialisation_counts_outgoing_connections(drn: DRN54) -> None:
    assert drn.state_dict()["layer7.0.weight"].std().item() == pytest.approx(
        sqrt(2 / (9 * 512)), rel=0.01
    )
