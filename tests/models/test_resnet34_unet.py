from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.resnet34_unet import ResNet34UNet

Shortcuts = Literal["always", "resnet"]


@pytest.mark.parametrize(
    ("shortcuts", "encoder", "total"),
    [("always", 22_215_168, 29_531_169), ("resnet", 21_284_672, 28_600_673)],
)
def test_number_of_parameters(shortcuts: Shortcuts, encoder: int, total: int) -> None:
    with torch.device("meta"):
        model = ResNet34UNet(3, 1, shortcuts=shortcuts)
    assert sum(parameter.numel() for parameter in model.encoder.parameters()) == encoder
    assert sum(parameter.numel() for parameter in model.parameters()) == total


def test_every_convolution_has_a_bias_but_the_stem() -> None:
    with torch.device("meta"):
        model = ResNet34UNet(1, 4, shortcuts="always")
    assert [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.bias is None
    ] == ["encoder.conv1"]


def test_only_the_published_encoder_takes_public_weights() -> None:
    with torch.device("meta"):
        assert ResNet34UNet(1, 4, shortcuts="resnet").encoder.public_weights == "resnet34"
        assert not hasattr(ResNet34UNet(1, 4, shortcuts="always").encoder, "public_weights")


@pytest.mark.parametrize("shortcuts", ["always", "resnet"])
@torch.inference_mode()
def test_sums_are_rectified_in_the_published_encoder_only(shortcuts: Shortcuts) -> None:
    torch.manual_seed(0)
    _, *layers = ResNet34UNet(1, 4, shortcuts=shortcuts).eval().encoder(torch.randn(1, 1, 64, 64))
    assert [bool((feature < 0).any()) for feature in layers] == [shortcuts == "always"] * 4


@torch.inference_mode()
def test_doubling_last_equals_doubling_before_the_last_1x1_convolutions() -> None:
    torch.manual_seed(0)
    model = ResNet34UNet(1, 4, shortcuts="always").eval()
    last, scores = model.get_submodule("decoder.last"), model.get_submodule("head.0")
    for name, parameter in [*last.named_parameters(), *scores.named_parameters()]:
        if name == "bias":
            nn.init.normal_(parameter)
    fine = outputs_of(model.get_submodule("decoder.level"))
    logits = model(torch.randn(1, 1, 64, 96))
    doubled = F.interpolate(
        fine[0], scale_factor=2, mode="bilinear", align_corners=False
    )  # (1, 64, 64, 96)
    expected = scores(last(doubled))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def test_trains_on_one_small_image_with_more_than_one_value_per_channel() -> None:
    with torch.device("meta"):
        model = ResNet34UNet(1, 1, shortcuts="always").train()
        deepest = outputs_of(model.get_submodule("encoder.layer4"))
        assert model(torch.empty(1, 1, 32, 75)).shape == (1, 1, 32, 75)
    assert deepest[0].shape == (1, 512, 2, 3)  # padded to 64x96


def outputs_of(module: nn.Module) -> list[torch.Tensor]:
    """Filled with what the module returns, from now on."""
    outputs: list[torch.Tensor] = []
    module.register_forward_hook(lambda module, args, output: outputs.append(output))
    return outputs
