import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from acdc_seg.config import ClassesConfig
from acdc_seg.data.images import image_shape, num_pages, read_image
from acdc_seg.data.masks import read_mask
from acdc_seg.errors import DataError

CLASSES = ClassesConfig()
GREY = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
RGB = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], np.uint8)


@pytest.mark.parametrize("pixels", [GREY, GREY.astype(np.uint16) * 257])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_both_depths_are_read_to_the_same_unit_range(tmp_path, write_png, pixels, ending):
    image = read_image(write_png(tmp_path / f"a{ending}", pixels))
    assert (image.dtype, image.shape) == (np.float32, (1, 2, 3))
    np.testing.assert_allclose(image[0], [[0, 0.2, 0.4], [0.6, 0.8, 1]], rtol=1e-6)


def test_colors_come_as_red_green_blue(tmp_path, write_png):
    image = read_image(write_png(tmp_path / "a.png", RGB), channels=3)
    assert image.shape == (3, 2, 2)
    assert image.flags.c_contiguous
    np.testing.assert_allclose(image[:, 1, 1] * 255, [10, 20, 30], rtol=1e-6)
    np.testing.assert_array_equal(image[:, 0, 0], [1, 0, 0])


def test_gray_is_repeated_for_three_channels(tmp_path, write_png):
    image = read_image(write_png(tmp_path / "a.png", GREY), channels=3)
    assert image.shape == (3, 2, 3)
    np.testing.assert_allclose(image * 255, [GREY] * 3, rtol=1e-6)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_gray_stored_as_colors_is_read_as_gray(tmp_path, write_png, depth):
    pixels = np.repeat(GREY[..., None].astype(depth), 3, axis=2)
    image = read_image(write_png(tmp_path / "a.png", pixels), channels=1)
    np.testing.assert_array_equal(image, read_image(write_png(tmp_path / "b.png", pixels[..., 0])))


def test_colors_are_refused_where_gray_is_configured(tmp_path, write_png):
    path = write_png(tmp_path / "a.png", RGB)
    with pytest.raises(DataError) as caught:
        read_image(path, channels=1)
    assert str(caught.value) == (
        f"{path}: the image has 3 channels where 1 are configured; set data.channels=3, or convert "
        "the images to gray"
    )
    assert (caught.value.code, caught.value.settings) == ("channels", ("data.channels=3",))


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_are_blended_onto_black(tmp_path, mode, ending):
    pixels = np.full((2, 3, len(mode)), 200, np.uint8)
    pixels[..., -1] = [[255, 0, 51], [102, 255, 255]]
    Image.fromarray(pixels).save(tmp_path / f"a{ending}")
    image = read_image(tmp_path / f"a{ending}", channels=1)
    np.testing.assert_allclose(image[0] * 255, [[200, 0, 40], [80, 200, 200]], atol=1e-4)
    assert read_image(tmp_path / f"a{ending}", channels=3).shape == (3, 2, 3)


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_an_opaque_alpha_channel_is_dropped(tmp_path, mode, ending):
    gray = Image.fromarray(GREY)
    gray.convert(mode).save(tmp_path / f"a{ending}")
    gray.save(tmp_path / "b.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / f"a{ending}"), read_image(tmp_path / "b.png")
    )


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_colors_beside_alpha_keep_their_order(tmp_path, ending):
    pixels = np.dstack([RGB, np.full((2, 2), 255, np.uint8)])
    Image.fromarray(pixels).save(tmp_path / f"a{ending}")
    image = read_image(tmp_path / f"a{ending}", channels=3)
    np.testing.assert_allclose(image * 255, RGB.transpose(2, 0, 1), rtol=1e-6)


@pytest.mark.parametrize("ending", [".png", ".gif", ".bmp", ".tif"])
def test_palettes_are_read_as_their_colors(tmp_path, ending):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    image.putpalette([10, 20, 30, 255, 0, 0, 7, 7, 7])
    image.save(tmp_path / f"a{ending}")
    colors = np.array([[[10, 20, 30], [255, 0, 0]], [[7, 7, 7], [255, 0, 0]]])
    found = read_image(tmp_path / f"a{ending}", channels=3) * 255
    np.testing.assert_allclose(found, colors.transpose(2, 0, 1), rtol=1e-6)


