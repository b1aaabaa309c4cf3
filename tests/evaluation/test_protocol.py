import json

import pytest

from acdc_seg.config import Config, PrepareConfig
from acdc_seg.data.record import Record
from acdc_seg.data.source import Source
from acdc_seg.evaluation.protocol import is_cropped_by_masks

MASKED, UNMASKED = (
    Record("a", "a.png", "a_mask.png", "p", "val"),
    Record("b", "b.png", None, "p", "test"),
)


def source(kind, root):
    return Source(kind, root, (MASKED,))


@pytest.mark.parametrize("crop", ["heart", "center", "none"])
def test_slices_of_volumes_that_are_cut_here(tmp_path, crop):
    config = Config(prepare=PrepareConfig(crop=crop))
    assert is_cropped_by_masks(source("acdc", tmp_path), config, [MASKED]) == (crop == "heart")
    # of a test split without masks the middle of the slice was cut
    assert not is_cropped_by_masks(source("acdc", tmp_path), config, [UNMASKED])


@pytest.mark.parametrize(("crop", "expected"), [("heart", True), ("center", False)])
def test_folders_of_prepared_slices_tell_it(tmp_path, crop, expected):
    assert not is_cropped_by_masks(source("table", tmp_path), Config(), [MASKED])
    (tmp_path / "prepare.json").write_text(json.dumps({"settings": {"crop": crop}}))
    assert is_cropped_by_masks(source("table", tmp_path), Config(), [MASKED]) is expected
    (tmp_path / "prepare.json").write_text("[]")
    assert not is_cropped_by_masks(source("table", tmp_path), Config(), [MASKED])
