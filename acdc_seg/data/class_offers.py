"""Settings of classes that fit the values and colors of masks, to be offered where others fail."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.config.classes import class_presets, example_names

SCALED_VALUES = ((0, 255), (0, 127, 255), (0, 128, 255), (0, 85, 170, 255))
"""Mask values of programs that stretch class numbers to the whole grey range."""
MAX_OFFERED = 20
"""Classes up to which an offer names each; more of them are a picture rather than a mask."""
NEAR = 24
"""Levels by which lossy compression changes most pixels at most."""


class Offer(NamedTuple):
    """The likely fix in words, the `section.key=value` that it takes, and a code of the problem."""

    text: str
    settings: tuple[str, ...] = ()
    code: str = "mask_value"


def offer_for_values(values: Iterable[int], classes: ClassesConfig) -> Offer:
    """The settings with which masks of these values are read.

    Args:
        values: All that occur, some of which are of no class.
        classes: The present settings.
    """
    void = [] if classes.void is None else [classes.void.value]
    found = sorted(set(values) - set(void))
    settings = _settings_of_scaled(found, classes)
    if settings:
        text = "the values look like class numbers stretched to 0..255: set {} if that is so"
        return Offer(text.format(" ".join(settings)), settings, "mask_scaled")
    unknown = [value for value in found if value not in classes.values]
    if classes.void is None and unknown in ([0], [255]) and len(found) > 2:
        setting = f"classes.void={unknown[0]}"
        return Offer(f"set {setting} if these pixels have no class", (setting,))
    if len(found) == len(classes.labels):
        setting = _values(found)
        return Offer(f"correct the mask, or set {setting}", (setting,))
    if not 2 <= len(found) <= MAX_OFFERED:
        return Offer("correct the mask, or set classes.names and classes.values")
    settings = (example_names(len(found)), _values(found))
    return Offer(f"correct the mask, or set {' '.join(settings)}, if these are all", settings)


def offer_for_levels(pixels: np.ndarray, classes: ClassesConfig) -> Offer:
    """The settings with which a grey mask `(H, W)` of a lossy format is read."""
    for scaled in SCALED_VALUES:
        distance = np.abs(pixels[..., None].astype(np.int32) - scaled)  # (H, W, n)
        is_near = distance.min(axis=-1) <= NEAR
        present = set(distance.argmin(axis=-1)[is_near].tolist())
        settings = _settings_of_scaled(list(scaled), classes)
        if is_near.mean() > 0.98 and len(present) == len(scaled) and settings:
            text = f"save it as PNG, or set {' '.join(settings)} if its values are {list(scaled)}"
            return Offer(text, settings, "mask_lossy")
    return Offer("save the masks as PNG files", code="mask_lossy")


def offer_for_colors(pixels: np.ndarray) -> Offer:
    """The settings with which a color mask `(H, W, 3)` is read."""
    sample = pixels[:: 1 + len(pixels) // 200, :: 1 + pixels.shape[1] // 200].reshape(-1, 3)
    colors = np.unique(sample, axis=0)
    shares = {name: _share_of(sample, name) for name in class_presets()}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] > 0.5:
        setting = f"classes={best}"
        return Offer(f"set {setting} if these are its colours", (setting,), "mask_color")
    if len(colors) > MAX_OFFERED:
        text = "set classes.mask_encoding=nearest_color, classes.names and classes.colors"
        return Offer(text, code="mask_color")
    listed = ",".join(str(color.tolist()).replace(" ", "") for color in colors)
    settings = (
        "classes.mask_encoding=colors",
        example_names(len(colors)),
        f"classes.colors=[{listed}]",
    )
    return Offer(f"set {' '.join(settings)}, if these are all", settings, "mask_color")


def _settings_of_scaled(found: Sequence[int], classes: ClassesConfig) -> tuple[str, ...]:
    """The settings for values that a program has stretched; none for others."""
    num_classes = len(classes.labels)
    is_binary = set(found) in ({0, 255}, {255})
    if is_binary and num_classes > 2 and classes.labels == ClassesConfig().labels:
        return ("classes=binary",)
    for scaled in SCALED_VALUES:
        if set(found) <= set(scaled) and num_classes == len(scaled) and len(found) > 1:
            return (_values(scaled),)
    for scaled in SCALED_VALUES:
        if tuple(found) == scaled:
            return (example_names(len(scaled)), _values(scaled))
    return ()


def _values(values: Sequence[int]) -> str:
    return f"classes.values=[{','.join(map(str, values))}]"


def _share_of(colors: np.ndarray, preset: str) -> float:
    """Share of colors `(N, 3)` that are near one of a preset for color masks."""
    classes = ClassesConfig.model_validate(preset)
    if classes.mask_encoding == "values":
        return 0.0
    void = [] if classes.void is None else [classes.void.color]
    palette = np.array([*classes.colors, *void])
    distance = np.abs(colors[:, None].astype(np.int32) - palette).max(axis=-1)  # (N, P)
    return float((distance.min(axis=-1) <= NEAR).mean())
