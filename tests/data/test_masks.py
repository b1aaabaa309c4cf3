import cv2
import numpy as np
import pytest
from PIL import Image

from acdc_seg.config import ClassesConfig, load_config
from acdc_seg.data.masks import encode_mask, read_mask
from acdc_seg.errors import DataError
from acdc_seg.labels import IGNORE_INDEX

CLASSES = ClassesConfig()
GREY = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
RGB = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], np.uint8)
PALETTE = ClassesConfig(
    names=("ground", "red", "green", "blue"),
    colors=((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)),
    mask_encoding="colors",
)


def test_mask_values_become_class_indices(tmp_path, write_png):
    path = write_png(tmp_path / "m.png", np.array([[0, 1], [3, 2]], np.uint8))
    mask = read_mask(path, CLASSES)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[0, 1], [3, 2]]
    assert read_mask(path, ClassesConfig(values=(3, 2, 1, 0))).tolist() == [[3, 2], [0, 1]]


def test_masks_of_sixteen_bits_are_read(tmp_path, write_png):
    path = write_png(tmp_path / "m.png", np.array([[0, 1000], [2000, 3000]], np.uint16))
    assert read_mask(path, ClassesConfig(values=(0, 1000, 2000, 3000))).tolist() == [[0, 1], [2, 3]]


def test_values_of_no_class_are_told_with_their_counts(tmp_path, write_png):
    mask = np.zeros((40, 50), np.uint8)
    mask[:30, :40], mask[39, 48:] = 4, 9
    with pytest.raises(DataError) as caught:
        read_mask(write_png(tmp_path / "m.png", mask), CLASSES)
    assert str(caught.value) == (
        f"{tmp_path}/m.png: the mask contains value 4 (1,200 pixels), 9 (2 pixels), expected one "
        "of [0, 1, 2, 3]; correct the mask, or set classes.names=[background,class1,class2] "
        "classes.values=[0,4,9], if these are all"
    )


@pytest.mark.parametrize("void", [9, 255])
def test_void_pixels_become_the_ignore_index(tmp_path, write_png, void):
    path = write_png(tmp_path / "m.png", np.array([[0, void], [3, 1]], np.uint8))
    assert read_mask(path, ClassesConfig(void=void)).tolist() == [[0, IGNORE_INDEX], [3, 1]]
    with pytest.raises(DataError, match=rf"the mask contains value {void} \(1 pixels\)"):
        read_mask(path, CLASSES)


def test_color_masks_are_matched_exactly(tmp_path, write_png):
    colors = np.array(PALETTE.colors, np.uint8)
    path = write_png(tmp_path / "m.png", colors[[[1, 2, 3], [0, 0, 1]]])
    assert read_mask(path, PALETTE).tolist() == [[1, 2, 3], [0, 0, 1]]


def test_a_color_of_no_class_is_named(tmp_path, write_png):
    path = write_png(tmp_path / "m.png", RGB)
    with pytest.raises(
        DataError,
        match=r"m\.png: colour \(10, 20, 30\) is not a class; .* set "
        r"classes\.void=\[10,20,30\] if these pixels have no class",
    ):
        read_mask(path, PALETTE)


def test_the_nearest_color_is_taken_where_asked(tmp_path, write_png):
    path = write_png(
        tmp_path / "m.png",
        np.array([[[250, 9, 3], [30, 200, 90]], [[1, 60, 130], [20, 20, 20]]], np.uint8),
    )
    assert read_mask(
        path, PALETTE.model_copy(update={"mask_encoding": "nearest_color"})
    ).tolist() == [
        [1, 2],
        [3, 0],
    ]


def test_color_masks_have_eight_bits(tmp_path, write_png):
    path = write_png(tmp_path / "m.png", RGB.astype(np.uint16))
    with pytest.raises(
        DataError,
        match=r"m\.png: the mask is not an 8-bit RGB image, but classes\.mask_encoding=colors",
    ):
        read_mask(path, PALETTE)


