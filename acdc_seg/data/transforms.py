"""Preprocessing of images for a network, and random augmentation, redrawn each epoch."""

import random
from collections.abc import Callable
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch

from acdc_seg.config import AugmentConfig, DataConfig
from acdc_seg.data.geometry import place
from acdc_seg.data.normalization import normalize
from acdc_seg.labels import IGNORE_INDEX

Transforms = list[A.BasicTransform | A.BaseCompose]
SHEAR_DEGREES = 16.7
"""The reference study's shear factor of 0.3 as an angle."""


def preprocess(images: torch.Tensor, data: DataConfig) -> torch.Tensor:
    """Whole images `(B, C, H, W)` in 0..1 as networks see them, or see windows of them: of the size
    that `data` says, normalized, channels_last.
    """
    placement = place((images.shape[-2], images.shape[-1]), data)
    if data.window:
        # by the image, for in a window of background alone noise would pass for contrast
        images = placement.fit_images(normalize(images, data))
    else:
        images = normalize(placement.fit_images(images), data)
    return images.contiguous(memory_format=torch.channels_last)


def preprocess_batch(images: torch.Tensor, data: DataConfig) -> torch.Tensor:
    """Training examples `(B, C, H, W)`, which have their size, as networks see them; windows are
    normalized already, with the image that they are from.
    """
    images = images if data.window else normalize(images, data)
    return images.contiguous(memory_format=torch.channels_last)


class Augment:
    """A random transform whose outcome depends on nothing but the key it is called with.

    `strong` sees every image stretched to 0..1, so that brightness, noise and gamma are relative to
    the range that the image fills: 12 bits of a 16-bit file, or a dark slice. Its result is brought
    back to that range, for networks that are given absolute gray values.
    """

    def __init__(self, config: AugmentConfig) -> None:
        transforms = _PIPELINES[config.preset](config)
        self.stretches = config.preset == "strong" and bool(transforms)
        self.square = A.Compose(transforms)
        self.oblong = A.Compose(_without_quarter_turns(transforms))

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, *, key: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Transforms image `(C, H, W)` in 0..1 and mask `(H, W)` by a key (seed, epoch, ...)."""
        generator = np.random.default_rng(key)
        pipeline = self.square if mask.shape[0] == mask.shape[1] else self.oblong
        pipeline.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        low, span = np.float32(0), np.float32(1)
        if self.stretches:
            low, span = image.min(), np.ptp(image) or span  # a constant image keeps its scale
            image = (image - low) / span
        result = pipeline(image=image.transpose(1, 2, 0), mask=mask)  # (H, W, C)
        image = result["image"].transpose(2, 0, 1)  # (C, H, W)
        if self.stretches:
            image = image * span + low
        return np.ascontiguousarray(image), np.ascontiguousarray(result["mask"])


def _without_quarter_turns(transforms: Transforms) -> Transforms:
    """The same for images that are not square, whose size a quarter turn would change."""
    flips: Transforms = []
    others: Transforms = []
    for transform in transforms:
        if isinstance(transform, A.SquareSymmetry):
            flips += [A.HorizontalFlip(p=transform.p), A.VerticalFlip(p=transform.p)]
        elif not isinstance(transform, A.RandomRotate90):
            others.append(transform)
    return [*flips, *others]


class BiasField(A.ImageOnlyTransform):
    """Multiplies the image by a smooth random field, as the sensitivity of a surface coil does.

    The field is exp of a 3x3 grid of normal draws with standard deviation `spread`, interpolated
    over the image.
    """

    def __init__(self, spread: float, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.spread = spread

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """Draws the field `(H, W, 1)`; called by Albumentations."""
        height, width = params["shape"][:2]
        grid = self.random_generator.normal(0, self.spread, (3, 3)).astype(np.float32)
        smooth = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        return {"field": np.exp(smooth)[..., None]}

    def apply(self, img: np.ndarray, field: np.ndarray, **params: Any) -> np.ndarray:
        """Shades the image `(H, W, C)`; called by Albumentations."""
        return np.clip(img * field, 0, 1)


def _shift(limit: float, p: float) -> A.Affine:
    limits = dict.fromkeys("xy", (-limit, limit))
    return A.Affine(translate_percent=limits, border_mode=cv2.BORDER_REPLICATE, p=p)


def _shear(p: float) -> A.Affine:
    """A shear that brings in black pixels, as the study's does, which are void in the mask."""
    limits = dict.fromkeys("xy", (-SHEAR_DEGREES, SHEAR_DEGREES))
    return A.Affine(shear=limits, fill_mask=IGNORE_INDEX, p=p)


def _strong(config: AugmentConfig) -> Transforms:
    """Pose, shape and contrast as they vary between patients and scanners."""
    s = config.strength
    shading = [BiasField(config.bias_field, p=0.5)] if config.bias_field else []
    if s == 0:
        return list(shading)
    return [
        A.SquareSymmetry(p=min(1, config.flip_rotate_prob * s)),
        A.Affine(
            rotate=(-30 * s, 30 * s),
            scale=(1 - 0.25 * s / (1 + 0.25 * s), 1 + 0.25 * s),
            translate_percent=(-0.08 * s, 0.08 * s),
            shear=(-8 * s, 8 * s),
            border_mode=cv2.BORDER_REFLECT_101,
            p=0.9,
        ),
        A.ElasticTransform(alpha=60 * s, sigma=8, border_mode=cv2.BORDER_REFLECT_101, p=0.4),
        *shading,
        A.RandomGamma(gamma_limit=(100 / (1 + 0.7 * s), 100 * (1 + 0.7 * s)), p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.15 * s, contrast_limit=0.3 * s, p=0.5),
        A.GaussNoise(std_range=(0, 0.05 * s), p=0.25),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.2, 0.2 + 0.8 * s), p=0.2),
    ]


VOID_PRESETS = ("shear", "mix")
"""Presets that bring in pixels from outside the image, whose class nobody knows."""

_PIPELINES: dict[str, Callable[[AugmentConfig], Transforms]] = {
    "none": lambda config: [],
    "horizontal": lambda config: [A.HorizontalFlip(p=0.5)],
    "vertical": lambda config: [A.VerticalFlip(p=0.5)],
    "rotate90": lambda config: [A.RandomRotate90(p=0.5)],
    "shear": lambda config: [_shear(0.5)],
    "shift": lambda config: [_shift(0.1, 0.5)],
    "reference": lambda config: [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.RandomRotate90(p=0.5),
        _shift(0.15, 0.2),
    ],
    "mix": lambda config: [
        A.HorizontalFlip(p=0.3),
        A.VerticalFlip(p=0.6),
        A.RandomRotate90(p=0.2),
        A.OneOf([_shear(0.8), _shift(0.1, 0.2)], p=0.3),
    ],
    "strong": _strong,
}