def test_signed_pixels_are_shifted_to_the_unit_range(tmp_path, write_png):
    pixels = np.array([[-32768, -1024, 0], [1, 4095, 32767]], np.int16)
    image = read_image(write_png(tmp_path / "a.tif", pixels))
    expected = (pixels.astype(np.float64) + 32768) / 65535
    np.testing.assert_allclose(image[0], expected, rtol=1e-6)
    assert (image.min(), image.max()) == (0, 1)


def write_pages(path, pages):
    first, *others = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=others)
    return path


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_pages_of_a_tiff_are_read_by_number(tmp_path, depth):
    pages = np.random.default_rng(0).integers(0, 256, (3, 4, 5)).astype(depth)
    path = write_pages(tmp_path / "a.tif", pages)
    assert num_pages(path) == 3
    for number, page in enumerate(pages):
        expected = page[None] / np.iinfo(depth).max
        np.testing.assert_allclose(read_image(path, page=number), expected, rtol=1e-6)
    with pytest.raises(DataError, match=r"a\.tif: page 3 does not exist, the file has 3, counted"):
        read_image(path, page=3)


@pytest.mark.parametrize("ending", [".tif", ".gif", ".png"])
def test_the_first_of_several_pages_is_never_read_for_all(tmp_path, ending):
    pages = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    path = write_pages(tmp_path / f"a{ending}", pages)
    for read in (read_image, image_shape, lambda path: read_mask(path, CLASSES)):
        with pytest.raises(
            DataError, match="the file has 3 pages where one image is exp"
        ) as caught:
            read(path)
        assert caught.value.code == "pages"


def test_pages_may_differ_in_size(tmp_path):
    pages = [np.full((4, 5), 51, np.uint8), np.full((7, 3), 102, np.uint8)]
    path = write_pages(tmp_path / "a.tif", pages)
    assert [image_shape(path, page) for page in range(2)] == [(4, 5), (7, 3)]
    np.testing.assert_allclose(read_image(path, page=1), np.full((1, 7, 3), 0.4), rtol=1e-6)


def test_every_other_file_is_one_page(tmp_path, write_png):
    for name in ("a.png", "a.tif", "a.jpg", "a.bmp"):
        path = write_png(tmp_path / name, GREY)
        assert num_pages(path) == 1
        np.testing.assert_array_equal(read_image(path, page=0), read_image(path))
    picture = Image.fromarray(GREY)
    picture.save(tmp_path / "camera.jpg", "MPO", save_all=True, append_images=[picture])
    assert num_pages(tmp_path / "camera.jpg") == 1
    assert read_image(tmp_path / "camera.jpg").shape == (1, 2, 3)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_truncated_files_are_refused(tmp_path, write_png, hearts, ending, part):
    path = write_png(tmp_path / f"a{ending}", hearts[0][0])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(
        DataError, match=rf"a\{ending}: not a readable image \([\d,]+ bytes, truncated or damaged\)"
    ):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "size"), [(b"", "0"), (b"hello\n", "6"), (b"\0" * 2000, "2,000")]
)
def test_what_is_no_image_is_refused(tmp_path, content, size):
    (tmp_path / "a.png").write_bytes(content)
    for read in (read_image, lambda path: read_mask(path, CLASSES)):
        with pytest.raises(DataError, match=rf"a\.png: not a readable image \({size} bytes"):
            read(tmp_path / "a.png")


