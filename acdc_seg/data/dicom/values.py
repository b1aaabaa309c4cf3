"""Values of a DICOM data set in plain types; what is missing or damaged is None."""

import math
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from acdc_seg.errors import ConfigError


def import_pydicom() -> ModuleType:
    """pydicom, an optional dependency.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ConfigError(
            f"DICOM needs pydicom, which is missing ({error}); install it: pip install "
            "'acdc_seg[dicom]'"
        ) from None
    return pydicom


def get_number(dataset: Any, keyword: str) -> float | None:
    """A finite number, or None where it is missing or none; the first one of several."""
    try:
        number = float(dataset.get(keyword))
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def get_positive(dataset: Any, keyword: str) -> float | None:
    number = get_number(dataset, keyword)
    return number if number is not None and number > 0 else None


def get_text(dataset: Any, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def get_vector(sources: list[Any], keyword: str, length: int) -> tuple[float, ...]:
    for source in sources:
        value = source.get(keyword)
        if value is not None and len(value) == length:
            numbers = tuple(float(number) for number in value)
            if all(map(math.isfinite, numbers)):
                return numbers
    raise ValueError(f"no place in space ({keyword} is missing or damaged)")


def list_items(groups: Iterable[Any]) -> list[Any]:
    """Functional groups as data sets, each with the attributes of one sequence."""
    elements = [element for group in groups for element in group]
    return [element.value[0] for element in elements if element.VR == "SQ" and element.value]
