import cv2
import numpy as np
import pytest
from scenes import draw_scene

from acdc_seg.data.check.duplicates import Match, find_duplicates, overlap_similarity
from acdc_seg.data.check.thumbnails import EDGE, make_thumbnail


def thumbnails(*images):
    found = [make_thumbnail(image) for image in images]
    assert None not in found
    return found


def large_scene(seed):
    """A picture of 180 x 200 pixels, from which crops are taken."""
    image, _ = draw_scene(seed, height=60, width=66)
    return cv2.resize(image, (200, 180), interpolation=cv2.INTER_CUBIC)


def test_overlap_is_compared_where_two_pictures_share_it():
    picture = np.random.default_rng(0).integers(0, 256, (30, 40)).astype(np.uint8)
    first, second = picture[:26, :36], picture[4:, 3:39]  # first[y, x] is second[y - 4, x - 3]
    assert overlap_similarity(first, second, (-4, -3)) == pytest.approx(1)
    assert overlap_similarity(first, second, (0, 0)) < 0.2
    assert overlap_similarity(first, 255 - second, (-4, -3)) == pytest.approx(-1)
    assert overlap_similarity(first, second, (-15, 0)) == 0  # 11 of 26 rows are shared
    assert overlap_similarity(first, first * 0, (0, 0)) == 0


def test_equal_images_are_found_also_of_one_patient():
    a, b = large_scene(1), large_scene(2)
    matches = find_duplicates(thumbnails(a, b, a, a), ["p", "p", "p", "q"])
    assert matches == [Match(0, 2, 1, True, False), Match(0, 3, 1, True, False)]


def test_an_image_of_another_size_is_not_equal():
    image = large_scene(1)
    assert make_thumbnail(image).digest != make_thumbnail(image.reshape(200, 180)).digest


@pytest.mark.parametrize("seed", range(6))
def test_images_with_other_grey_values_or_as_another_crop_are_found(seed):
    large, rng = large_scene(seed), np.random.default_rng(seed)
    others = [large_scene(100 + number) for number in range(6)]
    top, left = rng.integers(0, 14, 2)
    crop, shifted = large[7:167, 7:187], large[top : top + 160, left : left + 180]
    darker = (crop * 0.5 + 20).astype(np.uint8)
    stretched = np.clip((shifted.astype(float) - 30) * 1.3, 0, 255).astype(np.uint8)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)
    small = cv2.resize(crop, (90, 80), interpolation=cv2.INTER_AREA)
    for changed in (darker, stretched, jpeg, small):
        images = thumbnails(*others, crop, changed)
        (match,) = find_duplicates(images, [f"p{number}" for number in range(len(images))])
        assert (match.first, match.second, match.is_equal) == (6, 7, False)
        assert match.similarity > 0.9


def test_images_of_one_patient_may_resemble_each_other():
    image = large_scene(3)
    images = thumbnails(image, (image * 0.5).astype(np.uint8))
    assert find_duplicates(images, ["p", "p"]) == []
    assert len(find_duplicates(images, ["p", "q"])) == 1


def test_different_images_are_no_duplicates():
    images = thumbnails(*(large_scene(number) for number in range(40)))
    assert find_duplicates(images, [str(number) for number in range(40)]) == []
    assert find_duplicates([], []) == []


def test_progress_is_told():
    calls = []
    images = thumbnails(large_scene(1), large_scene(2))
    find_duplicates(images, ["p", "q"], on_progress=lambda *call: calls.append(call))
    assert calls == [("duplicates", 10, 10)]


def test_thumbnail_of_a_large_and_of_a_tiny_image():
    large = make_thumbnail(large_scene(4))
    assert large.pixels.shape == (86, EDGE)
    assert (large.pixels.min(), large.pixels.max()) == pytest.approx((0, 255), abs=40)
    assert large.patches.shape == (5, 64)
    np.testing.assert_allclose(np.square(large.patches).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(large.patches.sum(axis=1), 0, atol=1e-4)
    tiny = make_thumbnail(np.arange(80, dtype=np.float32).reshape(8, 10))
    assert tiny.patches.shape == (0, 64)
    assert make_thumbnail(np.full((20, 20), 7.0)) is None


def test_patches_do_not_depend_on_brightness_and_contrast():
    image = large_scene(5)
    before, after = make_thumbnail(image), make_thumbnail(image.astype(np.float32) * 3 + 500)
    np.testing.assert_array_equal(before.landmarks, after.landmarks)
    np.testing.assert_allclose(before.patches, after.patches, atol=1e-3)
