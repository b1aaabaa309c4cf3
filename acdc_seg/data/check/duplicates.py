"""Finds images that are there twice, also with other grey values or as a shifted crop.

Every patch is compared with all patches of other owners. The best partner of each tells by how much
one picture would be shifted against the other; whether the two then agree decides.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from acdc_seg.data.check.thumbnails import Thumbnail
from acdc_seg.data.record import ProgressCallback, no_progress

PATCH_SIMILARITY = 0.9
"""Correlation of two patches from which their pictures are compared."""
SIMILARITY = 0.92
"""Correlation of two pictures, where they overlap, from which they show the same. Hearts of
different patients reach 0.88 (phantom) and 0.75 (MR).
"""
MIN_OVERLAP = 0.6
"""Part of the shorter edges that two pictures must share after the shift."""
CHUNK = 1024


class Match(NamedTuple):
    """Two images that show the same; `first < second` are their positions in the list."""

    first: int
    second: int
    similarity: float
    """Correlation of their pictures; 1 for equal files."""
    is_equal: bool
    """All pixels are equal."""
    is_shifted: bool


def find_duplicates(
    thumbnails: Sequence[Thumbnail],
    owners: Sequence[str],
    *,
    on_progress: ProgressCallback = no_progress,
) -> list[Match]:
    """Pairs of images that show the same, in the order of the list.

    Args:
        thumbnails: Of all images.
        owners: Patient of each; images of one patient may look alike, and are reported where they
            are equal.
        on_progress: Called now and then.
    """
    equal = _equal_pairs(thumbnails)
    matches = {pair: Match(*pair, 1.0, True, False) for pair in equal}
    shifts: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
    for pair, shift in _candidates(thumbnails, owners, on_progress):
        shifts[pair].add(shift)
    twin = {second: first for first, second in equal}
    for (first, second), of_pair in shifts.items():
        if twin.get(first, first) == twin.get(second, second):
            continue
        scores = {
            shift: overlap_similarity(thumbnails[first].pixels, thumbnails[second].pixels, shift)
            for shift in of_pair
        }
        best = max(scores, key=lambda shift: scores[shift])
        if scores[best] >= SIMILARITY:
            is_shifted = max(map(abs, best)) > 0
            matches[first, second] = Match(first, second, scores[best], False, is_shifted)
    return [matches[pair] for pair in sorted(matches)]


def overlap_similarity(first: np.ndarray, second: np.ndarray, shift: tuple[int, int]) -> float:
    """Correlation of two pictures where `first[y, x]` lies over `second[y + dy, x + dx]`; 0 where
    they share too little.
    """
    windows = []
    for size, other, offset in zip(first.shape, second.shape, shift, strict=True):
        start, stop = max(0, -offset), min(size, other - offset)
        if stop - start < MIN_OVERLAP * min(size, other):
            return 0.0
        windows.append((start, stop, offset))
    (top, bottom, dy), (left, right, dx) = windows
    a = first[top:bottom, left:right].astype(np.float32)
    b = second[top + dy : bottom + dy, left + dx : right + dx].astype(np.float32)
    a -= a.mean()
    b -= b.mean()
    norm = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0


def _equal_pairs(thumbnails: Sequence[Thumbnail]) -> list[tuple[int, int]]:
    """The first of all equal images with each of the others."""
    first: dict[bytes, int] = {}
    pairs = []
    for index, thumbnail in enumerate(thumbnails):
        earlier = first.setdefault(thumbnail.digest, index)
        if earlier != index:
            pairs.append((earlier, index))
    return pairs


def _candidates(
    thumbnails: Sequence[Thumbnail], owners: Sequence[str], on_progress: ProgressCallback
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Pairs of images of different owners that share a patch, and the shift that it tells."""
    if not thumbnails:
        return
    order = sorted(range(len(thumbnails)), key=lambda index: owners[index])
    counts = [len(thumbnails[index].patches) for index in order]
    image = np.repeat(order, counts)  # (P,) of every patch
    patches = np.concatenate([thumbnails[index].patches for index in order])  # (P, 64)
    points = np.concatenate([thumbnails[index].landmarks for index in order])  # (P, 2)
    _, owner = np.unique([owners[index] for index in order], return_inverse=True)
    owner = np.repeat(owner, counts)
    begin, end = np.searchsorted(owner, owner), np.searchsorted(owner, owner, side="right")
    for start in range(0, len(patches), CHUNK):
        similarity = patches[start : start + CHUNK] @ patches.T  # (CHUNK, P)
        rows = np.arange(len(similarity))
        for row in rows:  # the owner's own patches are neighbors in the order
            similarity[row, begin[start + row] : end[start + row]] = 0
        partner = similarity.argmax(axis=1)
        for row in rows[similarity[rows, partner] >= PATCH_SIMILARITY]:
            one, two = sorted((start + row, partner[row]), key=lambda patch: image[patch])
            dy, dx = (points[two] - points[one]).tolist()
            yield (int(image[one]), int(image[two])), (dy, dx)
        on_progress("duplicates", min(start + CHUNK, len(patches)), len(patches))
