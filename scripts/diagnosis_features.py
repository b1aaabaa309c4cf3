"""Writes the features of the patients of an ACDC tree, as in acdc_seg/diagnosis/features.csv."""

import argparse
from pathlib import Path

from acdc_seg.diagnosis.patients import read_patients
from acdc_seg.diagnosis.table import ACDC_FEATURES, make_table, save_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="ACDC tree with masks")
    parser.add_argument("--out", type=Path, default=ACDC_FEATURES)
    options = parser.parse_args()
    patients = read_patients(options.data)
    for name, reason in patients.refused.items():
        print(f"left out {name}: {reason}")
    table = make_table(patients.rows)
    save_table(table, options.out)
    print(f"{options.out}: {len(table.names)} features of {len(table.patients)} patients")


if __name__ == "__main__":
    main()
