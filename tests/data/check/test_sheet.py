import cv2
import numpy as np
from scenes import check_folder

from acdc_seg.config import ClassesConfig
from acdc_seg.data.check.run import problems_by_record
from acdc_seg.data.check.sheet import MARGIN, choose, choose_of_class, draw_sheet
from acdc_seg.data.check.tiles import TILE, draw_borders, font, make_tile, shorten


def decode(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def near(picture, color):
    """Pixels of about a color: borders are smooth."""
    return (np.abs(picture.astype(int) - color) < 60).all(axis=-1) & picture.any(axis=-1)


def break_two(root):
    path = root / "val/image/patient004_1.png"
    path.write_bytes(b"")
    path = root / "train/image/patient002_1.png"
    image = cv2.imread(str(path), 0) * 0 + 9
    cv2.imwrite(str(path), image)


def test_worst_come_first_then_all_classes_then_all_patients(scenes):
    break_two(scenes)
    check = check_folder(scenes)
    chosen = choose(check, problems_by_record(check), 6)
    names = [check.records[index].id for index in chosen]
    assert names[:2] == ["patient004_1", "patient002_1"]  # an error, a warning
    richest = max(
        (index for index in range(10) if check.records[index].id not in names[:2]),
        key=lambda index: check.looks[index].pixels[1],
    )
    assert chosen[2] == richest
    assert len(set(chosen)) == 6
    assert set(choose(check, problems_by_record(check), 99)) == set(range(10))


def test_images_of_a_class_from_large_to_small(scenes):
    check = check_folder(scenes)
    chosen = choose_of_class(check.looks, 1, 4)
    pixels = [check.looks[index].pixels[1] for index in chosen]
    assert len(chosen) == 4
    assert pixels == sorted(pixels, reverse=True)
    assert pixels[0] == max(look.pixels[1] for look in check.looks)
    assert choose_of_class(check.looks, 200, 4) == []


def test_sheet_is_an_even_grid(scenes):
    break_two(scenes)
    check = check_folder(scenes)
    sheet, by_class = decode(draw_sheet(check, num=10)), draw_sheet(check, num=9, by_class=True)
    assert sheet.shape[1] == 2 * MARGIN + 4 * TILE + 3 * 14
    assert (sheet[:, :MARGIN] == 255).all()
    assert (sheet[:, -MARGIN:] == 255).all()
    assert decode(by_class).shape[0] > decode(by_class).shape[1] / 2
    assert draw_sheet(check, num=10) == draw_sheet(check, num=10)


def test_captions_name_the_problem(scenes):
    break_two(scenes)
    check = check_folder(scenes)
    problems = problems_by_record(check)
    tiles = [
        make_tile(record, found, kind="images", data=check.data, classes=check.classes)
        for record, found in zip(check.records, problems, strict=True)
    ]
    captions = [[text for text, _ in tile.captions] for tile in tiles]
    assert captions[0] == ["patient001_0", "train · patient001"]
    assert captions[3] == ["patient002_1", "constant"]
    assert captions[7] == ["patient004_1", "unreadable"]
    assert {tile.picture.shape for tile in tiles} == {(TILE, TILE, 3)}


def test_borders_have_the_colors_of_their_classes():
    mask = np.zeros((24, 12), np.uint8)
    mask[6:18, 3:9] = 2
    picture = draw_borders(np.zeros((1, 24, 12), np.float32), mask, ClassesConfig())
    left, scale = TILE // 4, TILE // 24  # twice as high as wide: in the middle of the square
    green = near(picture, (52, 168, 83))
    rows, columns = np.nonzero(green)
    assert abs(rows.min() - 6 * scale) <= 2 <= 2 + abs(rows.max() - 18 * scale + 1) <= 4
    assert abs(columns.min() - left - 3 * scale) <= 2
    assert not green[10 * scale : 14 * scale, left + 5 * scale : left + 7 * scale].any()
    assert (picture[TILE // 2, TILE // 2] == 0).all()
    assert (picture[:, 0] == picture[0, 0]).all()


def test_volumes_show_their_fullest_slice(pristine_tree):
    check = check_folder(pristine_tree)
    tile = make_tile(check.records[0], [], kind="volumes", data=check.data, classes=check.classes)
    assert all(near(tile.picture, color).sum() > 20 for color in check.classes.colors[1:])


def test_long_names_lose_their_middle():
    text = shorten("patient_" + "x" * 80 + "_0001", size=12, width=TILE)
    assert text.startswith("patient_")
    assert text.endswith("_0001")
    assert "…" in text
    assert font(12).getlength(text) <= TILE
    assert shorten("short", size=12, width=TILE) == "short"