def test_absent_files_folders_and_pipes_are_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: cannot read the file \(No such file"):
        read_image(tmp_path / "gone.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("folder.png", "pipe.png"):
        with pytest.raises(
            DataError,
            match=rf"{name}: a folder, pipe or device with the name of an image; move it elsewhere",
        ):
            read_image(tmp_path / name)


def test_paths_may_hold_spaces_and_any_letters(tmp_path, write_png):
    path = write_png(tmp_path / "größe 1" / "心臓 ä.png", GREY)
    np.testing.assert_array_equal(read_image(path)[0] * 255, GREY)


@pytest.mark.parametrize("value", [1.5, np.nan, 2.0])
def test_float_files_are_refused(tmp_path, value):
    cv2.imwrite(str(tmp_path / "a.tif"), np.full((2, 2), value, np.float32))
    for read in (read_image, lambda path: read_mask(path, CLASSES)):
        with pytest.raises(DataError, match=r"a\.tif: pixels are float32, only 8 and 16-bit"):
            read(tmp_path / "a.tif")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
        + chunk(b"IEND", b"")
    )


def bomb(ending, width, height):
    """A small file whose header claims so many pixels."""
    if ending == ".png":
        return png_claiming(width, height)
    stream = io.BytesIO()
    Image.new("L", (20, 10)).save(stream, {".jpg": "JPEG", ".tif": "TIFF", ".bmp": "BMP"}[ending])
    data = stream.getvalue()
    order, old = (">HH", (10, 20)) if ending == ".jpg" else ("<ii", (20, 10))
    if ending == ".tif":
        for tag, was, value in ((256, 20, width), (257, 10, height)):
            data = data.replace(
                struct.pack("<HHII", tag, 4, 1, was), struct.pack("<HHII", tag, 4, 1, value)
            )
        return data
    assert data.count(struct.pack(order, *old)) == 1
    return data.replace(
        struct.pack(order, *old),
        struct.pack(order, *((height, width) if ending == ".jpg" else (width, height))),
    )


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (8193, 8192)])
def test_image_bombs_are_refused_from_their_header(tmp_path, monkeypatch, ending, width, height):
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: pytest.fail("decoded"))
    (tmp_path / "a.png").write_bytes(bomb(ending, width, height))
    for read in (read_image, lambda path: read_mask(path, CLASSES)):
        with pytest.raises(
            DataError,
            match=rf"a\.png: the header claims {width:,} x {height:,} pixels, at most 67,108,864 "
            r"are read",
        ):
            read(tmp_path / "a.png")


def test_chunks_that_claim_more_than_the_file_are_never_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: pytest.fail("decoded"))
    data = png_claiming(24, 20)
    start = data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:start] + struct.pack(">I", 2**30) + data[start + 4 :])
    with pytest.raises(DataError, match=r"a\.png: not a readable image"):
        read_image(tmp_path / "a.png")


def test_the_limit_of_pillow_is_not_touched(tmp_path, write_png):
    before = Image.MAX_IMAGE_PIXELS
    read_image(write_png(tmp_path / "a.png", GREY))
    assert before == Image.MAX_IMAGE_PIXELS is not None


@pytest.mark.parametrize(
    ("mode", "ending", "options", "kind"),
    [
        ("1", ".png", {}, "L"),
        ("L", ".png", {}, "L"),
        ("I;16", ".png", {}, "I;16"),
        ("RGB", ".png", {}, "RGB"),
        ("P", ".png", {}, "RGB"),
        ("L", ".jpg", {"quality": 100}, "L"),
        ("RGB", ".jpg", {"progressive": True}, "RGB"),
        ("1", ".tif", {"compression": "group4"}, "L"),
        ("L", ".tif", {"compression": "tiff_lzw"}, "L"),
        ("L", ".tif", {"compression": "tiff_adobe_deflate"}, "L"),
        ("I;16", ".tif", {}, "I;16"),
        ("RGB", ".tif", {"compression": "packbits"}, "RGB"),
        ("L", ".bmp", {}, "L"),
        ("1", ".bmp", {}, "L"),
        ("RGB", ".bmp", {}, "RGB"),
        ("L", ".webp", {"lossless": True}, "RGB"),
        ("L", ".pgm", {}, "L"),
        ("RGB", ".ppm", {}, "RGB"),
        ("L", ".jp2", {}, "L"),
    ],
)
def test_every_kind_of_image_that_opencv_reads_is_read(tmp_path, mode, ending, options, kind):
    steps = np.arange(64, dtype=np.uint16).reshape(8, 8)
    grey = (
        Image.fromarray(steps * 1000)
        if mode == "I;16"
        else Image.fromarray((steps * 4).astype(np.uint8)).convert(mode)
    )
    grey.save(tmp_path / f"a{ending}", **options)
    image = read_image(tmp_path / f"a{ending}", channels=3 if kind == "RGB" else 1)
    expected = steps * 1000 / 65535 if mode == "I;16" else np.array(grey.convert("L")) / 255
    np.testing.assert_allclose(
        image,
        np.broadcast_to(expected, image.shape),
        atol=0 if mode == "I;16" else 3 / 255,
        rtol=1e-6,
    )
