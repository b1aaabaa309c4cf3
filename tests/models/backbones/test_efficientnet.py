import re
from math import sqrt

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets.efficientnet import EfficientNetBNFeatures
from torch import nn

from acdc_seg.models.backbones.efficientnet import DepthwiseConv2d, EfficientNetEncoder, Variant

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def b0() -> EfficientNetEncoder:
    torch.manual_seed(0)
    return EfficientNetEncoder(3, variant="b0", drop_connect=0.2).eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("variant", "published", "channels", "head_channels"),
    [
        ("b0", 5_288_548, [16, 24, 40, 112, 320], 1280),
        ("b1", 7_794_184, [16, 24, 40, 112, 320], 1280),
        ("b2", 9_109_994, [16, 24, 48, 120, 352], 1408),
        ("b3", 12_233_232, [24, 32, 48, 136, 384], 1536),
        ("b4", 19_341_616, [24, 32, 56, 160, 448], 1792),
        ("b5", 30_389_784, [24, 40, 64, 176, 512], 2048),
        ("b6", 43_040_704, [32, 40, 72, 200, 576], 2304),
        ("b7", 66_347_960, [32, 48, 80, 224, 640], 2560),
    ],
)
def test_published_number_of_parameters_without_the_classifier(
    variant: Variant, published: int, channels: list[int], head_channels: int
) -> None:
    with torch.device("meta"):
        encoder = EfficientNetEncoder(3, variant=variant, drop_connect=0.2)
    classifier = (
        channels[-1] * head_channels + 2 * head_channels + (head_channels + 1) * 1000
    )  # 1x1 conv, BatchNorm, linear
    assert count(encoder) == published - classifier
    assert encoder.out_channels == [3, *channels]
    assert encoder.public_weights == f"efficientnet-{variant}"


def test_parameters_are_named_as_in_the_public_checkpoint() -> None:
    with torch.device("meta"):
        names = set(EfficientNetEncoder(3, variant="b3", drop_connect=0.2).state_dict())
    expected = {"_conv_stem.weight", *(f"_bn0.{key}" for key in BATCH_NORM)}
    for block in range(
        2 + 3 + 3 + 5 + 5 + 6 + 2
    ):  # 1.4 times 1, 2, 2, 3, 3, 4 and 1 blocks, rounded up
        norms, convs = (
            ["_bn1", "_bn2"],
            ["_depthwise_conv", "_project_conv", "_se_reduce", "_se_expand"],
        )
        if block >= 2:  # the first stage does not expand
            norms.append("_bn0")
            convs.append("_expand_conv")
        keys = [f"{norm}.{key}" for norm in norms for key in BATCH_NORM]
        keys += [f"{conv}.weight" for conv in convs] + ["_se_reduce.bias", "_se_expand.bias"]
        expected |= {f"_blocks.{block}.{key}" for key in keys}
    assert names == expected


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("_conv_stem.weight", (32, 3, 3, 3)),
        ("_blocks.0._depthwise_conv.weight", (32, 1, 3, 3)),
        ("_blocks.0._se_reduce.bias", (8,)),
        ("_blocks.1._expand_conv.weight", (96, 16, 1, 1)),
        ("_blocks.5._se_reduce.bias", (10,)),
        ("_blocks.11._depthwise_conv.weight", (672, 1, 5, 5)),
        ("_blocks.15._project_conv.weight", (320, 1152, 1, 1)),
    ],
)
def test_shapes_of_the_public_checkpoint(
    b0: EfficientNetEncoder, key: str, shape: tuple[int, ...]
) -> None:
    assert tuple(b0.state_dict()[key].shape) == shape


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 96), (128, 160)])
@torch.inference_mode()
def test_features_halve_the_map_five_times_after_the_image(
    b0: EfficientNetEncoder, height: int, width: int
) -> None:
    images = torch.randn(1, 3, height, width)
    features = b0(images)
    assert features[0] is images
    assert [tuple(feature.shape) for feature in features[1:]] == [
        (1, channels, height // 2**level, width // 2**level)
        for level, channels in enumerate([16, 24, 40, 112, 320], start=1)
    ]


@torch.inference_mode()
def test_computes_what_monai_computes(b0: EfficientNetEncoder) -> None:
    reference = EfficientNetBNFeatures(
        "efficientnet-b0", pretrained=False, norm=("batch", {"eps": 1e-3, "momentum": 0.1})
    ).eval()
    weights = {
        re.sub(r"_blocks\.\d+\.", "_blocks.", key): value
        for key, value in reference.state_dict().items()
    }
    encoder = EfficientNetEncoder(3, variant="b0", drop_connect=0.2).eval()
    assert not encoder.load_state_dict(weights, strict=False).missing_keys
    for height, width in [(32, 32), (64, 160)]:
        images = torch.randn(1, 3, height, width)
        for ours, theirs in zip(encoder(images)[1:], reference(images), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [2, 4, 6, 16])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"),
    [(3, 1, (1, 1)), (3, 2, (0, 1)), (5, 1, (2, 2)), (5, 2, (1, 2))],
)
def test_depthwise_convolution_and_its_gradients(
    kernel_size: int, stride: int, padding: tuple[int, int], size: int
) -> None:
    torch.manual_seed(0)
    ours = DepthwiseConv2d(3, kernel_size, stride=stride).double()
    reference = nn.Conv2d(3, 3, kernel_size, stride=stride, groups=3, bias=False).double()
    reference.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, size, size + 2, dtype=torch.float64, requires_grad=True)
    results = []
    for conv, y in [(ours, ours(x)), (reference, reference(F.pad(x, padding * 2)))]:
        score = (y * torch.linspace(-1, 2, y.numel(), dtype=torch.float64).reshape(y.shape)).sum()
        results.append((y, *torch.autograd.grad(score, [x, conv.weight])))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)
    torch.testing.assert_close(
        ours._convolve(x), results[0][0], atol=1e-10, rtol=0
    )  # as on other devices


