"""Which class surrounds which: finds masks whose classes are in another order than configured.

In a short-axis slice the myocardium surrounds the cavity of the left ventricle, so that nearly all
neighbors of that cavity are myocardium.
"""

from collections.abc import Sequence

import numpy as np

SURROUNDED = 0.8
"""Part of a class's outer border from which another class surrounds it."""
FEW = 200
"""Pairs of neighboring pixels below which the masks do not tell."""


def count_contacts(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """Number of neighboring pixels of each two classes, int64 `(K, K)`, symmetric, diagonal 0.

    Args:
        mask: Class indices `(H, W)`; others than 0..K-1 do not count.
        num_classes: K.
    """
    contacts = np.zeros((num_classes, num_classes), np.int64)
    for one, two in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        border = (one != two) & (one < num_classes) & (two < num_classes)
        codes = one[border].astype(np.int64) * num_classes + two[border]
        contacts += np.bincount(codes, minlength=num_classes**2).reshape(contacts.shape)
    return contacts + contacts.T


def enclosures(contacts: np.ndarray) -> np.ndarray:
    """Part of the border of class a that touches class b, `(K, K)`; 0 where a has hardly any."""
    totals = contacts.sum(axis=1, keepdims=True)
    return np.where(totals >= FEW, contacts / np.maximum(totals, 1), 0)


def suggest_order(contacts: np.ndarray, names: Sequence[str]) -> tuple[int, ...] | None:
    """For each class the index that its pixels have now, where the classes named lv, myo and rv
    are in another order; None where the order is right or cannot be told.

    Args:
        contacts: Sum of `count_contacts` over all masks.
        names: Class names, background first.
    """
    index = {name.lower(): position for position, name in enumerate(names)}
    if len(names) != 4 or {"rv", "myo", "lv"} - index.keys():
        return None
    part = enclosures(contacts)
    if part[index["lv"], index["myo"]] >= SURROUNDED / 2:
        return None
    foreground = [index[name] for name in ("rv", "myo", "lv")]
    pairs = [(inner, outer) for inner in foreground for outer in foreground if inner != outer]
    inner, outer = max(pairs, key=lambda pair: part[pair])
    if part[inner, outer] < SURROUNDED:
        return None
    (rest,) = set(foreground) - {inner, outer}
    order = list(range(len(names)))
    order[index["lv"]], order[index["myo"]], order[index["rv"]] = inner, outer, rest
    return tuple(order)
