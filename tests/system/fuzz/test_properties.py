"""Properties of any input at all; Hypothesis looks for one that breaks them.

(Of run-length encodings: tests/test_rle.py.)
"""

import contextlib
import json

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from acdc_seg.config import (
    ClassesConfig,
    Config,
    DataConfig,
    from_dict,
    load_config,
    parse_override,
    to_dict,
)
from acdc_seg.config.yaml_text import parse_yaml
from acdc_seg.data.images import read_image
from acdc_seg.data.masks import read_mask
from acdc_seg.data.readers import read_records
from acdc_seg.errors import AcdcError, DataError
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.submission.table import encode_rows, read_rows, write_rows

many = settings(max_examples=300)
some = settings(max_examples=100)

SETTINGS = st.sampled_from(
    [
        *Config.model_fields,
        *to_dict(Config())["data"],
        *to_dict(Config())["train"],
        "name",
        "preset",
        "depth",
    ]
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=4)
)
TREES = st.recursive(
    PLAIN,
    lambda part: (
        st.lists(part, max_size=4)
        | st.dictionaries(SETTINGS | st.text(max_size=5) | PLAIN, part, max_size=5)
    ),
    max_leaves=20,
)
YAML_TEXT = st.text(st.characters() | st.sampled_from("&*[]{}:,-?!|>%@`'\"#<\n  ab1"), max_size=60)
NAMES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=6)
MASKS = st.sampled_from((np.uint8, np.uint16)).flatmap(
    lambda kind: arrays(
        kind,
        array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.integers(0, 3) | st.integers(0, np.iinfo(kind).max),
    )
)
INFO_LINES = st.lists(
    st.tuples(
        st.sampled_from(("ED", "ES", "Group", "Height", "NbFrame", "Weight")) | st.text(max_size=5),
        st.text(max_size=8) | st.floats(),
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for files that every example overwrites."""
    return tmp_path_factory.mktemp("any")


def ends_in_sense(read, *arguments, **options):
    """Its result, or None where it refuses."""
    with contextlib.suppress(AcdcError):
        return read(*arguments, **options)


@some
@given(
    st.dictionaries(
        NAMES, arrays(np.uint8, (3, 4), elements=st.integers(0, 3)), min_size=1, max_size=4
    )
)
def test_any_masks_return_from_a_submission(folder, masks):
    rows = encode_rows(masks.items(), num_classes=4)
    write_rows(folder / "submission.csv", rows)
    assert read_rows(folder / "submission.csv") == dict(rows)


@many
@given(YAML_TEXT)
def test_any_text_is_values_or_refused(folder, text):
    ends_in_sense(parse_yaml, text, source="here")
    ends_in_sense(parse_override, f"data.size={text}")
    (folder / "config.yaml").write_bytes(text.encode(errors="surrogatepass"))
    config = ends_in_sense(load_config, folder / "config.yaml")
    assert config is None or load_config(model=config.model.name).model == config.model


@many
@given(TREES)
def test_any_tree_is_a_config_or_refused(tree):
    config = ends_in_sense(from_dict, tree)
    if config is not None:
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@some
@given(st.dictionaries(SETTINGS, TREES, max_size=4))
def test_any_tree_in_a_file_is_a_config_or_refused(folder, tree):
    text = yaml.safe_dump(tree, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    ends_in_sense(load_config, folder / "config.yaml")


@many
@given(
    st.sampled_from(["", *Config.model_fields]),
    SETTINGS | st.text(max_size=5),
    PLAIN | st.lists(PLAIN, max_size=3),
)
def test_any_override_is_applied_or_refused(section, key, value):
    text = yaml.safe_dump(value, default_flow_style=True, width=1e9).removesuffix("...\n").strip()
    override = f"{section}.{key}={text}".lstrip(".")
    config = ends_in_sense(load_config, overrides=[override])
    if config is not None and key != "preset":
        dotted, parsed = parse_override(override)
        applied = to_dict(config)
        for part in dotted.split("."):
            applied = applied[part]
        assert is_same(applied, parsed), override


def is_same(applied, given):
    """Whether a setting has the value of its override, as far as types let it."""
    if isinstance(applied, bool):  # also from 1, "yes" and the like
        return applied == given or not isinstance(given, bool)
    if isinstance(applied, list):
        return len(applied) == len(given) and all(map(is_same, applied, given))
    if isinstance(applied, int | float):
        return float(applied) == float(given)
    return applied == given or isinstance(applied, dict)


@many
@given(
    st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"\x89PNG\r\n\x1a\n" + tail)
)
def test_any_bytes_are_an_image_or_refused(folder, data):
    (folder / "a.png").write_bytes(data)
    assert ends_in_sense(read_image, folder / "a.png") is None
    assert ends_in_sense(read_mask, folder / "a.png", ClassesConfig()) is None


@many
@given(MASKS, st.none() | st.integers(4, 70_000))
def test_any_array_is_the_mask_that_was_written_or_refused(folder, pixels, void):
    (folder / "a.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    expected = np.where(pixels == void, IGNORE_INDEX, pixels) if void is not None else pixels
    if np.isin(pixels, [0, 1, 2, 3, -1 if void is None else void]).all():
        assert read_mask(folder / "a.png", ClassesConfig(void=void)).tolist() == expected.tolist()
    else:
        with pytest.raises(DataError, match="the mask contains value"):
            read_mask(folder / "a.png", ClassesConfig(void=void))


@many
@given(INFO_LINES | st.text())
def test_any_info_is_a_patient_or_refused(folder, lines):
    text = lines if isinstance(lines, str) else "".join(f"{key}: {value}\n" for key, value in lines)
    (folder / "patient001").mkdir(exist_ok=True)
    (folder / "patient001" / "Info.cfg").write_bytes(text.encode(errors="surrogatepass"))
    for frame in range(1, 4):
        (folder / "patient001" / f"patient001_frame{frame:02d}.nii.gz").touch()
    ends_in_sense(read_records, "acdc", folder, DataConfig())
