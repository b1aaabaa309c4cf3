import base64
import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from reports import make_mask, make_scores, read_page, write_slices

from acdc_seg.config import load_config
from acdc_seg.errors import ConfigError
from acdc_seg.report import niivue, viewer
from acdc_seg.report.niivue import read_bundle, volume_content
from acdc_seg.report.run_page import write_run_page

UMD = b'(function(a,b){typeof exports=="object"?b(exports):b(a.niivue={})})(this,function(){});'


@pytest.fixture
def hearts(tmp_path):
    """Scores and pictures of volumes whose slices are on disk."""
    scores, evidence = make_scores(error=1, volumes=True, folder=tmp_path / "slices")
    write_slices(evidence)
    return scores, evidence


def nifti(text):
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_volumes_have_their_voxels_in_mm_and_rows_run_down(hearts):
    content = volume_content(*hearts, channels=1)
    assert [volume["name"] for volume in content["volumes"]] == ["p0", "p1", "p2"]
    volume = content["volumes"][1]
    assert volume["cases"] == ["p1_0", "p1_1"]
    files = {part: nifti(volume[part]) for part in ("image", "mask", "labels")}
    for file in files.values():
        assert file.header.get_zooms() == (2.0, 1.5, 8.0)  # column, row, slice
        assert nib.aff2axcodes(file.affine) == ("R", "P", "S")
        assert file.get_data_dtype() == np.uint8
    arrays = {part: np.asarray(file.dataobj) for part, file in files.items()}
    expected = np.stack([make_mask(2).T, make_mask(3).T], axis=2)
    np.testing.assert_array_equal(arrays["mask"], expected)
    assert [(arrays["labels"] != expected)[..., each].sum() for each in (0, 1)] == [3, 4]
    np.testing.assert_array_equal(np.unique(arrays["image"][expected == 3]), [255])
    np.testing.assert_array_equal(np.unique(arrays["image"][expected == 0]), [0])


def test_a_missing_slice_is_black_and_the_next_keeps_its_place(hearts):
    scores, evidence = hearts
    del evidence.records["p2_1"]
    volume = volume_content(scores, evidence, channels=1)["volumes"][2]
    assert (volume["cases"], volume["slices"]) == (["p2_0", "p2_empty"], [0, 2])
    assert nifti(volume["image"]).shape[2] == 3
    assert not np.asarray(nifti(volume["image"]).dataobj)[..., 1].any()


def test_the_worst_volumes_stay_where_not_all_fit(hearts):
    scores, evidence = hearts
    whole = volume_content(scores, evidence, channels=1)
    assert (whole["worst"], whole["left_out"]) == ("p2", "")
    size = niivue.volume_size(whole["volumes"][2])
    few = volume_content(scores, evidence, channels=1, max_characters=size)
    assert [volume["name"] for volume in few["volumes"]] == ["p2"]
    assert few["left_out"].startswith("2 of 3 volumes")


@pytest.mark.parametrize("unknown", ["patient", "slice", "spacing", "slice_spacing"])
def test_images_that_are_no_slices_of_volumes_are_refused(hearts, unknown):
    scores, evidence = hearts
    nothing = "" if unknown == "patient" else None
    for id, record in evidence.records.items():
        evidence.records[id] = replace(record, **{unknown: nothing})
    with pytest.raises(ConfigError, match="unet: --viewer niivue shows volumes"):
        volume_content(scores, evidence, channels=1)


def test_a_volume_whose_slices_differ_is_left_alone(hearts):
    scores, evidence = hearts
    evidence.records["p0_1"] = replace(evidence.records["p0_1"], slice_spacing=5.0)
    evidence.records["p1_1"] = replace(evidence.records["p1_1"], slice=2)  # twice
    content = volume_content(scores, evidence, channels=1)
    assert [volume["name"] for volume in content["volumes"]] == ["p2"]


def test_the_script_is_read_and_another_file_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"niivue.umd.js: no such file; .*npm pack @niivue/niivue@"
    ):
        read_bundle(None)
    (tmp_path / "niivue.umd.js").write_bytes(UMD)
    assert gzip.decompress(base64.b64decode(read_bundle(None))) == UMD
    (tmp_path / "index.js").write_text("export class Niivue {}")
    with pytest.raises(ConfigError, match=r"index.js: not the script niivue.umd.js of NiiVue"):
        read_bundle(tmp_path / "index.js")


def test_the_page_has_niivue_and_its_licence_only_where_asked(hearts, tmp_path, monkeypatch):
    scores, evidence = hearts
    options = {"run": {}, "history": [], "content": scores.content, "evidence": evidence}
    config = load_config(model="unet")
    write_run_page(tmp_path / "a", config, **options)
    plain = (tmp_path / "a" / "report.html").read_text()
    assert not any(word in plain for word in ("NiiVue", "niivue-bundle", "BSD 2-Clause"))
    write_run_page(tmp_path / "b", config, niivue="c2NyaXB0", **options)
    page = read_page(tmp_path / "b" / "report.html")
    assert "BSD 2-Clause License Copyright (c) 2021, Niivue" in page.text
    assert ["text/plain", "c2NyaXB0"] in page.scripts
    assert len(page.viewer["cases"]) == 7  # our own viewer stays
    monkeypatch.setattr(viewer, "MAX_CHARACTERS", 10_000)
    write_run_page(tmp_path / "b", config, niivue="c" * 7_000, **options)
    assert len(read_page(tmp_path / "b" / "report.html").viewer["cases"]) < 7  # it makes room
