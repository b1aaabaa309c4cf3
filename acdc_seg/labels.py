"""The heart's classes in ACDC order, and the two phases of the cardiac cycle."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One class: its name, value in mask files, and color (R, G, B in 0..255) in pictures."""

    name: str
    value: int
    color: tuple[int, int, int]


BACKGROUND = Label("background", 0, (0, 0, 0))
RV = Label("rv", 1, (66, 133, 244))
MYO = Label("myo", 2, (52, 168, 83))
LV = Label("lv", 3, (234, 67, 53))
ACDC_LABELS = (BACKGROUND, RV, MYO, LV)

PHASES = ("ED", "ES")
GROUPS = ("NOR", "MINF", "DCM", "HCM", "RV")

IGNORE_INDEX = 255
"""Class index of void pixels in arrays, whatever their value in files."""
