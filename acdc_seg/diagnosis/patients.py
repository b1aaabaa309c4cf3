"""Features of the patients of an ACDC tree, from its masks or from predicted label maps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acdc_seg.config import DataConfig
from acdc_seg.data.readers.acdc import body_size, read_info, scan_acdc
from acdc_seg.data.record import Record
from acdc_seg.data.volumes import read_volume
from acdc_seg.diagnosis.features import features
from acdc_seg.errors import DataError
from acdc_seg.labels import PHASES

SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class PatientFeatures:
    """Patients with a known group, by name.

    Attributes:
        rows: Group and features.
        refused: Why label maps have no features.
        absent: Patients without a predicted label map.
    """

    rows: dict[str, tuple[str, dict[str, float]]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


def read_patients(tree: Path, predictions: Path | None = None) -> PatientFeatures:
    """Measures all patients of a tree whose group and masks are known.

    Args:
        tree: As `scan_acdc` takes it.
        predictions: Folder of label maps `patientNNN_frameFF_seg.nii.gz` on the grid of the images,
            to be measured in place of the masks. The spacing is that of the tree's files.

    Raises:
        DataError: There is no such patient, or a file cannot be read or has another grid.
    """
    found = PatientFeatures()
    for patient, records in _by_patient(tree).items():
        if predictions is not None and not all(
            _find_prediction(predictions, record) for record in records.values()
        ):
            found.absent.append(patient)
            continue
        label_maps = [_read_labels(records[phase], predictions) for phase in PHASES]
        (labels_ed, spacing), (labels_es, _) = label_maps
        height, weight = body_size(read_info(records["ED"].image.with_name("Info.cfg"))[0])
        try:
            values = features(labels_ed, labels_es, spacing, height_cm=height, weight_kg=weight)
        except DataError as error:
            found.refused[patient] = str(error)
        else:
            found.rows[patient] = (records["ED"].group, values)
    return found


def _by_patient(tree: Path) -> Mapping[str, Mapping[str, Record]]:
    """Records with group and mask by patient and phase, of patients that have both phases."""
    scan = scan_acdc(tree, DataConfig())
    patients: dict[str, dict[str, Record]] = {}
    for record in scan.records:
        if record.group and record.mask is not None:
            patients.setdefault(record.patient, {})[record.phase] = record
    complete = {name: records for name, records in patients.items() if len(records) == len(PHASES)}
    if not complete:
        raise DataError(
            f"{tree}: no patient with a group in Info.cfg and masks at ED and ES; give the folder "
            "that holds patient001, patient002, ..."
        )
    return complete


def _find_prediction(folder: Path, record: Record) -> Path | None:
    stem = record.mask.name.partition("_gt.")[0] if record.mask else record.id
    paths = (folder / f"{stem}_seg{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _read_labels(
    record: Record, predictions: Path | None
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Label map `(X, Y, Z)`, and the spacing of the mask in mm."""
    assert record.mask is not None
    labels, spacing = _read_mask(record.mask)
    path = None if predictions is None else _find_prediction(predictions, record)
    if path is None:
        return labels, spacing
    predicted, _ = _read_mask(path)
    if predicted.shape != labels.shape:
        raise DataError(
            f"{path}: has shape {predicted.shape}, the mask {record.mask.name} has {labels.shape}; "
            "give label maps on the grid of the images"
        )
    return predicted, spacing


def _read_mask(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    volume = read_volume(path, path)  # as a mask too, so that its values are checked
    return volume.image.astype(np.uint8), volume.spacing
