"""Frames of a cine in the order of time: duplicates are dropped, missing ones are errors."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from acdc_seg.data.dicom.planes import Plane
from acdc_seg.errors import DataError

ORDERS = ("trigger_ms", "temporal", "number")
"""Attributes that order the frames of a slice, the best first."""
NAMES = {
    "trigger_ms": "TriggerTime",
    "temporal": "TemporalPositionIdentifier",
    "number": "InstanceNumber",
}


def drop_copies(planes: Sequence[Plane], findings: list[str]) -> list[Plane]:
    """Images without copies of a file, known by SOPInstanceUID."""
    kept = {(plane.uid, plane.index): plane for plane in reversed(planes)}
    if len(kept) < len(planes):
        findings.append(
            f"{len(planes) - len(kept)} of {len(planes)} images are copies of others (equal "
            "SOPInstanceUID) and were left out"
        )
    return list(reversed(kept.values()))


def order_frames(slices: list[list[Plane]], name: str, findings: list[str]) -> list[list[Plane]]:
    """Slices with their frames in the order of time, one image per time."""
    order = next((order for order in ORDERS if _is_order(slices, order)), None)
    if order is None:
        raise DataError(
            f"{name}: several images at one position, and no TriggerTime, "
            "TemporalPositionIdentifier or InstanceNumber that differs between them; export the "
            "series again",
            code="unreadable",
        )
    ordered = []
    for number, planes in enumerate(slices):
        # of two images of one time the later number stays, the repeated acquisition
        planes = sorted(planes, key=lambda plane: plane.number or (0, 0))
        by_time = {getattr(plane, order): plane for plane in planes}
        frames = [by_time[time] for time in sorted(by_time)] if len(planes) > 1 else planes
        _report_dropped(number, len(planes) - len(frames), f"position and {NAMES[order]}", findings)
        ordered.append(frames)
    return _drop_repeats(ordered, findings)


def _is_order(slices: list[list[Plane]], order: str) -> bool:
    """Whether an attribute is in all images, and differs within every slice of several."""
    several = [planes for planes in slices if len(planes) > 1]
    values = [[getattr(plane, order) for plane in planes] for planes in several]
    return all(None not in times and len(set(times)) > 1 for times in values)


def _report_dropped(number: int, num_dropped: int, what: str, findings: list[str]) -> None:
    if num_dropped:
        findings.append(
            f"slice {number + 1}: {num_dropped} duplicates (equal {what}) were left "
            "out, the later InstanceNumber stays"
        )


def _drop_repeats(slices: list[list[Plane]], findings: list[str]) -> list[list[Plane]]:
    """Where most slices have one image, a second one is an acquisition repeated, not a frame."""
    if _usual_count(slices) > 1:
        return slices
    for number, planes in enumerate(slices):
        _report_dropped(number, len(planes) - 1, "position", findings)
    return [[max(planes, key=lambda plane: plane.number or (0, 0))] for planes in slices]


def _usual_count(slices: list[list[Plane]]) -> int:
    """Number of frames that most slices have; of equally many, the larger one."""
    counts = Counter(map(len, slices))
    return max(counts, key=lambda count: (counts[count], count))


def check_counts(slices: list[list[Plane]], name: str) -> None:
    usual = _usual_count(slices)
    wrong = [number for number, planes in enumerate(slices) if len(planes) != usual]
    if wrong:
        listed = ", ".join(
            f"slice {number + 1} of {len(slices)} has {len(slices[number])}" for number in wrong[:8]
        )
        raise DataError(
            f"{name}: unequal numbers of frames: {listed}, the others have {usual}; copy or export "
            "the series again, files are missing or too many",
            code="shape",
        )


def frame_seconds(slices: list[list[Plane]], findings: list[str]) -> float | None:
    """Mean time between frames over all slices, from TriggerTime."""
    if len(slices[0]) == 1:
        return None
    times = np.array([[plane.trigger_ms for plane in planes] for planes in slices], dtype=float)
    intervals = np.diff(times, axis=1)
    if not (intervals > 0).all():  # unknown (NaN), or constant
        findings.append("the files do not tell the time between frames (TriggerTime)")
        return None
    by_slice = intervals.mean(axis=1)
    if by_slice.max() > 1.1 * by_slice.min():
        findings.append(
            f"frames are {by_slice.min():.4g} to {by_slice.max():.4g} ms apart, by slice: heart "
            "rates differed; frames were matched by number"
        )
    mean = float(intervals.mean())
    if intervals.max() > 1.5 * np.median(intervals):
        findings.append(
            f"uneven frames: {intervals.min():.4g} to {intervals.max():.4g} ms apart; their mean, "
            f"{mean:.4g} ms, was used"
        )
    return mean / 1000