def test_the_kind_of_mask_must_be_as_configured(tmp_path, write_png):
    with pytest.raises(
        DataError,
        match=r"c\.png: the mask is a colour image where class numbers are configured; set "
        r"classes\.mask_encoding=colors ",
    ):
        read_mask(write_png(tmp_path / "c.png", RGB), CLASSES)
    with pytest.raises(
        DataError,
        match=r"g\.png: the mask is not an 8-bit RGB image, but classes\.mask_encoding=colors; set "
        r"classes\.mask_encoding=values",
    ):
        read_mask(write_png(tmp_path / "g.png", GREY), PALETTE)


@pytest.mark.parametrize(
    ("values", "classes", "settings"),
    [
        ((0, 255), "acdc", ("classes=binary",)),
        ((255,), "acdc", ("classes=binary",)),
        ((0, 255), ["background", "cell"], ("classes.values=[0,255]",)),
        ((0, 255), ["a", "b", "c", "d"], ("classes.values=[0,85,170,255]",)),
        ((0, 85, 170, 255), "acdc", ("classes.values=[0,85,170,255]",)),
        ((0, 170, 255), "acdc", ("classes.values=[0,85,170,255]",)),
        ((0, 128, 255), ["a", "b", "c"], ("classes.values=[0,128,255]",)),
        (
            (0, 127, 255),
            "acdc",
            ("classes.names=[background,class1,class2]", "classes.values=[0,127,255]"),
        ),
        (
            (0, 85, 170, 255),
            ["a", "b"],
            (
                "classes.names=[background,class1,class2,class3]",
                "classes.values=[0,85,170,255]",
            ),
        ),
    ],
)
def test_stretched_masks_are_offered_the_settings_that_read_them(
    tmp_path, write_png, values, classes, settings
):
    path = write_png(tmp_path / "m.png", np.array([values], np.uint8))
    with pytest.raises(DataError) as caught:
        read_mask(path, ClassesConfig.model_validate(classes))
    assert (caught.value.code, caught.value.settings) == ("mask_scaled", settings)
    assert f"stretched to 0..255: set {' '.join(settings)} if that is so" in str(caught.value)
    words = [f"classes={classes}".replace("'", ""), *settings]
    assert IGNORE_INDEX not in read_mask(path, load_config(overrides=words).classes)


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        ((0, 1, 2, 4), ("classes.values=[0,1,2,4]",)),
        ((0, 1, 2, 3, 255), ("classes.void=255",)),
        ((0, 90, 255), ("classes.names=[background,class1,class2]", "classes.values=[0,90,255]")),
        (tuple(range(21)), ()),
    ],
)
def test_other_values_are_offered_the_settings_that_read_them(
    tmp_path, write_png, values, settings
):
    path = write_png(tmp_path / "m.png", np.array([values], np.uint8))
    with pytest.raises(DataError) as caught:
        read_mask(path, CLASSES)
    assert (caught.value.code, caught.value.settings) == ("mask_value", settings)
    if settings:
        assert " ".join(settings) in str(caught.value)
        read_mask(path, load_config(overrides=settings).classes)


def test_color_masks_are_offered_the_settings_that_read_them(tmp_path, write_png):
    path = write_png(tmp_path / "m.png", RGB)
    with pytest.raises(DataError) as caught:
        read_mask(path, CLASSES)
    assert caught.value.settings == (
        "classes.mask_encoding=colors",
        "classes.names=[background,class1,class2,class3]",
        "classes.colors=[[0,0,255],[0,255,0],[10,20,30],[255,0,0]]",
    )
    classes = load_config(overrides=caught.value.settings).classes
    assert read_mask(path, classes).tolist() == [[3, 1], [0, 2]]


@pytest.mark.parametrize("preset", ["cityscapes8", "exercise23"])
def test_masks_in_the_colors_of_a_preset_are_offered_it(tmp_path, write_png, preset):
    classes = ClassesConfig.model_validate(preset)
    labels = np.arange(len(classes.names), dtype=np.uint8).repeat(64).reshape(-1, 64)
    path = tmp_path / "m.png"
    path.write_bytes(encode_mask(labels, classes))
    with pytest.raises(DataError) as caught:
        read_mask(path, CLASSES)
    assert caught.value.settings == (f"classes={preset}",)
    np.testing.assert_array_equal(read_mask(path, classes), labels)


def test_a_color_that_may_be_void_is_offered_as_it(tmp_path, write_png):
    path = write_png(tmp_path / "m.png", np.array([[[255, 0, 0], [255, 255, 255]]], np.uint8))
    with pytest.raises(DataError) as caught:
        read_mask(path, PALETTE)
    assert caught.value.settings == ("classes.void=[255,255,255]",)


