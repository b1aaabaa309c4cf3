import csv
import json

import nibabel as nib
import numpy as np
import pytest
from dicom import write_series
from volumes import AFFINE, GREY, GreyPredictor, make_cine, make_labels, save

from acdc_seg.data.exams import find_exams
from acdc_seg.errors import ConfigError
from acdc_seg.inference.volumes import VolumePredictor
from acdc_seg.prediction.case import Outputs
from acdc_seg.prediction.run import predict_exams, take_shard

NONE = Outputs()


def predict(inputs, out, *, outputs=NONE, predictor=None):
    predictor = predictor or VolumePredictor(GreyPredictor())
    return predict_exams(find_exams(inputs), predictor, out, outputs=outputs)


def test_a_cine_gets_label_maps_numbers_and_a_page(tmp_path):
    cine = make_cine()
    path = save(tmp_path / "case1.nii.gz", cine)
    (case,) = predict([path], tmp_path / "out")
    written = nib.load(tmp_path / "out" / "case1_seg.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), cine)
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)
    assert written.header.get_zooms() == pytest.approx((1.5, 1.5, 8, 40))
    voxel_ml = 1.5 * 1.5 * 8 / 1000
    values = case["measurements"]["values"]
    assert (case["measurements"]["ed"], case["measurements"]["es"]) == (0, 3)
    assert values["LVEDV"] == pytest.approx((cine[..., 0] == 3).sum() * voxel_ml)
    assert values["LVESV"] == pytest.approx((cine[..., 3] == 3).sum() * voxel_ml)
    (row,) = csv.DictReader((tmp_path / "out" / "measurements.csv").open(encoding="utf-8"))
    assert (row["case"], row["ED_frame"], row["ES_frame"]) == ("case1", "1", "4")
    assert float(row["LVEDV (mL)"]) == pytest.approx(values["LVEDV"], abs=0.01)
    content = json.loads((tmp_path / "out" / "measurements.json").read_text())
    assert content["cases"][0]["id"] == "case1"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "case1" in page
    assert f"{values['LVEDV']:.1f}" in page
    assert "data:image/jpeg;base64," in page


def test_the_same_heart_in_every_kind_of_file(tmp_path):
    heart = make_cine(4)
    save(tmp_path / "nifti" / "case1.nii.gz", heart)
    image = nib.Nifti1Image(GREY[heart], AFFINE)
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    (tmp_path / "turned").mkdir()
    nib.save(turned, tmp_path / "turned" / "case1.nii")
    patient = tmp_path / "acdc" / "patient001"
    save(patient / "patient001_4d.nii.gz", heart)
    (patient / "Info.cfg").write_text("ED: 1\nES: 3\nGroup: NOR\n")
    write_series(tmp_path / "dicom", GREY[heart], AFFINE)
    results = [
        predict([tmp_path / kind], tmp_path / "out" / kind)[0]["measurements"]["values"]
        for kind in ("nifti", "turned", "acdc", "dicom")
    ]
    for other in results[1:]:
        for name in ("LVEDV", "LVESV", "LVM", "RVEDV", "RVESV"):
            assert other[name] == pytest.approx(results[0][name], rel=1e-4)
    labels = nib.load(tmp_path / "out" / "turned" / "case1_seg.nii.gz")
    np.testing.assert_array_equal(GREY[np.asarray(labels.dataobj)], np.asarray(turned.dataobj))
    np.testing.assert_allclose(labels.affine, turned.affine)


def test_finished_exams_are_skipped_until_something_changes(tmp_path):
    path = save(tmp_path / "case1.nii.gz", make_labels(6))
    first = VolumePredictor(GreyPredictor())
    predict([path], tmp_path / "out", predictor=first)
    assert first.predictor.num_batches == 1

    def batches(**options):
        again = VolumePredictor(GreyPredictor(), **options)
        predict([path], tmp_path / "out", predictor=again)
        return again.predictor.num_batches

    assert batches() == 0
    assert batches(keep_largest=False) == 1
    assert batches() == 1
    save(path, make_labels(7))
    assert batches() == 1
    (tmp_path / "out" / "case1_seg.nii.gz").unlink()
    assert batches() == 1
    (tmp_path / "out" / "cases" / "case1.json").write_text('{"id": "case1", "sta')
    assert batches() == 1


def test_one_bad_exam_does_not_stop_the_others(tmp_path):
    save(tmp_path / "in" / "a.nii.gz", make_labels(6))
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"no image")
    save(tmp_path / "in" / "c.nii.gz", make_labels(5))
    cases = predict([tmp_path / "in"], tmp_path / "out")
    assert [case["status"] for case in cases] == ["done", "failed", "done"]
    assert "b.nii.gz: not a readable NIfTI file" in cases[1]["error"]
    rows = list(csv.DictReader((tmp_path / "out" / "measurements.csv").open(encoding="utf-8")))
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert rows[1]["error"] == cases[1]["error"]
    assert "not a readable" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_maps_of_probabilities_and_uncertainty(tmp_path):
    path = save(tmp_path / "case1.nii.gz", make_labels(6))
    outputs = Outputs(probabilities=True, uncertainty=True)
    (case,) = predict([path], tmp_path / "out", outputs=outputs)
    assert case["files"] == [
        "case1_seg.nii.gz",
        "case1_probabilities.nii.gz",
        "case1_uncertainty.nii.gz",
    ]
    probabilities = nib.load(tmp_path / "out" / "case1_probabilities.nii.gz").get_fdata()
    np.testing.assert_array_equal(probabilities.argmax(-1), make_labels(6))


def test_dicom_seg_of_a_series(tmp_path):
    write_series(tmp_path / "series", GREY[make_cine(4)], AFFINE)
    (case,) = predict([tmp_path / "series"], tmp_path / "out", outputs=Outputs(dicom_seg=True))
    assert [name.endswith("_seg.dcm") for name in case["files"]] == [False, True, True]
    path = save(tmp_path / "case1.nii.gz", make_labels(6))
    (case,) = predict([path], tmp_path / "out", outputs=Outputs(dicom_seg=True))
    assert case["status"] == "failed"
    assert "--dicom-seg is for DICOM series" in case["error"]


def test_shards_take_every_exam_once(tmp_path):
    exams = list(range(7))
    parts = [take_shard(exams, f"{number}/3") for number in (1, 2, 3)]
    assert parts == [[0, 3, 6], [1, 4], [2, 5]]
    for shard in ("0/3", "4/3", "1", "a/b", "1/0"):
        with pytest.raises(ConfigError, match=r"expected I/N with I in 1\.\.N"):
            take_shard(exams, shard)
