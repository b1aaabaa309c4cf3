import cv2
import pytest
from hearts import write_image

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.check.quick import all_problems, take_fingerprint
from acdc_seg.data.examples import read_example
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError


def records_of(root):
    return [
        Record(path.stem, path, path.parents[1] / "mask" / f"{path.stem}_mask.png")
        for path in sorted(root.glob("train/image/*.png"))
    ]


def test_other_kinds_of_problems_are_added(scenes):
    for path in scenes.rglob("*.png"):
        pixels = cv2.imread(str(path), 0)
        is_mask = path.parent.name == "mask"
        write_image(
            path,
            (pixels > 0).astype("uint8") * 255 if is_mask else cv2.applyColorMap(pixels, 2),
        )
    settings = {"root": scenes, "data": DataConfig(), "classes": ClassesConfig()}
    first = DataError("a.png: three channels", code="channels", settings=["data.channels=3"])
    with pytest.raises(DataError) as caught, all_problems(records_of(scenes), **settings):
        raise first
    lines = str(caught.value).splitlines()
    assert lines[0] == "a.png: three channels"
    assert "the mask contains value 255" in lines[1]
    assert lines[2] == f"Try: acdc-train --data '{scenes}' data.channels=3 classes=binary"
    assert caught.value.settings == ("data.channels=3", "classes=binary")


def test_problems_that_the_error_tells_already_are_not_repeated(scenes):
    for path in scenes.rglob("image/*.png"):
        write_image(path, cv2.applyColorMap(cv2.imread(str(path), 0), 2))
    for path in scenes.rglob("mask/*.png"):
        write_image(path, (cv2.imread(str(path), 0) > 0).astype("uint8") * 255)
    records = records_of(scenes)
    settings = {"data": DataConfig(), "classes": ClassesConfig()}
    with pytest.raises(DataError) as caught, all_problems(records, root=scenes, **settings):
        read_example(records[0], **settings)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        str(records[0].image),
        str(records[0].mask),
        "Try",
    ]
    assert lines[2].endswith("data.channels=3 classes=binary")


def test_an_error_alone_stays_as_it_is(scenes):
    records = records_of(scenes)
    records[0].image.write_bytes(b"")
    settings = {"root": scenes, "data": DataConfig(), "classes": ClassesConfig()}
    error = DataError("a.png: not readable", code="unreadable")
    with pytest.raises(DataError) as caught, all_problems(records, **settings):
        raise error
    assert caught.value is error
    with all_problems(records, **settings):
        pass


def test_fingerprint_of_a_training_and_what_it_should_tell(scenes):
    records = records_of(scenes)
    settings = {"root": scenes, "data": DataConfig()}
    fingerprint, warnings = take_fingerprint(records, classes=ClassesConfig(), **settings)
    assert warnings == []
    assert fingerprint["num_records"] == fingerprint["num_images"] == len(records)
    assert list(fingerprint["classes"]) == ["background", "rv", "myo", "lv"]
    swapped = ClassesConfig(values=(0, 3, 2, 1))
    _, warnings = take_fingerprint(records, classes=swapped, **settings)
    assert [(each.code, each.settings) for each in warnings] == [("class_order", ("classes=acdc",))]
