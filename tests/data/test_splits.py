from pathlib import Path

import pytest

from acdc_seg.data.record import Record
from acdc_seg.data.splits import (
    check_disjoint,
    fold_patients,
    hold_out,
    read_splits,
    select_splits,
    split_patients,
)
from acdc_seg.errors import ConfigError, DataError

FIVE_GROUPS = {
    f"patient{number:03d}": group
    for number, group in enumerate(["NOR", "MINF", "DCM", "HCM", "RV"] * 20, start=1)
}


def groups_of(patients, groups):
    return sorted(groups[patient] for patient in patients)


def test_every_group_is_divided_in_proportion():
    train, val = split_patients(FIVE_GROUPS, val_fraction=0.2, seed=0)
    assert len(train) == 80
    assert (
        groups_of(val, FIVE_GROUPS)
        == ["DCM"] * 4 + ["HCM"] * 4 + ["MINF"] * 4 + ["NOR"] * 4 + ["RV"] * 4
    )
    assert sorted(train + val) == sorted(FIVE_GROUPS)
    assert train == sorted(train)
    assert val == sorted(val)


def test_order_of_input_has_no_influence_and_the_seed_has():
    backwards = dict(reversed(FIVE_GROUPS.items()))
    first = split_patients(FIVE_GROUPS, val_fraction=0.2, seed=3)
    assert split_patients(backwards, val_fraction=0.2, seed=3) == first
    assert split_patients(FIVE_GROUPS, val_fraction=0.2, seed=4) != first
    assert fold_patients(backwards, num_folds=5, seed=3) == fold_patients(
        FIVE_GROUPS, num_folds=5, seed=3
    )
    assert fold_patients(FIVE_GROUPS, num_folds=5, seed=4) != fold_patients(
        FIVE_GROUPS, num_folds=5, seed=3
    )


@pytest.mark.parametrize("val_fraction", [0.05, 0.9])
def test_groups_of_two_stand_on_both_sides(val_fraction):
    groups = {"a": "DCM", "b": "DCM", "c": "RV", "d": "RV"}
    train, val = split_patients(groups, val_fraction=val_fraction, seed=1)
    assert groups_of(train, groups) == groups_of(val, groups) == ["DCM", "RV"]


def test_shares_are_rounded_so_that_they_sum_up():
    groups = {f"{group}{number}": group for group in "abcd" for number in range(5)}
    _, val = split_patients(groups, val_fraction=0.25, seed=0)  # 4 x 1.25 = 5
    assert len(val) == 5
    assert set(groups_of(val, groups)) == set("abcd")


def test_groups_of_one_are_pooled():
    train, val = split_patients(
        {"a": "DCM", "b": "RV", "c": "HCM", "d": "NOR"}, val_fraction=0.25, seed=0
    )
    assert (len(train), len(val)) == (3, 1)


def test_single_patient_trains():
    assert split_patients({"a": "DCM"}, val_fraction=0.5, seed=0) == (["a"], [])
    assert split_patients({}, val_fraction=0.5, seed=0) == ([], [])


@pytest.mark.parametrize("val_fraction", [0, 1, -0.1, float("nan")])
def test_fraction_outside_0_to_1(val_fraction):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_patients(FIVE_GROUPS, val_fraction=val_fraction, seed=0)


def test_folds_hold_every_patient_once_and_groups_equally():
    folds = fold_patients(FIVE_GROUPS, num_folds=5, seed=0)
    assert sorted(patient for fold in folds for patient in fold) == sorted(FIVE_GROUPS)
    for fold in folds:
        assert fold == sorted(fold)
        assert (
            groups_of(fold, FIVE_GROUPS)
            == ["DCM"] * 4 + ["HCM"] * 4 + ["MINF"] * 4 + ["NOR"] * 4 + ["RV"] * 4
        )


@pytest.mark.filterwarnings("error")
def test_groups_smaller_than_the_number_of_folds_are_pooled():
    groups = {
        "a": "DCM",
        "b": "DCM",
        "c": "RV",
        "d": "HCM",
        **{f"n{number}": "NOR" for number in range(4)},
    }
    folds = fold_patients(groups, num_folds=4, seed=0)
    assert [sum(groups[patient] == "NOR" for patient in fold) for fold in folds] == [1, 1, 1, 1]
    assert [len(fold) for fold in folds] == [2, 2, 2, 2]


@pytest.mark.filterwarnings("error")
def test_pool_smaller_than_the_number_of_folds_joins_a_group():
    groups = {"a": "RV", **{f"n{number}": "NOR" for number in range(5)}}
    assert sorted(len(fold) for fold in fold_patients(groups, num_folds=3, seed=0)) == [2, 2, 2]


@pytest.mark.parametrize("num_folds", [0, 1, 101])
def test_impossible_number_of_folds(num_folds):
    with pytest.raises(
        ConfigError,
        match=f"num_folds={num_folds} must be between 2 and the number of patients, 100; choose "
        "another data.num_folds",
    ):
        fold_patients(FIVE_GROUPS, num_folds=num_folds, seed=0)


def test_patient_in_two_splits_is_named():
    check_disjoint({"train": ["a", "b", "a"], "val": ["c"]})
    with pytest.raises(DataError, match="patient 'b' is in train and in test"):
        check_disjoint({"train": ["a", "b"], "val": ["c"], "test": ["b"]})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"train": ' * 100_000,
        "",
        "{",
        '{"train": 3}',
        '{"train": [3]}',
        "[]",
        "9" * 5000,
        "\ud800",
    ],
)
def test_files_that_hold_no_splits_are_refused(tmp_path, text):
    (tmp_path / "splits.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(DataError, match=r"splits\.json: (cannot read these splits|expected)"):
        read_splits(tmp_path / "splits.json")


def records_of(split_of):
    return [
        Record(f"{patient}_{phase}", Path("a.nii"), None, patient, split)
        for patient, split in split_of.items()
        for phase in ("ED", "ES")
    ]


def splits_of(records):
    return {record.patient: record.split for record in records}


def test_patients_are_held_out_of_training_where_none_validates():
    split_of = {"a": "", "b": "train", "c": "test"}
    split_of_patient = splits_of(hold_out(records_of(split_of), val_fraction=0.5, seed=0))
    assert sorted([split_of_patient["a"], split_of_patient["b"]]) == ["train", "val"]
    assert split_of_patient["c"] == "test"
    split_of = {"a": "", "b": "val", "c": "train"}
    assert splits_of(hold_out(records_of(split_of), val_fraction=0.9, seed=0)) == {
        "a": "train",
        "b": "val",
        "c": "train",
    }


def test_records_of_named_patients_are_selected():
    records = records_of({"a": "train", "b": "", "c": "test"})
    selected = select_splits(records, {"val": ["a"], "test": ["b"], "train": []})
    assert splits_of(selected) == {"a": "val", "b": "test"}
    assert len(selected) == 4


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["a", "d"]}, "1 patients of the splits are not in the data, first d"),
        ({"train": ["a"], "val": ["a"]}, "patient 'a' is in train and in val"),
        ({"training": ["a"]}, "split 'training' is unknown; the splits are train, val, test"),
        ({"train": ["../../etc"]}, r"are not in the data, first \.\./\.\./etc"),
        ({"../up": ["a"]}, r"split '\.\./up' is unknown"),
        ({"train": []}, "the splits name no patient"),
    ],
)
def test_wrong_splits_are_refused(splits, message):
    with pytest.raises(DataError, match=message):
        select_splits(records_of({"a": "", "b": ""}), splits)
