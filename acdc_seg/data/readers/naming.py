"""Finds which mask is of which image by comparing their file names."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import product
from typing import NamedTuple

from acdc_seg.data.record import common_affix

IMAGE_WORDS = r"image|img|im|0000"
MASK_WORDS = (
    r"masks?|labels?|lab|gt|segs?|segmentations?|annotations?|groundtruth|ground_truth|targets?"
)
NUM_COMPARED = 3
"""Masks whose names are compared with those of all images."""


class Naming(NamedTuple):
    """What is before and after the part of a name that image and mask share."""

    image_before: str = ""
    image_after: str = ""
    mask_before: str = ""
    mask_after: str = ""

    def image_key(self, stem: str) -> str:
        """The shared part of an image's stem; empty for a stem that is not an image's."""
        return _between(stem, self.image_before, self.image_after)

    def mask_key(self, stem: str) -> str:
        """The shared part of a mask's stem; empty for a stem that is not a mask's."""
        return _between(stem, self.mask_before, self.mask_after)

    def mask_stem(self, stem: str) -> str:
        """Stem of the mask of an image."""
        return f"{self.mask_before}{self.image_key(stem) or stem}{self.mask_after}"

    def __str__(self) -> str:
        if not any(self):
            return "of the same names"
        mask = f"{self.mask_before}NAME{self.mask_after}"
        return f"named {mask} for {self.image_before}NAME{self.image_after}"


DEFAULT = Naming(mask_after="_mask")


def find_naming(images: Collection[str], masks: Collection[str]) -> Naming:
    """The naming that pairs most of these stems; `DEFAULT` where none pairs any."""
    image_keys, mask_keys = set(images), set(masks)
    candidates = [DEFAULT, Naming()]
    affixes = product(_affixes(images, IMAGE_WORDS), _affixes(masks, MASK_WORDS))
    candidates += [Naming(*image, *mask) for image, mask in affixes]
    candidates += _compare(images, sorted(masks)[:NUM_COMPARED])
    candidates.append(Naming(*common_affix(images), *common_affix(masks)))
    return max(candidates, key=lambda naming: len(_shared(naming, image_keys, mask_keys)))


def find_naming_within(stems: Collection[str]) -> Naming | None:
    """The naming of images and masks in one folder; None where there are no pairs.

    An affix without a word for masks must explain every name.
    """
    known = [
        Naming(*image, *mask)
        for image, mask in product(_affixes(stems, IMAGE_WORDS), _affixes(stems, MASK_WORDS))
        if any(mask)
    ]
    compared = [
        naming
        for naming in _compare(stems, sorted(stems, key=len, reverse=True)[:NUM_COMPARED])
        if re.search(r"[^\W\d]", naming.mask_before + naming.mask_after)
        and 2 * len(_shared(naming, stems, stems)) == len(stems)
    ]
    best = max(
        [*known, *compared], key=lambda naming: len(_shared(naming, stems, stems)), default=None
    )
    return best if best and _shared(best, stems, stems) else None


def find_mask_affix(masks: Collection[str]) -> Naming:
    """The naming of masks without their images: a word for masks that most have, else none."""
    for before, after in _affixes(masks, MASK_WORDS)[1:]:
        naming = Naming(mask_before=before, mask_after=after)
        if 2 * sum(naming.mask_key(stem) != "" for stem in masks) >= len(masks):
            return naming
    return Naming()


def _shared(naming: Naming, images: Collection[str], masks: Collection[str]) -> set[str]:
    """Parts of names that have an image and a mask."""
    keys = {naming.image_key(stem) for stem in images} & {naming.mask_key(stem) for stem in masks}
    return keys - {""}


def _between(stem: str, before: str, after: str) -> str:
    if len(stem) <= len(before) + len(after):
        return ""
    if not (stem.startswith(before) and stem.endswith(after)):
        return ""
    return stem[len(before) : len(stem) - len(after)]


def _affixes(stems: Collection[str], words: str) -> list[tuple[str, str]]:
    """Nothing, and what these words are before and after the names, the most frequent first."""
    counts = Counter[tuple[str, str]]()
    for stem in stems:
        after = re.search(rf"(?i)[_\-. ]?(?:{words})$", stem)
        before = re.match(rf"(?i)(?:{words})[_\-. ]", stem)
        counts[before[0] if before else "", after[0] if after else ""] += 1
    return [("", ""), *(affix for affix, _ in counts.most_common() if any(affix))]


def _compare(images: Collection[str], masks: Collection[str]) -> Iterator[Naming]:
    """What masks have around the name of an image."""
    for mask in masks:
        for image in sorted(images):
            before, is_part, after = mask.partition(image)
            if is_part and (before or after):
                yield Naming(mask_before=before, mask_after=after)
