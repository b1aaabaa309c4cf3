"""Splits by patient, stratified by group: no patient's slices are ever on two sides."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from sklearn.model_selection import StratifiedKFold

from acdc_seg.config import DataConfig
from acdc_seg.data.record import SPLITS, Record, natural_key
from acdc_seg.errors import ConfigError, DataError


def assign_splits(records: Sequence[Record], data: DataConfig) -> list[Record]:
    """Gives every record a split: by `data.fold` where it is set, else by its folder, and where no
    folder is val a part of the patients validates.

    Raises:
        ConfigError: More folds than patients.
    """
    if data.fold is None and data.validation:
        return hold_out(records, val_fraction=data.val_fraction, seed=data.split_seed)
    # train and val are one pool, in the same order whatever folder a record came from
    pool = sorted(
        (record for record in records if record.split != "test"),
        key=lambda record: natural_key(record.id),
    )
    val: list[str] = []
    if pool and data.num_folds is not None and data.fold is not None:
        folds = fold_patients(_groups(pool), num_folds=data.num_folds, seed=data.split_seed)
        val = folds[data.fold]
    return [
        *(replace(record, split="val" if record.patient in val else "train") for record in pool),
        *(record for record in records if record.split == "test"),
    ]


def hold_out(records: Sequence[Record], *, val_fraction: float, seed: int) -> list[Record]:
    """Records with a split: without a val folder, a part of the patients that train validates."""
    records = [record if record.split else replace(record, split="train") for record in records]
    if any(record.split == "val" for record in records):
        return records
    _, val = split_patients(_groups(records), val_fraction=val_fraction, seed=seed)
    return [
        replace(record, split="val")
        if record.split == "train" and record.patient in val
        else record
        for record in records
    ]


def select_splits(records: Sequence[Record], splits: Mapping[str, Sequence[str]]) -> list[Record]:
    """Records of the patients that `splits` names for train, val and test, with these splits.

    Raises:
        DataError: An unknown split, a patient that is not in the data or in two splits, or none.
    """
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise DataError(f"split '{unknown[0]}' is unknown; the splits are {', '.join(SPLITS)}")
    split_of = check_disjoint(splits)
    if not split_of:
        raise DataError("the splits name no patient; name some in train, val or test")
    missing = sorted(set(split_of) - {record.patient for record in records})
    if missing:
        raise DataError(
            f"{len(missing)} patients of the splits are not in the data, first "
            f"{', '.join(missing[:3])}; correct the splits"
        )
    return [
        replace(record, split=split_of[record.patient])
        for record in records
        if record.patient in split_of
    ]


def split_patients(
    groups: Mapping[str, str], *, val_fraction: float, seed: int
) -> tuple[list[str], list[str]]:
    """Divides patients into training and validation, both sorted.

    Every group is divided in the same proportion and, from two members on, is on both sides; groups
    of one are pooled. A single patient trains. The result depends on names, groups, fraction and
    seed, never on the order of `groups`.

    Args:
        groups: Group of each patient, e.g. `{"patient001": "DCM"}`.
        val_fraction: Part of the patients that validate, between 0 and 1.
        seed: Seed of the choice.

    Raises:
        ConfigError: `val_fraction` is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise ConfigError(f"val_fraction={val_fraction} must be between 0 and 1, for example 0.2")
    rng = np.random.default_rng(seed)
    strata = _strata(groups, smallest=2)
    members: dict[str, list[str]] = {stratum: [] for stratum in sorted(set(strata.values()))}
    for patient in sorted(groups):
        members[strata[patient]].append(patient)
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

    Args:
        groups: Group of each patient.
        num_folds: Number of folds.
        seed: Seed of the division.

    Raises:
        ConfigError: Fewer than two folds, or more folds than patients.
    """
    if not 2 <= num_folds <= len(groups):
        raise ConfigError(
            f"num_folds={num_folds} must be between 2 and the number of patients, {len(groups)}; "
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
        return TypeAdapter(dict[str, list[str]]).validate_json(path.read_bytes(), strict=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not such lists"
        raise DataError(
            f"{path}: cannot read these splits ({reason}); write JSON with lists of patients: "
            '{"train": ["patient001", ...], "val": [...], "test": [...]}'
        ) from None


def check_disjoint(splits: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The split of every patient; raises DataError naming the first that is in two splits."""
    split_of: dict[str, str] = {}
    for split, patients in splits.items():
        for patient in sorted(set(patients)):
            if patient in split_of:
                raise DataError(
                    f"patient '{patient}' is in {split_of[patient]} and in {split}; a patient may "
                    "be in one split only"
                )
            split_of[patient] = split
    return split_of


def _groups(records: Sequence[Record]) -> dict[str, str]:
    """Group of every patient outside test."""
    return {record.patient: record.group for record in records if record.split != "test"}


def _strata(groups: Mapping[str, str], *, smallest: int) -> dict[str, str]:
    """Group of each patient; those below `smallest` are pooled, or join the smallest other."""
    sizes = Counter(groups.values())
    large = {group: size for group, size in sizes.items() if size >= smallest}
    num_pooled = len(groups) - sum(large.values())
    pool = "pool of small groups"
    if large and 0 < num_pooled < smallest:
        pool = min(large, key=lambda group: (large[group], group))
    return {patient: group if group in large else pool for patient, group in groups.items()}


def _quotas(sizes: Mapping[str, int], fraction: float) -> dict[str, int]:
    """Validation patients of each stratum: at least one, never all, and rounded by the largest
    remainders so that they sum up.
    """
    shares = {stratum: size * fraction for stratum, size in sizes.items()}
    quotas = {stratum: int(share) for stratum, share in shares.items()}
    num_missing = max(0, round(sum(shares.values())) - sum(quotas.values()))
    by_remainder = sorted(shares, key=lambda stratum: (quotas[stratum] - shares[stratum], stratum))
    for stratum in by_remainder[:num_missing]:
        quotas[stratum] += 1
    return {stratum: min(max(quota, 1), sizes[stratum] - 1) for stratum, quota in quotas.items()}
