"""The contract of every registered network, and the factory's errors."""

from copy import deepcopy
from functools import lru_cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from acdc_seg.config import MODEL_SECTIONS
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.models import MODELS, SegmentationModel, create_model

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"base_channels": 8},
    "fcn8s": {"fc_channels": 64},
    "fcn16s": {"fc_channels": 64},
    "fcn32s": {"fc_channels": 64},
    "effunet": {"variant": "b0", "drop_connect": 0.0},
    "deeplab_mobilenet": {"output_stride": 8},
    "swin_unet": {"feature_size": 12},
    "setr": {"patch_size": 4, "hidden_size": 48, "num_layers": 2, "num_heads": 3},
    "dynunet": {"base_channels": 8},
}
LEARN_IN_SUITE = ("unet", "deeplab_mobilenet", "effunet", "enet")  # one small network per family
TOO_COARSE = ("fcn32s",)  # two scores along the side of a small image cannot draw a ring
SLOW_LEARNERS = ("enet", "esnet")  # by the steps they need
WITHOUT_META = ("swin_unet",)  # its stochastic depth reads values while it is built


@lru_cache(maxsize=2)  # tests of one network follow one another
def small_model(name: str, in_channels: int) -> SegmentationModel:
    torch.manual_seed(0)
    return create_model(name, in_channels, 4, **SMALL.get(name, {})).eval()


def test_registry_and_config_know_the_same_networks() -> None:
    assert set(MODELS) == set(MODEL_SECTIONS)


@pytest.mark.parametrize("name", MODELS, scope="module")
@torch.inference_mode()
def test_logits_have_the_shape_of_the_image_for_all_channels_and_classes(name: str) -> None:
    with torch.device("cpu" if name in WITHOUT_META else "meta"):
        for in_channels, num_classes in [(1, 8), (3, 2)]:
            model = create_model(name, in_channels, num_classes, **SMALL.get(name, {})).eval()
            for size in [(97, 101), (128, 160)]:
                logits = model(torch.ones(2, in_channels, *size))
                assert logits.shape == (2, num_classes, *size)


@pytest.mark.parametrize("name", MODELS, scope="module")
@torch.inference_mode()
def test_logits_are_finite_and_have_the_size_of_the_image(name: str) -> None:
    model = small_model(name, 3)
    for height, width in [(97, 101), (32, 75)]:
        logits = model(torch.randn(1, 3, height, width))
        assert logits.shape == (1, 4, height, width)
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", MODELS, scope="module")
def test_every_parameter_learns(name: str) -> None:
    model = deepcopy(small_model(name, 1)).train()
    torch.manual_seed(0)
    F.cross_entropy(model(torch.randn(2, 1, 64, 64)), torch.randint(0, 4, (2, 64, 64))).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", MODELS, scope="module")
def test_trains_on_a_batch_of_one(name: str) -> None:
    model = deepcopy(small_model(name, 1)).train()
    logits = model(torch.randn(1, 1, 32, 32))
    logits.square().mean().backward()
    assert logits.isfinite().all()
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in LEARN_IN_SUITE else pytest.mark.slow)
        for name in MODELS
        if name not in TOO_COARSE
    ],
)
@pytest.mark.timeout(1200)
def test_masks_learned_in_train_mode_are_predicted_in_eval_mode(name: str) -> None:
    torch.manual_seed(0)
    images, target = rings_and_pools()
    model = create_model(name, 1, 3, **SMALL.get(name, {}))
    num_steps, lr = (120, 5e-3) if name in SLOW_LEARNERS else (60, 2e-3)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=num_steps)
    for _ in range(num_steps):
        optimizer.zero_grad()
        F.cross_entropy(model.train()(images), target).backward()
        optimizer.step()
        schedule.step()
    for training in (True, False):
        with torch.inference_mode():
            prediction = model.train(training)(images).argmax(1)
        for label in (1, 2):
            overlap = ((prediction == label) & (target == label)).sum()
            assert 2 * overlap / ((prediction == label).sum() + (target == label).sum()) > 0.9


def rings_and_pools() -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images `(3, 1, 48, 48)` of a disc (2) in a ring (1), and their classes `(3, 48,
    48)`.
    """
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    squares = torch.stack(
        [(rows - y) ** 2 + (columns - x) ** 2 for y, x in [(18, 18), (30, 20), (22, 30)]]
    )  # (3, 48, 48)
    target = (squares < 15**2).long() + (squares < 9**2).long()
    return (target + 0.3 * torch.randn(3, 48, 48))[:, None], target


@pytest.mark.parametrize("name", MODELS, scope="module")
@torch.inference_mode()
def test_memory_format_and_batch_do_not_change_the_logits(name: str) -> None:
    model = small_model(name, 3)
    images = torch.randn(2, 3, 48, 40)
    logits = model(images)
    tolerance = 1e-4 * float(
        logits.abs().max().clamp(min=1)
    )  # logits of fresh residual networks are large
    torch.testing.assert_close(
        model(images.to(memory_format=torch.channels_last)), logits, atol=tolerance, rtol=1e-4
    )
    torch.testing.assert_close(model(images[1:]), logits[1:], atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS, scope="module")
def test_state_dict_restores_the_network(name: str) -> None:
    model = small_model(name, 1)
    torch.manual_seed(1)
    other = create_model(name, 1, 4, **SMALL.get(name, {})).eval()
    images = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        assert not torch.equal(other(images), model(images))
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(images), model(images))


@torch.inference_mode()
def test_pads_with_zeros_evenly_and_crops_back() -> None:
    model = small_model("unet", 1)  # multiple of 16: 97 -> 112, 7 before and 8 after; 64 stays
    images = torch.randn(1, 1, 97, 64)
    assert torch.equal(model(images), model(F.pad(images, (0, 0, 7, 8)))[:, :, 7:104])


@torch.inference_mode()
def test_coarse_logits_are_interpolated_to_the_image() -> None:
    stride_4 = torch.nn.AvgPool2d(4)
    model = SegmentationModel(
        stride_4, torch.nn.Identity(), torch.nn.Identity(), in_channels=1, multiple=4
    )
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    # column means 1.5, 5.5, ..., 29.5 are spread over columns 0, 31 / 7, ..., 31
    assert model(ramp)[0, 0, 0].tolist() == pytest.approx(
        [1.5 + column * 28 / 31 for column in range(32)], abs=1e-5
    )


def test_wrong_images_are_refused_with_the_remedy() -> None:
    model = small_model("unet", 1)
    with pytest.raises(
        DataError, match=r"\(2, 3, 64, 64\).*takes \(B, 1, H, W\).*convert the images to 1 channel"
    ):
        model(torch.zeros(2, 3, 64, 64))
    with pytest.raises(DataError, match=r"takes \(B, 1, H, W\)"):
        model(torch.zeros(1, 64, 64))
    with pytest.raises(DataError, match=r"height=31, width=40.*pad or resize them to 32x40"):
        model(torch.zeros(1, 1, 31, 40))


def test_unknown_networks_and_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'unet'"):
        create_model("unett", 1, 4)
    with pytest.raises(ConfigError, match=r"depht: unknown setting; did you mean 'depth'"):
        create_model("unet", 1, 4, depht=4)
    with pytest.raises(ConfigError, match="depth"):
        create_model("unet", 1, 4, depth=7)
