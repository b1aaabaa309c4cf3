from pathlib import Path

import pytest

from acdc_seg.config import DataConfig
from acdc_seg.data.patients import name_patients, patient_of
from acdc_seg.data.problems import Scan
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError


@pytest.mark.parametrize(
    ("stem", "rule", "patient"),
    [
        ("cmr1", "auto", "pair001"),
        ("cmr2", "auto", "pair001"),
        ("cmr3", "auto", "pair002"),
        ("cmr200", "auto", "pair100"),
        ("Patient012_frame01_slice3", "auto", "patient012"),
        ("street 7", "auto", "street 7"),
        ("cmr7x", "auto", "cmr7x"),
        ("slice8", "pairs", "pair004"),
        ("slice", "pairs", "slice"),
        ("cmr1", "each", "cmr1"),
        ("p07-s12", r"^(p\d+)-", "p07"),
    ],
)
def test_patients_by_rule(stem, rule, patient):
    assert patient_of(stem, rule) == patient


@pytest.mark.parametrize("rule", [r"x(\d+)", r"p(x)?07"])
def test_rules_that_find_no_patient_are_refused(rule):
    with pytest.raises(DataError, match="must be a regular expression with one group"):
        patient_of("p07-s12", rule)


FOLDER = Path("data")


def name(names, splits=None, **settings):
    records = [
        Record(f"{split}_{stem}" if split else stem, FOLDER / f"{stem}.png", None, split=split)
        for stem, split in zip(names, splits or [""] * len(names), strict=True)
    ]
    return name_patients(FOLDER, Scan(records, [], []), DataConfig(**settings))


CASES = [f"case{case:02d}_slice{slice:02d}" for case in range(6) for slice in range(5)]
VIDEOS = [f"video{video}_{frame:03d}_img" for video in "AB" for frame in range(4)]


@pytest.mark.parametrize(
    ("names", "pattern", "first", "num_patients"),
    [
        (CASES, r"(case\d+)_", "case00", 6),
        (VIDEOS, r"^(.+)_\d+_img$", "videoA", 2),
        (["a1", "a2", "b1", "b10"], r"^(.*?)(?:\d+|ED|ES)?$", "a", 2),
    ],
)
def test_names_that_share_a_stem_are_asked_about_and_the_answers_work(
    names, pattern, first, num_patients
):
    (problem,) = name(names).problems
    assert (problem.code, problem.severity) == ("patient_rule", "error")
    rule = f"data.patient_rule={pattern}"
    assert problem.settings == (rule, "data.patient_rule=each")
    assert f"set '{rule}' if they are, data.patient_rule=each if" in problem.fix
    assert f"as {names[0]}, {names[1]}" in problem.text
    records, problems, notes = name(names, patient_rule=pattern)
    assert problems == []
    assert (records[0].patient, len({record.patient for record in records})) == (
        first,
        num_patients,
    )
    assert notes == [
        f"Patients: {pattern} (e.g. {first} of {names[0]}); data.patient_rule=... to change"
    ]
    records, problems, _ = name(names, patient_rule="each")
    assert (problems, len({record.patient for record in records})) == ([], len(names))


@pytest.mark.parametrize(
    "names", [["cell_000", "cell_001", "cell_002"], ["1", "2", "3"], ["a", "b"], ["a1", "b2"]]
)
def test_names_of_one_stem_are_each_their_own(names):
    records, problems, notes = name(names)
    assert problems == []
    assert [record.patient for record in records] == names
    assert notes == [
        f"Patients: each image its own (e.g. {names[0]}); data.patient_rule=... to change"
    ]


def test_known_names_are_never_asked_about():
    names = ["cmr1", "cmr2", "cmr3", "patient001_1", "patient001_2", "patient002_1"]
    records, problems, notes = name(names)
    assert problems == []
    patients = ["pair001", "pair001", "pair002", "patient001", "patient001", "patient002"]
    assert [record.patient for record in records] == patients
    assert notes == [
        "Patients: pairs of numbers (e.g. pair001 of cmr1), patientNNN (e.g. patient001 of "
        "patient001_1); data.patient_rule=... to change"
    ]


def test_own_splits_are_warned_of_where_a_stem_is_on_two_sides():
    names = ["case1_1", "case1_2", "case2_1", "case2_2"]
    (problem,) = name(names, ["train", "val", "val", "val"]).problems
    assert problem.severity == "warning"
    assert "case1_1, case1_2 in train and val" in problem.text
    assert name(names, ["train", "train", "val", "val"]).problems == []
    (problem,) = name(names, ["train", "train", "val", "val"], num_folds=2, fold=0).problems
    assert problem.severity == "error"
    assert name(names, validation=False).problems == []


def test_equal_names_of_two_splits_are_not_one_patient():
    names = ["1", "2", "1"]
    records, problems, _ = name(names, ["train", "train", "val"])
    assert problems == []
    assert [record.patient for record in records] == ["train_1", "train_2", "val_1"]


def test_a_rule_that_does_not_match_names_every_file():
    records, problems, _ = name(["a1", "b"], patient_rule=r"a(\d)")
    assert [record.patient for record in records] == ["1", "b"]
    assert [str(problem) for problem in problems] == [
        "data/b.png: data.patient_rule='a(\\d)' finds no patient in this name; it must be a "
        "regular expression with one group"
    ]
