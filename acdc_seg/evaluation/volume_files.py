"""metrics.json and tables of scored label maps."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.errors import ConfigError
from acdc_seg.evaluation.pairing import Pairing
from acdc_seg.evaluation.volume_agreement import (
    AGREEMENT_RULE,
    ClinicalPair,
    summarize_agreement,
)
from acdc_seg.files import cached_sha256, sha256_bytes, write_json, write_table
from acdc_seg.metrics.clinical import CONVENTIONS
from acdc_seg.metrics.intervals import patient_bootstrap
from acdc_seg.metrics.levels import score_set_to_dict, summary_to_dict, tables_of
from acdc_seg.metrics.regions import FALSE_REGIONS_RULE
from acdc_seg.metrics.scores import ImageScore
from acdc_seg.metrics.summary import summarize, without_void, write_csv
from acdc_seg.metrics.volumes import ScoreSet
from acdc_seg.runs.folder import environment

CLINICAL_TABLE = "clinical.csv"
KIND = "volumes"
"""`kind` in the protocol of scored label maps."""


def make_volume_protocol(
    prediction: Path,
    truth: Path,
    pairing: Pairing,
    classes: ClassesConfig,
    patient_rule: str,
    tolerance: float,
) -> dict[str, Any]:
    """What was compared with what and how, as metrics.json holds it."""
    versions = environment()
    return {
        "kind": KIND,
        "data": str(truth.resolve()),
        "data_sha256": _digest(pair.case.path for pair in pairing.pairs),
        "prediction": str(prediction.resolve()),
        "prediction_sha256": _digest(dict.fromkeys(pair.prediction for pair in pairing.pairs)),
        "classes": dict(zip(classes.names, classes.values, strict=True)),
        "patient_rule": patient_rule,
        "nsd_tolerance": tolerance,
        "missing": [path.name for path in pairing.missing],
        "extra": [path.name for path in pairing.extra],
        "versions": {name: versions[name] for name in ("acdc_seg", "python", "libraries")},
    }


def write_volume_scores(
    folder: Path,
    score_set: ScoreSet,
    false_regions: Mapping[str, Mapping[str, Any]],
    clinical: Sequence[ClinicalPair],
    protocol: Mapping[str, Any],
) -> None:
    """Writes metrics.json, volumes.csv and patients.csv, and clinical.csv with the numbers of every
    patient.

    metrics.json is that of `score_set_to_dict`; its `parts` have `phase_group` too, and
    `false_regions` is that of `summarize_regions`, with the volumes' own beside their scores;
    `clinical` has the conventions and the agreement of every number, or is null.

    Raises:
        ConfigError: The folder holds scores of other label maps.
        DataError: They cannot be written.
    """
    _check_replaceable(folder, protocol)
    content = {"protocol": protocol, **score_set_to_dict(score_set)}
    content["parts"]["phase_group"] = {
        words: summary_to_dict(summarize(scores))
        for words, scores in by_phase_and_group(score_set.volumes).items()
    }
    content["false_regions"] = summarize_regions(score_set.volumes, false_regions)
    content["clinical"] = _clinical_to_dict(clinical)
    for row in content["volumes"]:
        row |= false_regions.get(row["id"], {})
    for name, rows in tables_of(score_set).items():
        write_csv(folder / name, rows, false_regions if name == "volumes.csv" else {})
    if clinical:
        patients = [pair.to_row() for pair in clinical]
        cells = (map(_rounded, patient.values()) for patient in patients)
        write_table(folder / CLINICAL_TABLE, [patients[0], *cells])
    write_json(folder / "metrics.json", content)


def by_phase_and_group(volumes: Iterable[ImageScore]) -> dict[str, list[ImageScore]]:
    """Scores by `GROUP PHASE` of the volumes that have both, sorted."""
    found: dict[str, list[ImageScore]] = {}
    for score in volumes:
        if score.phase and score.group and not score.is_void:
            found.setdefault(f"{score.group} {score.phase}", []).append(score)
    return dict(sorted(found.items()))


def summarize_regions(
    volumes: Iterable[ImageScore], false_regions: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Number of false regions and of the volumes that have some, and the mean size in ml with its
    95 % interval over patients; None where they were not counted.
    """
    scores = without_void([score for score in volumes if score.id in false_regions])
    if not scores:
        return None
    numbers = [false_regions[score.id]["num_false_regions"] for score in scores]
    sizes = np.array([false_regions[score.id]["false_regions_ml"] for score in scores])
    patients = [score.patient for score in scores]
    several = len(set(patients)) > 1
    return {
        "rule": FALSE_REGIONS_RULE,
        "n": len(scores),
        "num_volumes": sum(number > 0 for number in numbers),
        "num_regions": sum(numbers),
        "mean_ml": float(sizes.mean()),
        "interval_ml": list(patient_bootstrap(sizes, patients)) if several else None,
        "largest_ml": float(sizes.max()),
    }


def _clinical_to_dict(clinical: Sequence[ClinicalPair]) -> dict[str, Any] | None:
    if not clinical:
        return None
    return {
        "conventions": CONVENTIONS,
        "rule": AGREEMENT_RULE,
        "agreement": summarize_agreement(clinical),
    }


def _rounded(cell: Any) -> Any:
    return f"{cell:.3f}" if isinstance(cell, float) else cell


def _digest(paths: Iterable[Path]) -> str:
    """A checksum of the content of files and their names."""
    lines = [f"{path.name} {cached_sha256(path)}" for path in paths]
    return sha256_bytes("\n".join(lines).encode())


def _check_replaceable(folder: Path, protocol: Mapping[str, Any]) -> None:
    """Raises ConfigError where a folder holds other scores, or damaged ones; label maps that were
    predicted again may replace their scores.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))["protocol"]
        keys = ("kind", "data", "prediction", "classes", "patient_rule", "nsd_tolerance")
        changed = [key for key in keys if old.get(key) != protocol[key]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        changed = ["protocol"]
    if changed:
        raise ConfigError(
            f"{path}: holds scores of another evaluation ({', '.join(changed)}); give --out "
            "FOLDER, or remove them"
        )
