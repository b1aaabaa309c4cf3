import hashlib
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import get_args

import albumentations as A
import cv2
import numpy as np
import pytest
import torch

from acdc_seg.config import AugmentConfig, DataConfig
from acdc_seg.data import transforms
from acdc_seg.data.geometry import resize
from acdc_seg.data.transforms import Augment, normalize, preprocess, preprocess_batch
from acdc_seg.labels import IGNORE_INDEX

PRESETS = get_args(AugmentConfig.model_fields["preset"].annotation)
IMAGE_MODE = DataConfig(normalize="per_image")
CORNER = np.arange(16, dtype=np.float32).reshape(1, 4, 4) / 16
"""An image whose eight flips and turns all differ."""


def augment(preset, image, mask, key=(0, 0, 0), **settings):
    return Augment(AugmentConfig(preset=preset, **settings))(image, mask, key=key)


def as_input(heart):
    image, mask = heart
    return image[None].astype(np.float32) / 255, mask


def symmetry(image):
    """Which of the eight symmetries of the square made `image` out of CORNER; None if none did."""
    variants = {
        (flip, turns): np.rot90(CORNER[0, :, ::-1] if flip else CORNER[0], turns)
        for flip in (False, True)
        for turns in range(4)
    }
    return next(
        (name for name, variant in variants.items() if np.array_equal(variant, image[0])), None
    )


def test_a_preprocessed_batch_is_resized_normalized_and_channels_last():
    images = torch.rand(2, 3, 50, 37, generator=torch.Generator().manual_seed(0))
    batch = preprocess(images, DataConfig(channels=3, size=(48, 32), fit="stretch"))
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch, preprocess(resize(images, (48, 32)), IMAGE_MODE))


