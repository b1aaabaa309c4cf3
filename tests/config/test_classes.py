import math
from itertools import combinations

import pytest
import yaml
from pydantic import ValidationError

from acdc_seg.config import (
    ClassesConfig,
    Config,
    differences,
    dump_yaml,
    from_dict,
    load_config,
    to_dict,
    with_overrides,
)
from acdc_seg.config.classes import class_presets
from acdc_seg.config.palette import default_colors
from acdc_seg.errors import ConfigError
from acdc_seg.labels import ACDC_LABELS

BLUE, GREEN, RED = (label.color for label in ACDC_LABELS[1:])


def classes_of(*overrides):
    return load_config(overrides=overrides).classes


def message_of(*overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides)
    return str(caught.value)


def test_the_defaults_are_the_heart():
    classes = ClassesConfig()
    assert classes.names == ("background", "rv", "myo", "lv")
    assert classes.values == (0, 1, 2, 3)
    assert classes.colors == ((0, 0, 0), BLUE, GREEN, RED)
    assert (classes.void, classes.has_background) == (None, True)
    assert classes.foreground == ("rv", "myo", "lv")


def test_names_alone_are_enough():
    classes = classes_of("classes.names=[background, cell, nucleus]")
    assert classes.names == ("background", "cell", "nucleus")
    assert classes.values == (0, 1, 2)
    assert classes.colors == ((0, 0, 0), BLUE, GREEN)
    assert classes_of("classes=[background, cell, nucleus]") == classes
    assert ClassesConfig(names=("background", "cell", "nucleus")) == classes


def test_values_and_colors_change_the_classes_of_any_config():
    config = load_config(overrides=["classes=[a, b]"])
    changed = with_overrides(config, {"classes.values": [0, 255], "classes.colors": [[9] * 3] * 2})
    assert changed.classes.names == ("a", "b")
    assert changed.classes.values == (0, 255)
    assert changed.classes.colors == ((9, 9, 9), (9, 9, 9))


def test_other_names_keep_the_values():
    assert classes_of("classes.names=[bg, right, wall, left]", "classes=mnms").values == (
        0,
        3,
        2,
        1,
    )
    renamed = with_overrides(Config(), {"classes.names": ["background", "lv", "myo", "rv"]})
    assert renamed.classes.colors == ((0, 0, 0), RED, GREEN, BLUE)


def test_a_preset_is_replaced_in_parts_in_any_order():
    swapped = classes_of("classes=mnms")
    assert swapped.names == ClassesConfig().names
    assert swapped.values == (0, 3, 2, 1)
    for words in (
        ("classes=pets", "classes.values=[0, 1]", "classes.void=null"),
        ("classes.void=null", "classes.values=[0, 1]", "classes=pets"),
    ):
        classes = classes_of(*words)
        assert (classes.names, classes.values, classes.void) == (
            ("background", "pet"),
            (0, 1),
            None,
        )
    config = with_overrides(load_config(overrides=["classes=pets"]), {"classes": "acdc"})
    assert config.classes == ClassesConfig()


def test_presets_hold_the_classes_of_their_data():
    assert class_presets() == ["acdc", "binary", "cityscapes8", "exercise23", "mnms", "pets"]
    assert all(name in ClassesConfig.__doc__ for name in class_presets())
    assert classes_of("classes=acdc") == ClassesConfig()
    assert classes_of("classes=binary").values == (0, 255)
    pets = classes_of("classes=pets")
    assert (pets.values, pets.void.value) == ((2, 1), 3)
    streets = classes_of("classes=cityscapes8")
    assert (len(streets.names), streets.foreground) == (8, streets.names)
    assert streets.colors[0] == (128, 64, 128)
    assert streets.mask_encoding == "nearest_color"
    exercise = classes_of("classes=exercise23")
    assert (len(exercise.names), exercise.void.color) == (23, (0, 0, 0))
    assert exercise.colors[exercise.names.index("body")] == (64, 64, 0)
    assert exercise.has_background is False


def test_classes_come_from_a_file(tmp_path):
    path = tmp_path / "cells.yaml"
    path.write_text("names: [background, cell]\nvalues: [0, 7]\n")
    assert classes_of(f"classes={path}").values == (0, 7)
    path.write_text("classes: {names: [background, cell], values: [0, 8]}\n")
    assert classes_of(f"classes={path}", "classes.void=9").void.value == 9
    path.write_text("[background, cell]\n")
    assert classes_of(f"classes={path}").values == (0, 1)
    config = tmp_path / "config.yaml"
    config.write_text("classes: pets\n")
    assert load_config(config).classes.names == ("background", "pet")
    path.write_text("7\n")
    assert "expected the settings of classes" in message_of(f"classes={path}")
    assert "cells.yml: cannot read this file" in message_of(f"classes={tmp_path}/cells.yml")


