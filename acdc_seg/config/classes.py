"""Settings of the classes: names, colors, and their encoding in mask files."""

from typing import Literal, Self

from pydantic import model_validator

from acdc_seg.config.section import Color, Section
from acdc_seg.labels import ACDC_LABELS

MAX_CLASSES = 255


class ClassesConfig(Section):
    """Names of the classes and their encoding in mask files; the first is the background."""

    names: tuple[str, ...] = tuple(label.name for label in ACDC_LABELS)
    """Class names in the order of the network's outputs."""
    values: tuple[int, ...] = tuple(label.value for label in ACDC_LABELS)
    """Value of each class in mask files (written here as read: [0, 85, 170, 255] for scaled masks).
    """
    colors: tuple[Color, ...] = tuple(label.color for label in ACDC_LABELS)
    """Colour of each class (R, G, B) in figures and in colour masks."""
    mask_encoding: Literal["values", "colors", "nearest_color"] = "values"
    """Encoding of a mask pixel: a value (in palette files the number of its colour), an exact
    colour, or the nearest colour (JPEG masks).
    """
    ignore_value: int | None = None
    """Value of void pixels in mask files, which loss and metrics ignore."""

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if not len(self.names) == len(self.values) == len(self.colors):
            counts = f"{len(self.names)}, {len(self.values)} and {len(self.colors)}"
            raise ValueError(
                f"names, values and colors must have one entry for each class, got {counts}"
            )
        if len(self.names) > MAX_CLASSES:
            raise ValueError(
                f"{len(self.names)} classes, at most {MAX_CLASSES} are possible: predictions are "
                "bytes, and one value is for void pixels"
            )
        if len(self.names) < 2:
            raise ValueError("at least two classes are needed: the background and one more")
        if len(set(self.values)) < len(self.values) or len(set(self.names)) < len(self.names):
            raise ValueError("names and values must not repeat")
        if self.mask_encoding != "values" and len(set(self.colors)) < len(self.colors):
            raise ValueError(f"colors must not repeat where mask_encoding={self.mask_encoding}")
        if self.ignore_value in self.values:
            raise ValueError(
                f"ignore_value {self.ignore_value} is the value of a class; void pixels need a "
                "value of their own"
            )
        return self
