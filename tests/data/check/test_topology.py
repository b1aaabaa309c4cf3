import numpy as np
import pytest
from scenes import draw_scene

from acdc_seg.data.check.topology import count_contacts, enclosures, suggest_order

NAMES = ("background", "rv", "myo", "lv")


def test_contacts_of_a_small_mask():
    mask = np.array([[0, 0, 1], [0, 2, 1], [9, 2, 2]], np.uint8)  # 9 is void
    contacts = count_contacts(mask, 3)
    # 0-1 right of the corner; 0-2 beside and above the 2; 1-2 beside and below the lower 1
    assert contacts.tolist() == [[0, 1, 2], [1, 0, 2], [2, 2, 0]]


def test_small_classes_tell_nothing():
    contacts = np.array([[0, 300, 2], [300, 0, 100], [2, 100, 0]])
    parts = enclosures(contacts)
    assert parts[0].tolist() == pytest.approx([0, 300 / 302, 2 / 302])
    assert parts[1].tolist() == [0.75, 0, 0.25]
    assert parts[2].tolist() == [0, 0, 0]


def contacts_of(order):
    """Contacts in masks whose classes rv, myo and lv are written as other numbers."""
    masks = [np.array(order, np.uint8)[draw_scene(seed)[1]] for seed in range(6)]
    return sum(count_contacts(mask, 4) for mask in masks)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((0, 1, 2, 3), None),
        ((0, 3, 2, 1), (0, 3, 2, 1)),  # M&Ms
        ((0, 3, 1, 2), (0, 3, 1, 2)),
        ((0, 2, 1, 3), (0, 2, 1, 3)),
    ],
)
def test_order_of_the_heart(order, expected):
    assert suggest_order(contacts_of(order), NAMES) == expected


def test_other_classes_have_no_order():
    contacts = contacts_of((0, 3, 2, 1))
    assert suggest_order(contacts, ("background", "a", "b", "c")) is None
    assert suggest_order(contacts, ("background", "RV", "Myo", "LV")) == (0, 3, 2, 1)
    assert suggest_order(contacts * 0, NAMES) is None
    assert suggest_order(contacts[:3, :3], NAMES[:3]) is None
