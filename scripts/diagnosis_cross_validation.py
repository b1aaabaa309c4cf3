"""Accuracy of the diagnosis in cross-validation by patient, from masks or predicted label maps.

The classifiers are always fitted on features of the other patients' masks. `--variants` compares
all of them, and adds the choice of a variant within the training patients of each fold.
"""

import argparse
from pathlib import Path

from acdc_seg.diagnosis.classify import SHIPPED, VARIANTS
from acdc_seg.diagnosis.cross_validation import Outcome, cross_validate, fit_best, make_fit
from acdc_seg.diagnosis.patients import read_patients
from acdc_seg.diagnosis.table import acdc_table, make_table
from acdc_seg.labels import GROUPS


def describe(name: str, outcome: Outcome) -> str:
    """Accuracy, confusion matrix and mistakes as text."""
    low, high = outcome.interval
    lines = [
        f"{name}: accuracy {outcome.accuracy:.3f} ({low:.3f} to {high:.3f}), "
        f"{outcome.num_patients} patients, {len(outcome.predicted)} division(s)",
        "truth".ljust(8) + "".join(group.rjust(7) for group in GROUPS),
    ]
    for group, row in zip(GROUPS, outcome.confusion(), strict=True):
        lines.append(group.ljust(8) + "".join(f"{count:7.1f}" for count in row))
    missed = ", ".join(f"{name} {part:.0%}" for name, part in outcome.mistakes().items())
    return "\n".join([*lines, f"missed: {missed or 'none'}", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="ACDC tree; default: the package's features")
    parser.add_argument("--predictions", type=Path, help="folder of patientNNN_frameFF_seg.nii.gz")
    parser.add_argument("--folds", type=int, default=5, help="60 leaves one out")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--variants", action="store_true")
    options = parser.parse_args()
    if options.predictions and not options.data:
        parser.error("--predictions needs --data, for the spacing and the groups")
    truth = make_table(read_patients(options.data).rows) if options.data else acdc_table()
    tested, refused = truth, {}
    if options.predictions:
        predicted = read_patients(options.data, options.predictions)
        tested, refused = make_table(predicted.rows), predicted.refused
        print(f"patients without predicted label maps: {len(predicted.absent)}")
    for patient, reason in refused.items():
        print(f"{patient} counts as a mistake: {reason}")
    names = list(VARIANTS) if options.variants else [SHIPPED]
    fits = {name: make_fit(name) for name in names}
    if options.variants:
        fits["chosen in each fold"] = fit_best
    for name, fit in fits.items():
        outcome = cross_validate(
            truth,
            fit,
            tested=tested,
            num_refused=len(refused),
            num_folds=options.folds,
            repeats=options.repeats,
        )
        print(describe(name, outcome), flush=True)


if __name__ == "__main__":
    main()
