import csv
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volumes import GreyPredictor, make_cine, make_labels, save

import acdc_seg.inference.load
import acdc_seg.inference.shipped
import acdc_seg.prediction.run


@pytest.fixture
def grey_model(monkeypatch):
    monkeypatch.setattr(acdc_seg.inference.load, "load_members", lambda *a, **k: GreyPredictor())
    monkeypatch.setattr(acdc_seg.inference.shipped, "find_model", Path)


@pytest.mark.usefixtures("grey_model")
def test_exams_are_segmented_measured_and_skipped_the_second_time(command):
    cine = make_cine()
    save(Path("in/case1.nii.gz"), cine)
    save(Path("in/case2.nii.gz"), make_labels(6))
    outcome = command("predict", "in", "--out", "out", "--model", "grey")
    assert outcome.code == 0
    assert "1/2 case1  LVEDV " in outcome.out
    assert "2/2 case2" in outcome.out
    labels = np.asarray(nib.load("out/case1_seg.nii.gz").dataobj)
    np.testing.assert_array_equal(labels, cine)
    again = command("predict", "in", "--out", "out", "--model", "grey")
    assert again.out.count("(done before)") == 2


@pytest.mark.usefixtures("grey_model")
def test_a_bad_exam_is_named_and_the_exit_code_tells(command):
    save(Path("in/case1.nii.gz"), make_labels(6))
    Path("in/case2.nii").write_bytes(b"nothing")
    outcome = command("predict", "in", "--out", "out", "--model", "grey")
    assert outcome.code == 2
    assert "2/2 case2  failed in/case2.nii: not a readable NIfTI file" in outcome.out
    assert "1 of 2 exams failed; see report.html" in outcome.out
    assert Path("out/case1_seg.nii.gz").is_file()


@pytest.mark.usefixtures("grey_model")
def test_a_shard_takes_its_exams(command):
    for name in "abc":
        save(Path(f"in/{name}.nii.gz"), make_labels(6))
    assert command("predict", "in", "--out", "out", "--model", "x", "--shard", "2/3").code == 0
    assert [path.name for path in Path("out").glob("*_seg.nii.gz")] == ["b_seg.nii.gz"]


@pytest.mark.usefixtures("grey_model")
def test_an_interrupt_keeps_what_is_finished(command, monkeypatch):
    for name in "ab":
        save(Path(f"in/{name}.nii.gz"), make_labels(6))
    finish = acdc_seg.prediction.run.finish_case

    def interrupt(exam, *args, **options):
        if exam.id == "b":
            raise KeyboardInterrupt
        return finish(exam, *args, **options)

    monkeypatch.setattr(acdc_seg.prediction.run, "finish_case", interrupt)
    outcome = command("predict", "in", "--out", "out", "--model", "grey")
    assert outcome.code != 0
    assert "Finished exams are kept in out; the same command continues." in outcome.out
    monkeypatch.setattr(acdc_seg.prediction.run, "finish_case", finish)
    again = command("predict", "in", "--out", "out", "--model", "grey")
    assert (again.code, again.out.count("(done before)")) == (0, 1)
    with Path("out/measurements.csv").open(encoding="utf-8") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.nii.gz",), "nothing.nii.gz: no such file or folder"),
        ((".",), "nothing to segment here; expected a NIfTI file"),
        ((".", "--model", "acdc_volume"), "'acdc_volume' is neither a run folder"),
        ((".", "--out", "a_file"), "--out a_file: is a file; give a folder"),
        (("a.nii", "--shard", "4"), "--shard 4: expected I/N"),
    ],
)
def test_mistakes_are_one_message(command, arguments, message, monkeypatch):
    if "--model" not in arguments:
        monkeypatch.setattr(acdc_seg.inference.shipped, "find_model", lambda name: Path("grey"))
    Path("a_file").touch()
    if arguments[0] == "a.nii":
        save(Path("a.nii"), make_labels(6))
    outcome = command("predict", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_mistyped_path_is_answered_before_slow_imports(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "acdc_seg.data.exams", None)
    monkeypatch.setitem(sys.modules, "acdc_seg.prediction.run", None)
    outcome = command("predict", "nothing.nii.gz")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "Error: nothing.nii.gz: no such file or folder; check the path\n"
