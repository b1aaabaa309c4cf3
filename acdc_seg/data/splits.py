"""Splits by patient, stratified by group: no patient's slices are ever on two sides."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

from acdc_seg.errors import ConfigError, DataError


def split_patients(
    groups: Mapping[str, str], *, val_fraction: float, seed: int
) -> tuple[list[str], list[str]]:
    """Divides patients into training and validation, both sorted.

    Every group is divided in the same proportion and, from two members on, stands on both sides;
    groups of one are pooled. A single patient trains. The result depends on names, groups, fraction
    and seed, never on the order of `groups`.

    Args:
        groups: Group of each patient, e.g. `{"patient001": "DCM"}`.
        val_fraction: Part of the patients that validate, between 0 and 1.

    Raises:
        ConfigError: `val_fraction` is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise ConfigError(f"val_fraction={val_fraction} must lie between 0 and 1, for example 0.2")
    rng = np.random.default_rng(seed)
    strata = _strata(groups, smallest=2)
    members = {
        stratum: [patient for patient in sorted(groups) if strata[patient] == stratum]
        for stratum in sorted(set(strata.values()))
    }
    quotas = _quotas(
        {stratum: len(patients) for stratum, patients in members.items()}, val_fraction
    )
    val = {
        patients[index]
        for stratum, patients in members.items()
        for index in rng.permutation(len(patients))[: quotas[stratum]]
    }
    return sorted(set(groups) - val), sorted(val)


def fold_patients(groups: Mapping[str, str], *, num_folds: int, seed: int) -> list[list[str]]:
    """Divides patients into folds of nearly equal size and equal mixture of groups, each sorted.

    Groups with fewer members than folds are pooled. The order of `groups` has no influence.

    Raises:
        ConfigError: Fewer than two folds, or more folds than patients.
    """
    if not 2 <= num_folds <= len(groups):
        raise ConfigError(
            f"num_folds={num_folds} must lie between 2 and the number of patients, {len(groups)}; "
            "choose another data.num_folds"
        )
    patients = sorted(groups)
    strata = _strata(groups, smallest=num_folds)
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed).split(
        patients, [strata[patient] for patient in patients]
    )
    return [[patients[index] for index in held_out] for _, held_out in folds]


def read_splits(path: Path) -> dict[str, list[str]]:
    """Patients of each split from a JSON file such as the splits.json that `prepare` writes.

    Raises:
        DataError: The file is unreadable, or is not an object of lists of names.
    """
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot read these splits ({error}); write JSON with lists of patients: "
            "train, val, test"
        ) from None
    lists = splits.values() if isinstance(splits, dict) else [None]
    if not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists
    ):
        raise DataError(
            f'{path}: expected {{"train": ["patient001", ...], "val": [...], "test": [...]}}; '
            "correct the file"
        )
    return splits


def check_disjoint(splits: Mapping[str, Iterable[str]]) -> None:
    """Raises DataError naming the first patient that is in two splits."""
    home: dict[str, str] = {}
    for split, patients in splits.items():
        for patient in sorted(set(patients)):
            if patient in home:
                raise DataError(
                    f"patient '{patient}' is in {home[patient]} and in {split}; a patient may be "
                    "in one split only"
                )
            home[patient] = split


def _strata(groups: Mapping[str, str], *, smallest: int) -> dict[str, str]:
    """Group of each patient, with groups below `smallest` pooled; a pool still too small joins the
    smallest other group.
    """
    sizes = Counter(groups.values())
    large = {group: size for group, size in sizes.items() if size >= smallest}
    pooled = len(groups) - sum(large.values())
    pool = "pool of small groups"
    if large and 0 < pooled < smallest:
        pool = min(large, key=lambda group: (large[group], group))
    return {patient: group if group in large else pool for patient, group in groups.items()}


def _quotas(sizes: Mapping[str, int], fraction: float) -> dict[str, int]:
    """Validation patients of each stratum: shares rounded so that they sum up, at least one, never
    all (largest remainders).
    """
    shares = {stratum: size * fraction for stratum, size in sizes.items()}
    quotas = {stratum: int(share) for stratum, share in shares.items()}
    missing = round(sum(shares.values())) - sum(quotas.values())
    for stratum in sorted(shares, key=lambda stratum: (quotas[stratum] - shares[stratum], stratum))[
        : max(missing, 0)
    ]:
        quotas[stratum] += 1
    return {stratum: min(max(quota, 1), sizes[stratum] - 1) for stratum, quota in quotas.items()}
