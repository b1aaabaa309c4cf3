import numpy as np
import pytest

from acdc_seg.config import DataConfig, PrepareConfig
from acdc_seg.data.sizes import choose_size, with_size
from acdc_seg.data.source import open_source
from acdc_seg.errors import DataError


def with_size_of(folder, **settings):
    """The settings with their size, and what was said."""
    data = DataConfig(path=str(folder), **settings)
    source, notices = open_source(data, prepare_settings=PrepareConfig()), []
    return with_size(data, source, on_notice=notices.append), notices


@pytest.fixture
def several_sizes(tmp_path, write_png):
    """Two images to train on, two to validate; the one to test is much larger."""
    sizes = {
        "train": [(100, 200), (140, 250)],
        "val": [(130, 180), (40, 900)],
        "test": [(999, 999)],
    }
    for split, of_split in sizes.items():
        for number, size in enumerate(of_split):
            write_png(tmp_path / f"{split}/image/{split}{number}.png", np.zeros(size, np.uint8))
            mask = tmp_path / f"{split}/mask/{split}{number}_mask.png"
            write_png(mask, np.zeros(size, np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    ("sizes", "fit", "chosen"),
    [
        ([(100, 200)], "crop", (128, 224)),
        ([(96, 64)], "crop", (96, 64)),
        ([(10, 4000)], "crop", (64, 512)),
        ([(100, 100), (110, 400), (300, 200)], "crop", (128, 224)),
        ([(100, 100), (110, 400), (300, 200)], "resize", (128, 224)),
        ([(100, 100), (110, 1400), (300, 200)], "pad", (320, 1408)),
    ],
)
def test_the_median_is_chosen_or_the_greatest(sizes, fit, chosen):
    assert choose_size(sizes, fit=fit) == chosen


def test_images_of_one_size_keep_it(paired_folder):
    for fit in ("auto", "resize", "pad", "stretch"):
        data, notices = with_size_of(paired_folder, fit=fit)
        assert (data.size, data.fit, notices) == (None, fit, [])


def test_images_of_several_sizes_are_given_windows(several_sizes):
    data, (notice,) = with_size_of(several_sizes)
    assert (data.size, data.fit, data.window) == ((128, 256), "crop", (128, 256))
    assert notice == (
        "The images are 40 to 140 pixels high and 180 to 900 wide: random windows of 128x256 train "
        "and overlapping ones predict (data.size=[128,256] data.fit=crop; data.fit=resize scales "
        "the images instead)."
    )


def test_another_fit_is_given_a_size(several_sizes):
    data, (notice,) = with_size_of(several_sizes, fit="pad")
    assert (data.size, data.fit, data.window) == ((160, 928), "pad", None)
    assert notice.endswith("wide: data.size=[160,928] is chosen for data.fit=pad.")


def test_windows_of_large_images_are_few(tmp_path, write_png):
    write_png(tmp_path / "image/a.png", np.zeros((2000, 1500), np.uint8))
    write_png(tmp_path / "mask/a_mask.png", np.zeros((2000, 1500), np.uint8))
    data, (notice,) = with_size_of(tmp_path, fit="crop", validation=False)
    assert data.window == (512, 512)
    assert notice.endswith(
        " An epoch takes one window of every image, and with augment.repeats=11 about as many as "
        "cover it."
    )


def test_a_given_size_stays(several_sizes):
    data, notices = with_size_of(several_sizes, size=(64, 64))
    assert (data.size, data.fit, notices) == ((64, 64), "auto", [])


def test_only_headers_are_read(several_sizes):
    for path in several_sizes.glob("*/image/*.png"):
        path.write_bytes(path.read_bytes()[:60])
    assert with_size_of(several_sizes)[0].size == (128, 256)
    (several_sizes / "train/image/train0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train0\.png: not a readable image \(8 bytes"):
        with_size_of(several_sizes)