def test_whole_images_are_padded_and_then_normalized():
    image = torch.rand(1, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([image[:, :, :1]] * 2 + [image] + [image[:, :, -1:]] * 2, dim=2)
    for fit in ("auto", "resize", "pad"):
        batch = preprocess(image, DataConfig(size=(8, 8), fit=fit))
        assert torch.equal(batch, normalize(padded, IMAGE_MODE))


def test_images_of_windows_are_normalized_and_then_padded():
    image = torch.rand(1, 1, 4, 9, generator=torch.Generator().manual_seed(0))
    batch = preprocess(image, DataConfig(size=(6, 6), fit="crop"))
    assert batch.shape == (1, 1, 6, 9)
    assert torch.equal(batch[:, :, 1:5], normalize(image, IMAGE_MODE))
    assert torch.equal(batch[:, :, 0], batch[:, :, 1])


def test_batches_of_windows_are_normalized_already():
    windows = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = DataConfig(size=(8, 8), fit="crop")
    assert torch.equal(preprocess_batch(windows, data), windows)
    assert torch.equal(preprocess_batch(windows, IMAGE_MODE), normalize(windows, IMAGE_MODE))


def test_each_channel_has_its_own_mean_and_deviation():
    images = torch.full((2, 3, 2, 2), 0.5)
    settings = {"channels": 3, "normalize": "fixed"}
    three = DataConfig(mean=(0.5, 0.25, 0.0), std=(1.0, 0.5, 0.25), **settings)
    assert normalize(images, three)[1, :, 1, 0].tolist() == [0.0, 0.5, 2.0]
    same = DataConfig(mean=(0.3, 0.3, 0.3), std=(0.2, 0.2, 0.2), **settings)
    one = DataConfig(mean=0.3, std=0.2, **settings)
    torch.testing.assert_close(normalize(images, same), normalize(images, one))


def test_imagenets_constants_have_a_name():
    color = torch.tensor([0.485 + 0.229, 0.456, 0.406 - 0.225])[None, :, None, None]
    normalized = normalize(color, DataConfig(channels=3, normalize="imagenet"))
    torch.testing.assert_close(normalized.flatten(), torch.tensor([1.0, 0.0, -1.0]))


def test_image_normalization_is_per_image_and_forgets_brightness_and_contrast():
    images = torch.rand(3, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    normalized = preprocess(images, IMAGE_MODE)
    torch.testing.assert_close(normalized.mean((1, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(normalized.std((1, 2, 3), correction=0), torch.ones(3))
    torch.testing.assert_close(
        preprocess(images * 40 + 7, IMAGE_MODE), normalized, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(preprocess(images[1:2], IMAGE_MODE), normalized[1:2])


def test_normalization_by_hand():
    images = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    torch.testing.assert_close(
        preprocess(images, IMAGE_MODE), torch.tensor([[[[-(1.5**0.5), 0, 1.5**0.5]]]])
    )
    torch.testing.assert_close(
        preprocess(images, DataConfig(normalize="fixed", mean=0.5, std=0.25)),
        torch.tensor([[[[-2.0, 0, 2]]]]),
    )
    assert torch.equal(preprocess(images, DataConfig(normalize="none")), images)


def test_a_constant_image_becomes_zero():
    assert torch.equal(
        preprocess(torch.full((1, 1, 4, 4), 0.5), IMAGE_MODE), torch.zeros(1, 1, 4, 4)
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_presets_keep_shape_range_and_labels(preset, channels, hearts):
    image, mask = as_input(hearts[0])
    image = np.repeat(image, channels, axis=0)
    mask = np.where(mask == 3, 255, mask == 2).astype(
        np.uint8
    )  # 1 and 2 must not arise between 0, 1 and 255
    transform = Augment(AugmentConfig(preset=preset))
    changed = 0
    for index in range(20):
        new_image, new_mask = transform(image, mask, key=(0, 0, index))
        assert (new_image.shape, new_image.dtype, new_mask.shape, new_mask.dtype) == (
            image.shape,
            np.float32,
            mask.shape,
            np.uint8,
        )
        assert new_image.flags.c_contiguous
        assert new_image.min() >= 0
        assert new_image.max() <= 1
        assert set(np.unique(new_mask)) <= {0, 1, 255}
        assert np.isfinite(new_image).all()
        changed += not np.array_equal(new_image, image)
    assert changed == 0 if preset == "none" else 3 <= changed <= 20


@pytest.mark.parametrize("preset", PRESETS)
def test_augmentation_is_a_pure_function_of_its_key(preset, hearts):
    image, mask = as_input(hearts[0])
    before = image.copy(), mask.copy()
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    forward = [augment(preset, image, mask, key) for key in keys]
    transform = Augment(AugmentConfig(preset=preset))
    np.random.seed(3)  # noqa: NPY002
    backward = [transform(image, mask, key=key) for key in reversed(keys)][::-1]
    for ours, theirs in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])


def test_every_part_of_the_key_counts(hearts):
    image, mask = as_input(hearts[0])
    results = {
        augment("strong", image, mask, key)[0].tobytes()
        for key in [(s, e, i) for s in (0, 1) for e in (0, 1) for i in range(5)]
    }
    assert len(results) >= 19


@pytest.mark.parametrize("preset", ["horizontal", "vertical", "rotate90", "mix", "reference"])
def test_the_mask_moves_with_the_image(preset):
    mask, transform = (CORNER[0] * 16).astype(np.uint8), Augment(AugmentConfig(preset=preset))
    symmetries = set()
    for index in range(40):
        image, moved = transform(CORNER, mask, key=(0, 0, index))
        symmetries.add(symmetry(image))
        if symmetry(image):
            np.testing.assert_array_equal(moved, image[0] * 16)
    assert len(symmetries) > 1


@pytest.mark.parametrize("preset", PRESETS)
def test_no_pixel_from_outside_the_image_gets_a_class(preset):
    """A shear brings in pixels of no image: they are void, whatever class 0 is."""
    image, mask = np.full((1, 24, 24), 0.5, np.float32), np.ones((24, 24), np.uint8)
    num_void = 0
    for index in range(40):
        _, moved = augment(preset, image, mask, key=(0, 0, index))
        assert set(np.unique(moved)) <= {1, IGNORE_INDEX}
        num_void += (moved == IGNORE_INDEX).any()
    assert (num_void > 0) == (preset in transforms.VOID_PRESETS)


def test_a_warped_heart_stays_under_its_mask(hearts):
    """Grey values are read off the mask, so that after any warp they must still follow it."""
    mask = hearts[0][1]
    image = np.array([0.1, 0.4, 0.7, 1.0], np.float32)[mask][None]
    for preset in ("shear", "shift"):
        for index in range(10):
            new_image, new_mask = augment(preset, image, mask, (0, 0, index))
            inside = new_mask != IGNORE_INDEX
            expected = np.array([0.1, 0.4, 0.7, 1.0])[new_mask[inside]]
            distance = np.abs(new_image[0][inside] - expected)
            assert (distance < 0.02).mean() > 0.8
            assert distance.mean() < 0.06


def test_the_strong_preset_moves_both_alike(hearts):
    mask = hearts[0][1]
    image = (mask > 0).astype(np.float32)[None] * 0.9
    for index in range(20):
        new_image, new_mask = augment("strong", image, mask, (0, 0, index))
        shown, true = new_image[0] > 0.3, new_mask > 0
        assert 2 * (shown & true).sum() / (shown.sum() + true.sum()) > 0.85


def test_transforms_of_one_image_draw_independently():
    """All eight symmetries arise, in the shares that independent draws give; one seed for all would
    leave some out.
    """
    mask, transform = np.zeros((4, 4), np.uint8), Augment(AugmentConfig(preset="reference"))
    found = Counter(symmetry(transform(CORNER, mask, key=(0, 0, index))[0]) for index in range(300))
    del found[None]  # shifted
    assert len(found) == 8
    assert sum(
        count for (flip, _), count in found.items() if flip
    ) / found.total() == pytest.approx(0.5, abs=0.1)
    assert found[(False, 0)] / found.total() == pytest.approx(
        0.25 * (0.5 + 0.5 / 4) + 0.25 * 0.5 / 4, abs=0.06
    )


def test_flips_come_half_the_time():
    mask = np.zeros((4, 4), np.uint8)
    for preset, expected in (("horizontal", (True, 0)), ("vertical", (True, 2))):
        found = Counter(
            symmetry(augment(preset, CORNER, mask, (0, 0, index))[0]) for index in range(200)
        )
        assert set(found) == {(False, 0), expected}
        assert found[expected] / 200 == pytest.approx(0.5, abs=0.12)


def test_no_strength_is_no_change(hearts):
    image, mask = as_input(hearts[0])
    for index in range(10):
        new_image, new_mask = augment("strong", image, mask, (0, 0, index), strength=0)
        np.testing.assert_array_equal(new_image, image)
        np.testing.assert_array_equal(new_mask, mask)


@pytest.mark.parametrize("strength", [0.1, 1, 2])
def test_strength_has_a_range_that_works(strength, hearts):
    image, mask = as_input(hearts[0])
    for index in range(15):
        assert np.isfinite(
            augment("strong", image, mask, (0, 0, index), strength=strength)[0]
        ).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_images_that_are_not_square_keep_their_size(preset):
    image, mask = (
        np.random.default_rng(0).random((1, 32, 48), np.float32),
        np.zeros((32, 48), np.uint8),
    )
    results = [augment(preset, image, mask, (0, 0, index)) for index in range(15)]
    assert {(new_image.shape, new_mask.shape) for new_image, new_mask in results} == {
        ((1, 32, 48), (32, 48))
    }
    if preset not in ("none", "rotate90"):
        assert len({new_image.tobytes() for new_image, _ in results}) > 1


def test_a_bias_field_shades_the_image_smoothly_and_leaves_the_mask(hearts):
    image, mask = np.full((1, 48, 48), 0.5, np.float32), hearts[0][1]
    image[0, 0, 0], image[0, -1, -1] = 0, 1  # the range it fills
    results = [
        augment("strong", image, mask, (0, 0, index), strength=0, bias_field=0.2)
        for index in range(20)
    ]
    inside = [new_image[0, 1:-1, 1:-1] for new_image, _ in results]
    shaded = [pixels for pixels in inside if pixels.std() > 0]
    assert 4 <= len(shaded) <= 16
    for (_, new_mask), pixels in zip(results, inside, strict=True):
        np.testing.assert_array_equal(new_mask, mask)
        assert np.abs(np.diff(pixels, axis=0)).max() < 0.05
    assert np.std(np.log(shaded)) == pytest.approx(0.2, abs=0.08)


def disc(low, high):
    """A noisy disc with gray values in `low` to `high`, and its mask."""
    noise = np.random.default_rng(0).normal(0, 0.04, (64, 64))
    mask = (np.hypot(*(np.mgrid[:64, :64] - 32)) < 16).astype(np.uint8)
    pixels = np.clip(0.25 + 0.5 * mask + noise, 0, 1)
    pixels = (pixels - pixels.min()) / np.ptp(pixels)
    return (low + (high - low) * pixels).astype(np.float32)[None], mask


def contrast_to_noise(image, mask):
    inside, outside = image[0][mask == 1], image[0][mask == 0]
    return (inside.mean() - outside.mean()) / max(outside.std(), 1e-9)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 4095 / 65535), (0, 1200 / 65535), (0.1, 0.14)], ids=["12 bit", "dark", ""]
)
def test_augmentation_does_not_depend_on_the_range_that_an_image_fills(low, high):
    """12 bits of a 16-bit file, or a dark slice: as if it filled the whole range."""
    (full, mask), (image, _) = disc(0, 1), disc(low, high)
    for index in range(100):
        expected, expected_mask = augment("strong", full, mask, (0, 0, index), bias_field=0.1)
        new_image, new_mask = augment("strong", image, mask, (0, 0, index), bias_field=0.1)
        assert np.ptp(new_image) > 0
        assert new_image.min() >= low - 1e-6
        assert new_image.max() <= high + 1e-6
        np.testing.assert_array_equal(new_mask, expected_mask)
        np.testing.assert_allclose((new_image - low) / (high - low), expected, atol=2e-3)
        ratio = contrast_to_noise(new_image, new_mask)
        assert ratio == pytest.approx(contrast_to_noise(expected, expected_mask), rel=0.02)


def test_an_image_that_fills_its_range_is_augmented_as_it_is():
    image, mask = disc(0, 1)
    strong = Augment(AugmentConfig(preset="strong"))
    for index in range(20):
        strong.stretches = True
        stretched, _ = strong(image, mask, key=(0, 0, index))
        strong.stretches = False
        np.testing.assert_array_equal(strong(image, mask, key=(0, 0, index))[0], stretched)


def test_a_constant_image_is_augmented():
    image, mask = np.full((1, 32, 32), 0.3, np.float32), np.zeros((32, 32), np.uint8)
    for index in range(20):
        assert np.isfinite(augment("strong", image, mask, (0, 0, index))[0]).all()


def parts_of(preset, **settings):
    """Each transform of a preset alone, always applied."""
    for part in transforms._PIPELINES[preset](
        AugmentConfig(preset=preset, bias_field=0.3, **settings)
    ):
        part.p = 1
        yield type(part).__name__, part


def results_of_parts(image, mask, keys):
    """Digests of what every preset and every transform of `strong` makes of an image with every
    key.
    """
    found = {}
    for preset in PRESETS:
        found |= {
            (preset, key): Augment(AugmentConfig(preset=preset, bias_field=0.3))(
                image, mask, key=key
            )
            for key in keys
        }
    for name, part in parts_of("strong"):
        alone = Augment(AugmentConfig(preset="none"))
        alone.square = A.Compose([part])
        found |= {(name, key): alone(image, mask, key=key) for key in keys}
    return {
        each: hashlib.sha256(new_image.tobytes() + new_mask.tobytes()).hexdigest()
        for each, (new_image, new_mask) in found.items()
    }


KEYS = [(0, 0, index) for index in range(12)]


def test_every_random_transform_depends_on_the_key_alone(hearts):
    """Not on order, on global generators, on other keys drawn before, or on the process."""
    image, mask = as_input(hearts[0])
    expected = results_of_parts(image, mask, KEYS)
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        assert results_of_parts(image, mask, KEYS[::-1]) == expected
    with ProcessPoolExecutor(
        1, mp_context=get_context("fork"), initializer=cv2.setNumThreads, initargs=(0,)
    ) as pool:
        assert pool.submit(results_of_parts, image, mask, KEYS).result(timeout=60) == expected


def test_another_key_is_another_outcome_of_every_transform(hearts):
    image, mask = as_input(hearts[0])
    found = results_of_parts(image, mask, KEYS)
    distinct = {name: len({found[name, key] for key in KEYS}) for name, _ in found}
    assert distinct.pop("none") == 1
    few = (
        "horizontal",
        "vertical",
        "rotate90",
        "reference",
        "SquareSymmetry",
        "shift",
        "shear",
        "mix",
    )
    assert all(distinct.pop(name) >= 2 for name in few)
    assert distinct.keys() >= {
        "Affine",
        "ElasticTransform",
        "BiasField",
        "RandomGamma",
        "RandomBrightnessContrast",
        "GaussNoise",
    }
    assert all(count >= 10 for count in distinct.values()), distinct
