"""Settings that read all masks of a set: those that one mask suggests rarely fit the others."""

from collections.abc import Sequence

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.check.look import MASK_VALUE_CODES, Look
from acdc_seg.data.class_offers import Offer, offer_for_values

MIN_SHARE = 0.25
"""Part of the masks with a value of no class from which it is taken for a class."""


def unify_offers(looks: Sequence[Look], classes: ClassesConfig) -> None:
    """Replaces the settings that problems of mask values offer by those for the values of all
    masks.

    Args:
        looks: What each record holds; their problems are changed in place.
        classes: The present settings.
    """
    bad = [look for look in looks if look.values]
    good = [look for look in looks if look.contacts is not None]
    if not bad:
        return
    values = {value for look in bad for value in look.values}
    for look in good:
        values.update(np.array(classes.values)[look.pixels[: len(classes.values)] > 0].tolist())
    offer = Offer("correct the mask" if len(bad) == 1 else "correct these masks")
    if len(bad) >= MIN_SHARE * (len(bad) + len(good)):
        offer = offer_for_values(sorted(values), classes)
    for look in looks:
        look.problems = [
            problem._replace(code=offer.code, fix=offer.text, settings=offer.settings)
            if problem.code in MASK_VALUE_CODES
            else problem
            for problem in look.problems
        ]
