"""Tables of features, and the one of the package."""

from collections import Counter

import numpy as np
import pytest

from acdc_seg.diagnosis.features import FEATURES
from acdc_seg.diagnosis.table import acdc_table, make_table, read_table, save_table
from acdc_seg.errors import DataError
from acdc_seg.labels import GROUPS

ROWS = {"patient001": ("DCM", {"a": 1.5, "b": 2e-7}), "patient002": ("NOR", {"a": -3, "b": 1234.5})}


def test_a_table_survives_its_file(tmp_path):
    table = make_table(ROWS)
    save_table(table, tmp_path / "t.csv")
    again = read_table(tmp_path / "t.csv")
    assert (again.patients, again.groups) == (("patient001", "patient002"), ("DCM", "NOR"))
    assert again.names == ("a", "b")
    np.testing.assert_allclose(again.values, [[1.5, 2e-7], [-3, 1234.5]])


def test_only_features_of_all_patients_are_kept():
    rows = {**ROWS, "patient003": ("RV", {"b": 1.0})}
    assert make_table(rows).names == ("b",)
    with pytest.raises(DataError, match="no patient"):
        make_table({})


def test_take_and_select():
    table = make_table(ROWS).take([1]).select(["b"])
    assert (table.patients, table.groups, table.names) == (("patient002",), ("NOR",), ("b",))
    assert table.values.tolist() == [[1234.5]]
    with pytest.raises(DataError, match="no feature c"):
        table.select(["b", "c"])


def test_a_row_is_in_the_order_of_the_table():
    table = make_table(ROWS)
    assert table.row({"b": 2, "c": 3, "a": 1}).tolist() == [1, 2]
    with pytest.raises(DataError, match="feature b is missing or not finite"):
        table.row({"a": 1, "b": np.nan})
    with pytest.raises(DataError, match="feature a, b is missing"):
        table.row({})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("patient,group,a\n", "a row each"),
        ("patient,group,a\np1,DCM,x\n", "cannot be read"),
        ("patient,group,a\np1,DCM,1,2\n", "a row each"),
        ("patient,group,a\np1,DCM,1,2\np2,DCM,1\n", "cannot be read"),
        ("name,group,a\np1,DCM,1\n", "expected the columns patient, group"),
        ("patient,group,a\np1,DCM,nan\n", "NaN or infinite"),
    ],
)
def test_damaged_files_are_refused(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv"):
        read_table(tmp_path / "none.csv")


def test_the_table_of_the_package_fits_together():
    table = acdc_table()
    assert table.names == tuple(FEATURES)
    assert Counter(table.groups) == dict.fromkeys(GROUPS, 12)
    assert len(set(table.patients)) == 60
    columns = dict(zip(table.names, table.values.T, strict=True))
    ejected = 100 * (1 - columns["LVESV"] / columns["LVEDV"])
    np.testing.assert_allclose(columns["LVEF"], ejected, atol=1e-3)
    np.testing.assert_allclose(columns["lv_rv_ed"], columns["LVEDV"] / columns["RVEDV"], rtol=1e-4)
    np.testing.assert_allclose(columns["LVMi"], columns["LVM"] / columns["BSA"], rtol=1e-4)


def test_the_groups_of_the_package_are_as_the_challenge_defines_them():
    """Bernard et al. (2018), by the means of the groups."""
    table = acdc_table()
    groups = np.array(table.groups)
    means = {
        group: dict(zip(table.names, table.values[groups == group].mean(axis=0), strict=True))
        for group in GROUPS
    }
    assert means["DCM"]["LVEDVi"] > 100 > means["NOR"]["LVEDVi"]
    assert means["DCM"]["LVEF"] < 40 > means["MINF"]["LVEF"]
    assert means["HCM"]["LVEF"] > 55 < means["NOR"]["LVEF"]
    assert means["HCM"]["thickest_ed"] > 15
    assert means["RV"]["RVEDVi"] > 100
    assert means["RV"]["RVEF"] < 40