def test_drop_connect_grows_linearly_and_follows_the_seed() -> None:
    encoder = EfficientNetEncoder(1, variant="b0", drop_connect=0.8)
    assert [block.drop_connect_rate for block in encoder._blocks] == pytest.approx(
        [0.8 * block / 16 for block in range(16)]
    )
    images = torch.randn(4, 1, 64, 64)
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(encoder(images)[-1])
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])
    assert torch.equal(encoder.eval()(images)[-1], encoder(images)[-1])


def test_without_drop_connect_training_is_deterministic() -> None:
    encoder = EfficientNetEncoder(1, variant="b0", drop_connect=0.0).train()
    images = torch.randn(2, 1, 64, 64)
    assert torch.equal(encoder(images)[-1], encoder(images)[-1])


def test_running_statistics_follow_within_few_steps(b0: EfficientNetEncoder) -> None:
    norms = [module for module in b0.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 1 + 2 + 15 * 3
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.1, 1e-3)}


@pytest.mark.parametrize(
    ("key", "fan_out"),
    [
        ("_blocks.11._depthwise_conv.weight", 25),
        ("_blocks.15._project_conv.weight", 320),
        ("_conv_stem.weight", 9 * 32),
    ],
)
def test_initialisation_counts_outgoing_connections(
    b0: EfficientNetEncoder, key: str, fan_out: int
) -> None:
    assert b0.state_dict()[key].std().item() == pytest.approx(sqrt(2 / fan_out), rel=0.06)


def test_only_what_will_have_gradients_is_convolved_by_threes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its gradients are fast and its result is slow."""
    conv, x = DepthwiseConv2d(3, 5, stride=2), torch.randn(1, 3, 8, 8)
    split = conv(x)
    monkeypatch.setattr(DepthwiseConv2d, "_convolve_by_threes", lambda self, x: None)
    assert conv(x) is None
    with torch.no_grad():
        torch.testing.assert_close(conv(x), split, atol=1e-5, rtol=1e-5)
