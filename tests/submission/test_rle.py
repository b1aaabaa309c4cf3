import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from acdc_seg.errors import AcdcError, DataError
from acdc_seg.submission.rle import decode_rle, encode_rle

CORNERS = np.array([[1, 0, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1]], bool)


@pytest.mark.parametrize(
    ("mask", "encoding"),
    [
        (CORNERS, "1 2 8 3 12 1"),
        (np.zeros((3, 4)), ""),
        (np.ones((3, 4)), "1 12"),
        (np.array([[0, 1], [0, 0]]), "3 1"),
        (np.array([[0, 0], [1, 0]]), "2 1"),
    ],
)
def test_encoding_by_hand(mask, encoding):
    assert encode_rle(mask) == encoding
    np.testing.assert_array_equal(decode_rle(encoding, mask.shape), mask.astype(bool))


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_round_trip(mask):
    np.testing.assert_array_equal(decode_rle(encode_rle(mask), mask.shape), mask)


@given(st.text(), st.tuples(st.integers(1, 8), st.integers(1, 8)))
def test_any_text_decodes_or_is_refused(text, shape):
    with contextlib.suppress(AcdcError):
        assert decode_rle(text, shape).shape == shape


@given(st.lists(st.integers(-2, 30), max_size=8))
def test_any_numbers_decode_to_their_pixels_or_are_refused(numbers):
    try:
        mask = decode_rle(" ".join(map(str, numbers)), (4, 5))
    except AcdcError:
        return
    painted = [
        pixel
        for start, length in zip(numbers[::2], numbers[1::2], strict=True)
        for pixel in range(start, start + length)
    ]
    assert (np.flatnonzero(mask.ravel(order="F")) + 1).tolist() == painted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 5", "pair 2 has a start and no length"),
        ("1 2 x 1", "pair 2: 'x' is not a pixel number"),
        ("1  2", "pair 1: '' is not a pixel number"),
        ("1 2 ", "pair 2: ''"),
        ("1.0 2", "pair 1: '1.0'"),
        ("-1 2", "pair 1: '-1'"),
        ("nan nan", "pair 1: 'nan'"),
        ("١ ٢", "pair 1"),
        ("1\n 2", "pair 1"),
        ("0 2", r"pair 1 \(0 2\) starts before pixel 1"),
        ("1 2 5 0", r"pair 2 \(5 0\) is shorter"),
        ("1 2 12 2", r"pair 2 \(12 2\) runs out of the image of 3x4"),
        ("999999999999999999 999999999999999999", "runs out of the image"),
        ("1 " + "9" * 100_000, "pair 1: '99999999999999999999' is not a pixel number"),
        ("5 2 1 2", r"pair 2 \(1 2\) does not come after"),
        ("1 3 3 2", r"pair 2 \(3 2\) does not come after"),
        ("1 1 " * 100, "too many for 12 pixels"),
    ],
)
def test_ill_encodings_name_the_pair(text, message):
    with pytest.raises(DataError, match=message):
        decode_rle(text, (3, 4))


def test_runs_that_touch_are_read():
    assert decode_rle("1 1 2 1", (2, 1)).all()


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2, 2)), np.array([[0, 2]]), np.array([[0.0, np.nan]])]
)
def test_only_plane_masks_of_zero_and_one_are_encoded(mask):
    with pytest.raises(DataError):
        encode_rle(mask)