@pytest.mark.parametrize("color", [(255, 255, 255), (1, 1, 1)])
def test_void_has_a_color_too(tmp_path, write_png, color):
    """In both modes; before, white became the class that is nearest to it."""
    near = np.array(color, np.uint8) - [4, 0, 0]
    pixels = np.array([[PALETTE.colors[1], color], [PALETTE.colors[3], color]], np.uint8)
    path = write_png(tmp_path / "m.png", pixels)
    colors = [(90, 0, 0), *PALETTE.colors[1:]]
    for mode in ("colors", "nearest_color"):
        classes = ClassesConfig(
            names=PALETTE.names, colors=colors, mask_encoding=mode, void=list(color)
        )
        assert read_mask(path, classes).tolist() == [[1, IGNORE_INDEX], [3, IGNORE_INDEX]]
        labels = np.array([[0, 1], [IGNORE_INDEX, 2]], np.uint8)
        (tmp_path / "w.png").write_bytes(encode_mask(labels, classes))
        np.testing.assert_array_equal(read_mask(tmp_path / "w.png", classes), labels)
    pixels[1, 1] = near.clip(0)
    path = write_png(tmp_path / "n.png", pixels)
    assert read_mask(path, classes)[1, 1] == IGNORE_INDEX


def blocks(values):
    """Squares of 16 pixels, each of one value or color."""
    return np.array(values, np.uint8).repeat(16, axis=0).repeat(16, axis=1)


@pytest.mark.parametrize("ending", [".jpg", ".webp", ".jp2"])
def test_lossy_masks_are_read_by_the_nearest_value(tmp_path, ending):
    values = [[0, 85, 170], [255, 170, 0]]
    path = tmp_path / f"m{ending}"
    Image.fromarray(blocks(values)).save(path, quality=70)
    classes = ClassesConfig(values=(0, 85, 170, 255))
    np.testing.assert_array_equal(read_mask(path, classes), blocks([[0, 1, 2], [3, 2, 0]]))
    assert len(np.unique(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))) >= 4


def test_lossy_masks_of_colors_are_read_by_the_nearest_one(tmp_path):
    labels = [[0, 1], [2, 3]]
    path = tmp_path / "m.jpg"
    Image.fromarray(blocks(np.array(PALETTE.colors)[labels])).save(path, quality=80)
    assert (read_mask(path, PALETTE) == blocks(labels)).mean() > 0.98


def test_values_that_a_jpeg_cannot_tell_apart_are_refused(tmp_path):
    path = tmp_path / "m.jpg"
    Image.fromarray(blocks([[0, 1], [2, 3]])).save(path)
    with pytest.raises(DataError, match=r"m\.jpg: .* lossy, .* values \[0, 1, 2, 3\] cannot") as e:
        read_mask(path, CLASSES)
    assert (e.value.code, e.value.settings) == ("mask_lossy", ())
    Image.fromarray(blocks([[0, 255], [255, 0]])).save(path, quality=60)
    with pytest.raises(DataError) as e:
        read_mask(path, CLASSES)
    assert (e.value.code, e.value.settings) == ("mask_lossy", ("classes=binary",))
    binary = load_config(overrides=e.value.settings).classes
    np.testing.assert_array_equal(read_mask(path, binary), blocks([[0, 1], [1, 0]]))


def test_formats_that_may_be_lossless_are_read_exactly_where_they_are(tmp_path):
    path = tmp_path / "m.webp"
    Image.fromarray(blocks([[0, 1], [2, 3]])).save(path, lossless=True)
    np.testing.assert_array_equal(read_mask(path, CLASSES), blocks([[0, 1], [2, 3]]))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_channels_that_are_equal_hold_values(tmp_path, mode):
    path = tmp_path / "m.png"
    Image.fromarray(np.array([[0, 1], [3, 2]], np.uint8)).convert(mode).save(path)
    assert read_mask(path, CLASSES).tolist() == [[0, 1], [3, 2]]