def test_an_unknown_preset_is_told_with_the_known_ones(tmp_path):
    message = message_of("classes=mnm")
    assert message.startswith("classes: 'mnm' is unknown: did you mean 'mnms'? (known are acdc, ")
    config = tmp_path / "config.yaml"
    config.write_text("seed: 1\nclasses: mnm\n")
    with pytest.raises(ConfigError, match=r"config\.yaml, line 2: classes: 'mnm' is unknown"):
        load_config(config)


def test_void_has_a_value_or_a_color():
    void = classes_of("classes.void=255").void
    assert (void.name, void.value, void.color) == ("void", 255, (255, 255, 255))
    void = classes_of("classes.void=[1, 2, 3]", "classes.values=[0, 1, 2, 255]").void
    assert (void.value, void.color) == (254, (1, 2, 3))
    assert classes_of("classes.void={value: 9, name: border}").void.name == "border"
    assert message_of("classes.void=3").startswith("classes: void has the value of a class, 3;")
    both = "classes.void=[0,0,0]", "classes.mask_encoding=colors"
    assert message_of(*both).startswith("classes: void has the color of a class, [0, 0, 0];")
    assert "void: got 'x', expected a value, a color" in message_of("classes.void=x")


def test_the_former_form_is_read():
    tree = to_dict(Config())
    tree["classes"] = {
        "names": ["background", "heart"],
        "values": [0, 85],
        "colors": [[0, 0, 0], [255, 0, 0]],
        "mask_encoding": "values",
        "ignore_value": 9,
    }
    classes = from_dict(tree).classes
    assert (classes.names, classes.values) == (("background", "heart"), (0, 85))
    assert (classes.colors[1], classes.void.value) == ((255, 0, 0), 9)
    assert from_dict({"classes": {**tree["classes"], "ignore_value": None}}).classes.void is None


def test_classes_round_trip():
    for words in (["classes=exercise23"], ["classes=pets", "classes.void=[1, 2, 3]"]):
        config = load_config(overrides=words)
        assert from_dict(to_dict(config)) == config
        assert from_dict(yaml.safe_load(dump_yaml(config))) == config


def test_differences_name_the_settings_that_change_them():
    changed = with_overrides(Config(), {"classes": "mnms"})
    assert differences(Config(), changed) == {"classes.values": ([0, 1, 2, 3], [0, 3, 2, 1])}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("a",), "values": (0,), "colors": ((0, 0, 0),)}, "at least two classes"),
        ({"values": (0, 1, 1, 3)}, "values must not repeat, 1 does"),
        ({"names": ("a", "b", "b", "c")}, "names must not repeat, b does"),
        ({"mask_encoding": "colors", "colors": ((0, 0, 0),) * 4}, "colors must not repeat"),
        ({"ignore_value": 3}, "void has the value of a class, 3"),
        ({"colors": ((0, 0, 256),) * 4}, "less than or equal to 255"),
        ({"names": "abc"}, "names: got 'abc', expected a list"),
    ],
)
def test_ambiguous_classes_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        ClassesConfig(**options)


def test_values_of_another_number_of_classes_name_the_setting_that_works():
    message = message_of("classes.values=[0, 255]")
    assert message == (
        "classes: values has 2 entries for 4 classes (background, rv, myo, lv): give one for each, "
        "or as many names, as in classes.names=[background,class1]"
    )
    assert classes_of("classes.values=[0, 255]", message.rpartition(" ")[2]).values == (0, 255)
    assert "classes.values.1: got 'x'" in message_of("classes.values=[0, x, 2, 3]")


@pytest.mark.parametrize("number", [256, 300])
def test_more_classes_than_masks_can_hold_are_refused(number):
    names = [f"c{index}" for index in range(number)]
    for tree in ({"names": names}, {"names": names, "values": [*range(number)]}):
        with pytest.raises(ConfigError, match=f"{number} classes, at most 255"):
            from_dict({"classes": tree})
    assert from_dict({"classes": names[:255]}).classes.values == tuple(range(255))


def test_default_colors_are_distinct():
    assert default_colors(["background", "lv", "x"]) == [(0, 0, 0), RED, BLUE]
    assert default_colors(["x", "y"], has_background=False) == [BLUE, GREEN]
    for number, distance in ((23, 100), (255, 35)):
        colors = default_colors([str(index) for index in range(number)])
        assert len(colors) == number
        assert min(math.dist(*pair) for pair in combinations(colors, 2)) > distance
