import numpy as np
import pytest
import torch

from acdc_seg.config import DataConfig
from acdc_seg.data.geometry import Placement, draw_window, place, resize
from acdc_seg.labels import IGNORE_INDEX


def test_images_are_resized_smoothly_and_masks_by_pixel():
    image = resize(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
    torch.testing.assert_close(image, torch.tensor([[[[0.0, 0.25, 0.75, 1.0]]]]))
    mask = torch.tensor([[[[0, 3]]]], dtype=torch.uint8)
    resized = resize(mask, (1, 4), mode="nearest-exact")
    assert (resized.dtype, resized.tolist()) == (torch.uint8, [[[[0, 0, 3, 3]]]])
    assert resize(image, (1, 4)) is image


@pytest.mark.parametrize(
    ("fit", "size", "scaled", "padded"),
    [
        ("auto", (100, 50), (32, 16), (32, 64)),
        ("resize", (100, 50), (32, 16), (32, 64)),
        ("resize", (10, 40), (16, 64), (32, 64)),
        ("resize", (7, 1000), (1, 64), (32, 64)),
        ("resize", (50, 100), (32, 64), (32, 64)),
        ("stretch", (100, 50), (32, 64), (32, 64)),
        ("pad", (20, 30), (20, 30), (32, 64)),
        ("pad", (40, 30), (40, 30), (40, 64)),
        ("crop", (20, 300), (20, 300), (32, 300)),
    ],
)
def test_where_images_of_other_sizes_go(fit, size, scaled, padded):
    assert place(size, DataConfig(size=(32, 64), fit=fit)) == Placement(scaled, padded)


@pytest.mark.parametrize("fit", ["auto", "resize", "stretch", "pad", "crop"])
def test_images_of_the_size_or_without_one_stay(fit):
    image = torch.rand(1, 1, 32, 64)
    for data in (DataConfig(size=(32, 64), fit=fit), DataConfig(fit=fit)):
        placement = place((32, 64), data)
        assert placement.fit_images(image) is image
        assert torch.equal(placement.undo(image, (32, 64)), image)


def test_padding_repeats_the_border_of_images_and_is_void_in_masks():
    placement = Placement((2, 2), (3, 5))
    image = torch.tensor([[[[1.0, 2], [3, 4]]]])
    assert placement.fit_images(image).tolist() == [
        [[[1, 1, 2, 2, 2], [3, 3, 4, 4, 4], [3, 3, 4, 4, 4]]]
    ]
    void = IGNORE_INDEX
    assert placement.fit_mask(torch.tensor([[1, 2], [3, 0]], dtype=torch.uint8)).tolist() == [
        [void, 1, 2, void, void],
        [void, 3, 0, void, void],
        [void] * 5,
    ]


@pytest.mark.parametrize("fit", ["resize", "pad", "crop", "stretch"])
@pytest.mark.parametrize("size", [(32, 33), (17, 63), (48, 64), (9, 5)])
def test_the_way_there_and_back_ends_at_the_image(fit, size):
    data = DataConfig(size=(48, 64), fit=fit)
    placement = place(size, data)
    ramp = torch.linspace(0, 1, size[1]).expand(1, 2, *size)
    fitted = placement.fit_images(ramp)
    assert fitted.shape == (1, 2, 48, 64)
    back = placement.undo(fitted, size)
    assert back.shape == ramp.shape
    exact = fit in ("pad", "crop")
    torch.testing.assert_close(back, ramp, atol=0 if exact else 0.03, rtol=0)


def pair(height, width):
    """An image whose values are the numbers of its pixels, and a mask of their rows."""
    numbers = torch.arange(height * width).reshape(height, width)
    return numbers[None].float(), (numbers // width).byte()


def windows(size, window, num):
    image, mask = pair(*size)
    return [draw_window(image, mask, size=window, key=(0, 0, index)) for index in range(num)]


def test_windows_are_parts_of_the_image_and_of_its_mask():
    for image, mask in windows((9, 12), (4, 6), 30):
        assert (image.shape, mask.shape) == ((1, 4, 6), (4, 6))
        top, left = divmod(int(image[0, 0, 0]), 12)
        assert torch.equal(image, pair(9, 12)[0][:, top : top + 4, left : left + 6])
        assert torch.equal(mask, pair(9, 12)[1][top : top + 4, left : left + 6])


def test_a_window_does_not_hold_its_image():
    image, mask = pair(50, 50)
    for part in draw_window(image, mask, size=(4, 6), key=(0, 0, 0)):
        assert part.untyped_storage().nbytes() == part.nbytes


def test_every_window_is_drawn_and_as_often():
    corners = [int(image[0, 0, 0]) for image, _ in windows((5, 6), (4, 4), 600)]
    counts = np.unique(corners, return_counts=True)
    assert counts[0].tolist() == [0, 1, 2, 6, 7, 8]
    assert counts[1].min() > 70


def test_a_window_is_a_function_of_its_key():
    image, mask = pair(60, 60)
    first = [draw_window(image, mask, size=(8, 8), key=(0, 0, index))[0] for index in range(9)]
    again = [draw_window(image, mask, size=(8, 8), key=(0, 0, index))[0] for index in range(9)]
    assert all(map(torch.equal, first, again))
    for key in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not torch.equal(draw_window(image, mask, size=(8, 8), key=key)[0], first[0])


def test_a_window_larger_than_the_image_is_padded():
    ((image, mask),) = windows((3, 9), (5, 4), 1)
    assert (image.shape, mask.shape) == ((1, 5, 4), (5, 4))
    assert (mask[0] == IGNORE_INDEX).all()
    assert (mask[4] == IGNORE_INDEX).all()
    assert mask[1:4, 0].tolist() == [0, 1, 2]
    assert torch.equal(image[0, 0], image[0, 1])


def heart_pair(size=(40, 50)):
    """An image of pixel numbers, and a mask with a heart of 4 pixels at its corner and void."""
    image, _ = pair(*size)
    mask = torch.zeros(size, dtype=torch.uint8)
    mask[1:3, 1:3] = 2
    mask[30:, 30:] = 255
    return image, mask


def test_windows_around_the_foreground_hold_it_and_others_fall_anywhere():
    def with_heart(foreground):
        draws = [
            draw_window(*heart_pair(), size=(8, 8), key=(0, 0, index), foreground=foreground)[1]
            for index in range(200)
        ]
        assert {mask.shape for mask in draws} == {(8, 8)}
        return sum(bool((mask == 2).any()) for mask in draws)

    assert with_heart(1.0) == 200
    assert 80 <= with_heart(0.5) <= 130
    assert with_heart(0.0) < 20


def test_a_mask_without_foreground_gives_any_window():
    image, mask = heart_pair()
    mask[1:3, 1:3] = 0
    key = (0, 0, 7)
    drawn = draw_window(image, mask, size=(8, 8), key=key, foreground=1.0)
    expected = draw_window(image, mask, size=(8, 8), key=key)
    assert torch.equal(drawn[0], expected[0])