def test_alpha_must_be_opaque(tmp_path):
    pixels = np.dstack([np.array(PALETTE.colors, np.uint8).reshape(2, 2, 3), np.full((2, 2), 255)])
    path = tmp_path / "m.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    assert read_mask(path, PALETTE).tolist() == [[0, 1], [2, 3]]
    pixels[0, 0, 3] = 254
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    for classes in (PALETTE, CLASSES):
        with pytest.raises(DataError, match="transparent pixels") as caught:
            read_mask(path, classes)
        assert caught.value.code == "mask_alpha"


def test_pages_are_read_by_number(tmp_path):
    path = tmp_path / "m.tif"
    pages = [Image.fromarray(np.full((2, 3), value, np.uint8)) for value in (1, 3, 2)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    for page, value in enumerate((1, 3, 2)):
        assert (read_mask(path, CLASSES, page=page) == value).all()


def test_the_last_of_255_classes_is_read_and_written(tmp_path):
    classes = ClassesConfig.model_validate([f"c{index}" for index in range(255)])
    labels = np.array([[0, 254, 127]], np.uint8)
    (tmp_path / "m.png").write_bytes(encode_mask(labels, classes))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", classes), labels)


def palette_mask(path, numbers, **options):
    image = Image.fromarray(np.array(numbers, np.uint8), mode="P")
    image.putpalette(
        [part for color in ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)) for part in color]
    )
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".png", {}),
        (".png", {"bits": 8}),
        (".png", {"transparency": 0}),
        (".tif", {}),
        (".gif", {}),
    ],
)
def test_palette_masks_hold_class_numbers(tmp_path, ending, options):
    path = palette_mask(tmp_path / f"m{ending}", [[0, 1, 2], [3, 3, 1]], **options)
    assert read_mask(path, CLASSES).tolist() == [[0, 1, 2], [3, 3, 1]]
    with pytest.raises(
        DataError,
        match=rf"m\{ending}: the mask contains value 3 \(2 pixels\), expected one of \[0, 1, 2\]",
    ):
        read_mask(
            path, ClassesConfig(names=("a", "b", "c"), values=(0, 1, 2), colors=CLASSES.colors[:3])
        )


def test_palette_masks_are_colours_where_colours_are_configured(tmp_path):
    classes = ClassesConfig(
        mask_encoding="colors", colors=((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    )
    assert read_mask(palette_mask(tmp_path / "m.png", [[0, 1], [2, 3]]), classes).tolist() == [
        [0, 1],
        [2, 3],
    ]


def test_the_nearest_color_is_euclidean(tmp_path, write_png):
    """Not by the sum of differences, which is the same from both classes for the second pixel."""
    classes = ClassesConfig(
        names=("a", "b"),
        values=(0, 1),
        colors=((0, 0, 0), (10, 3, 3)),
        mask_encoding="nearest_color",
    )
    path = write_png(tmp_path / "m.png", np.array([[[5, 5, 5], [6, 2, 0]]], np.uint8))
    # squares: (5, 5, 5) is 75 from a, 33 from b; (6, 2, 0) is 40 from a, 26 from b
    assert read_mask(path, classes).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("settings", "stored"),
    [
        ({"values": (0, 3, 2, 1)}, [[0, 3], [2, 1]]),
        ({"values": (0, 85, 170, 255)}, [[0, 85], [170, 255]]),
        ({"values": (7, 1000, 2000, 65535)}, [[7, 1000], [2000, 65535]]),
        ({"mask_encoding": "colors"}, None),
        ({"mask_encoding": "nearest_color"}, None),
    ],
)
def test_written_masks_are_those_that_are_read(tmp_path, settings, stored):
    classes = ClassesConfig(**settings)
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    (tmp_path / "mask.png").write_bytes(encode_mask(labels, classes))
    pixels = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    if stored is None:
        pixels, stored = pixels[..., ::-1], np.reshape(classes.colors, (2, 2, 3)).tolist()
    assert pixels.tolist() == stored
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", classes), labels)


def test_void_is_written_where_it_has_a_value(tmp_path):
    labels = np.array([[0, 255], [1, 1]], np.uint8)
    classes = ClassesConfig(void=9)
    (tmp_path / "mask.png").write_bytes(encode_mask(labels, classes))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", classes), labels)
    with pytest.raises(DataError, match="the labels hold class 255, which a mask cannot show"):
        encode_mask(labels, ClassesConfig())
