"""SliceGrid: where the pixels of a network's image are in a slice of the scanner, both ways."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from acdc_seg.config import PrepareConfig
from acdc_seg.data.resampling import LARGEST_IMAGE, Size, resize_array
from acdc_seg.errors import DataError


@dataclass(frozen=True)
class SliceGrid:
    """A slice `(X, Y)` is resampled to `resampled` pixels, on half-pixel centers, and the window of
    `size` pixels at `corner` is cut out; it may be larger than the slice.

    Attributes:
        native: Pixels of the slice.
        spacing: Their size in mm.
        resampled: Pixels after resampling.
        corner: First pixel of the window in the resampled slice; negative outside.
        size: Pixels of the window.
    """

    native: Size
    spacing: tuple[float, float]
    resampled: Size
    corner: tuple[int, int]
    size: Size

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Size of the window's pixels in mm."""
        rows, columns = (
            pixels * size / resampled
            for pixels, size, resampled in zip(
                self.native, self.spacing, self.resampled, strict=True
            )
        )
        return rows, columns

    def cut_image(
        self, image: np.ndarray, *, margin: Size = (0, 0), nearest: bool = False
    ) -> np.ndarray:
        """The window of grey values `(X, Y)`, float32; pixels outside of the slice are 0.

        Args:
            image: Grey values.
            margin: Pixels around the window that are cut too.
            nearest: Take the nearest pixel instead of interpolating.
        """
        pixels = _nearest(image, self.resampled) if nearest else self._linear(image)
        corner = (self.corner[0] - margin[0], self.corner[1] - margin[1])
        return crop(pixels, corner, (self.size[0] + 2 * margin[0], self.size[1] + 2 * margin[1]))

    def cut_labels(self, labels: np.ndarray) -> np.ndarray:
        """The window of a mask or of labels `(X, Y)`."""
        return crop(_nearest(labels, self.resampled), self.corner, self.size)

    def restore_labels(self, labels: np.ndarray) -> np.ndarray:
        """Labels `(H, W)` of the window as a slice `(X, Y)`, background around them."""
        around = (-self.corner[0], -self.corner[1])
        return _nearest(crop(labels, around, self.resampled), self.native)

    def restore_probabilities(self, probabilities: Any) -> Any:
        """Probabilities `(B, K, H, W)` of the window, a tensor or an array, as those of slices
        `(B, K, X, Y)`.

        They are interpolated, so that contours are as smooth as the slice's pixels allow; outside
        of the window all is background.
        """
        if self.corner == (0, 0) and self.size == self.resampled:
            return _resize(probabilities, self.native)
        whole = _zeros(probabilities, (*probabilities.shape[:2], *self.resampled))
        whole[:, 0] = 1
        first = [max(0, start) for start in self.corner]
        last = [
            min(start + size, pixels)
            for start, size, pixels in zip(self.corner, self.size, self.resampled, strict=True)
        ]
        if first[0] < last[0] and first[1] < last[1]:
            top, left = (start - edge for start, edge in zip(first, self.corner, strict=True))
            bottom, right = (end - edge for end, edge in zip(last, self.corner, strict=True))
            part = probabilities[..., top:bottom, left:right]
            whole[..., first[0] : last[0], first[1] : last[1]] = part
        return _resize(whole, self.native)

    def _linear(self, image: np.ndarray) -> np.ndarray:
        values = np.ascontiguousarray(image, np.float32)
        try:
            import cv2
        except ImportError:  # acdc-predict of ONNX files does without it: equal but for rounding
            return resize_array(values, self.resampled)
        pixels: np.ndarray = cv2.resize(values, self.resampled[::-1])
        return pixels


def make_grid(
    native: Size,
    spacing: tuple[float, float],
    settings: PrepareConfig,
    *,
    center: tuple[float, float] | None = None,
) -> SliceGrid:
    """The grid of the settings for slices of this shape.

    Args:
        native: Pixels of the slices.
        spacing: Their size in mm.
        settings: Pixel size, and whether and where to crop.
        center: Middle of the crop (x, y) in mm from the slice's corner; None is that of the slice.

    Raises:
        DataError: The resampled slice would have more than `LARGEST_IMAGE` pixels.
    """
    resampled = _resampled_size(native, spacing, settings.spacing)
    if settings.crop == "none":
        return SliceGrid(native, spacing, resampled, (0, 0), resampled)
    extent = np.array(native) * spacing
    middle = extent / 2 if center is None else np.array(center)
    pixel_size = extent / resampled
    corner = np.floor(middle / pixel_size - np.array(settings.size) / 2 + 0.5).astype(int)
    return SliceGrid(native, spacing, resampled, (int(corner[0]), int(corner[1])), settings.size)


def crop(pixels: np.ndarray, corner: Size, size: Size) -> np.ndarray:
    """The window of `size` at `corner`, zero where it leaves the slice `(X, Y)`."""
    if corner == (0, 0) and size == pixels.shape:
        return pixels
    window = np.zeros(size, pixels.dtype)
    start, end = np.array(corner), np.array(corner) + size
    first, last = np.maximum(start, 0), np.minimum(end, pixels.shape)
    if (first < last).all():
        (top, left), (bottom, right) = first - start, last - start
        window[top:bottom, left:right] = pixels[first[0] : last[0], first[1] : last[1]]
    return window


def _resampled_size(native: Size, spacing: tuple[float, float], target: float | None) -> Size:
    """Floored number of pixels of size `target` in the slice."""
    if target is None:
        return native
    # headers hold float32, so that 99.9999 pixels are 100
    rows = max(1, int(native[0] * spacing[0] / target + 1e-4))
    columns = max(1, int(native[1] * spacing[1] / target + 1e-4))
    if rows * columns > LARGEST_IMAGE:
        raise DataError(
            f"a slice of {native[0]} x {native[1]} pixels of {spacing[0]:g} x {spacing[1]:g} mm "
            f"would have more than {LARGEST_IMAGE:,} pixels of {target:g} mm; correct the voxel "
            "size in its header, or set prepare.spacing"
        )
    return rows, columns


def _zeros(values: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of the kind of these values."""
    if isinstance(values, np.ndarray):
        return np.zeros(shape, values.dtype)
    return values.new_zeros(shape)


def _resize(values: Any, size: Size) -> Any:
    """Bilinear interpolation of a tensor or an array `(B, K, H, W)`."""
    if isinstance(values, np.ndarray):
        return resize_array(values, size)
    from acdc_seg.data.geometry import resize  # of a tensor: PyTorch is there

    return resize(values, size)


def _nearest(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Nearest neighbour on half-pixel centers; a tie takes the higher index, which OpenCV's
    variants do not promise.
    """
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(int)
        for old, new in zip(pixels.shape, size, strict=True)
    )
    return pixels[np.ix_(rows, columns)]
