import pytest
import torch
from torch import nn

from acdc_seg.models.backbones.vgg import VGG16

# where the convolutions of the public checkpoints stand, pools and ReLUs being counted too
PLAIN = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
WITH_NORM = [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]
CHANNELS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


@pytest.mark.parametrize(
    ("norm", "name", "places"), [(False, "vgg16", PLAIN), (True, "vgg16_bn", WITH_NORM)]
)
def test_parameters_are_named_as_in_the_public_checkpoint(
    norm: bool, name: str, places: list[int]
) -> None:
    with torch.device("meta"):
        vgg = VGG16(3, norm=norm)
    shapes: dict[str, tuple[int, ...]] = {}
    for place, before, after in zip(places, [3, *CHANNELS], CHANNELS, strict=False):
        shapes |= {
            f"features.{place}.weight": (after, before, 3, 3),
            f"features.{place}.bias": (after,),
        }
        if norm:
            shapes |= {
                f"features.{place + 1}.{key}": (after,)
                for key in ("weight", "bias", "running_mean", "running_var")
            }
            shapes |= {f"features.{place + 1}.num_batches_tracked": ()}
    assert {key: tuple(value.shape) for key, value in vgg.state_dict().items()} == shapes
    assert vgg.public_weights == name


@torch.inference_mode()
def test_every_level_is_pooled_to_half_the_size() -> None:
    features = VGG16(1, norm=False)(torch.randn(1, 1, 64, 32))
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (64, 32, 16),
        (128, 16, 8),
        (256, 8, 4),
        (512, 4, 2),
        (512, 2, 1),
    ]


@torch.inference_mode()
def test_pooled_maps_are_those_of_the_layers_in_a_row() -> None:
    vgg = VGG16(1, norm=True).eval()
    x = torch.randn(1, 1, 32, 32)
    features = vgg(x)
    assert torch.equal(features[-1], vgg.features(x))
    pools = [index for index, layer in enumerate(vgg.features) if isinstance(layer, nn.MaxPool2d)]
    assert pools == [6, 13, 23, 33, 43]
    assert torch.equal(features[1], vgg.features[:14](x))
