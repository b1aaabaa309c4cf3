from pathlib import Path

import pytest

from acdc_seg.data.problems import Problem, raise_errors
from acdc_seg.errors import DataError

A = Problem(Path("a.png"), "mask_value", "error", "value 255", "choose", ("classes=binary",))
B = Problem(Path("b.png"), "channels", "error", "RGB", "set it", ("data.channels=3",))
WARNING = Problem(Path("c.png"), "constant", "warning", "one grey value")


def test_all_errors_are_raised_at_once_with_the_settings_that_remedy_them():
    with pytest.raises(DataError) as raised:
        raise_errors([A, WARNING, B, A])
    assert str(raised.value).splitlines() == [
        "a.png: value 255; choose",
        "b.png: RGB; set it",
        "a.png: value 255; choose",
        "These settings may remedy it: classes=binary data.channels=3",
    ]
    assert raised.value.settings == ("classes=binary", "data.channels=3")


def test_warnings_alone_raise_nothing():
    raise_errors([WARNING])


def test_long_lists_are_cut():
    with pytest.raises(DataError, match="and 15 more; acdc-data check lists all"):
        raise_errors([A] * 25)


def test_an_error_becomes_the_problem_that_it_tells():
    error = DataError("a.png: value 255; choose", code="mask_value", settings=["classes=binary"])
    assert Problem.from_error(Path("a.png"), error) == A
