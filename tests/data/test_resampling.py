import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from acdc_seg.data.resampling import resize_array

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=50, deadline=None)
@given(sizes, sizes)
def test_as_pytorch_interpolates(old, new):
    images = np.random.default_rng(0).random((2, 3, *old), np.float32)
    found = resize_array(images, new)
    expected = F.interpolate(torch.from_numpy(images), new, mode="bilinear").numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_by_hand():
    # centers of 4 pixels in 2: at -0.25 (constant there), 0.25, 0.75 and 1.25
    assert resize_array(np.array([[0.0, 4.0]]), (1, 4)).tolist() == [[0, 1, 3, 4]]
    ramp = np.arange(6.0).reshape(2, 3)
    assert resize_array(ramp, (2, 3)) is ramp
    assert resize_array(ramp, (1, 1)).item() == pytest.approx(2.5)
