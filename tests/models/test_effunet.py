import pytest
import torch
from torch import nn

from acdc_seg.models.effunet import EffUNet


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_parameters_counted_by_hand() -> None:
    with torch.device("meta"):
        model = EffUNet(1, 4, variant="b3", concat_input=True, drop_connect=0.2)
    deep, skips, fine = [384, 256, 128, 64, 32], [136, 48, 32, 24, 1], [256, 128, 64, 32, 16]
    levels = [
        9 * (a + b) * c + 9 * c * c + 4 * c for a, b, c in zip(deep, skips, fine, strict=True)
    ]  # two convs, two BatchNorms
    assert (
        count(model.encoder) == 12_233_232 - (384 * 1536 + 2 * 1536 + 1537 * 1000) - 2 * 9 * 40
    )  # no classifier, a grey stem
    assert count(model.decoder) == sum(levels)
    assert count(model.head) == 16 * 4 + 4


@pytest.mark.parametrize("in_channels", [1, 3])
def test_the_image_widens_the_last_level_alone(in_channels: int) -> None:
    with torch.device("meta"):
        with_image, without = (
            EffUNet(in_channels, 2, variant="b0", concat_input=on, drop_connect=0.0)
            for on in (True, False)
        )
    assert count(with_image) - count(without) == in_channels * 16 * 9


@torch.inference_mode()
def test_the_decoder_sees_the_image_if_asked() -> None:
    for concat_input in (True, False):
        model = EffUNet(1, 2, variant="b0", concat_input=concat_input, drop_connect=0.0).eval()
        features = model.encoder(torch.randn(1, 1, 64, 96))
        inverted = [-features[0], *features[1:]]
        y = model.decoder(features)
        assert y.shape == (1, 16, 64, 96)
        assert torch.equal(model.decoder(inverted), y) is not concat_input


@torch.inference_mode()
def test_every_skip_reaches_the_logits() -> None:
    model = EffUNet(1, 2, variant="b0", concat_input=True, drop_connect=0.0).eval()
    features = model.encoder(torch.randn(1, 1, 64, 64))
    y = model.decoder(features)
    for level in range(6):
        without = [
            torch.zeros_like(feature) if index == level else feature
            for index, feature in enumerate(features)
        ]
        assert not torch.allclose(model.decoder(without), y)


@torch.inference_mode()
def test_any_size_and_one_small_image_in_train_mode() -> None:
    model = EffUNet(3, 4, variant="b0", concat_input=True, drop_connect=0.2)
    for height, width in [(32, 32), (97, 101), (32, 75)]:
        logits = model.train()(torch.randn(1, 3, height, width))
        assert logits.shape == (1, 4, height, width)
        assert logits.isfinite().all()
    assert all(value.isfinite().all() for value in model.state_dict().values())
