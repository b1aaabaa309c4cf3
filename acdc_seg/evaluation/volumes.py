"""Two folders of label maps to scores by volume: the protocol of the ACDC challenge.

Every file is scored on its own grid, in space: Dice of all voxels of the volume, and distances in
mm (Bernard et al., IEEE TMI 2018). Predictions of any program are scored, for nothing but label
maps is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.label_maps import check_same_grid, read_label_map
from acdc_seg.data.record import ProgressCallback, no_progress
from acdc_seg.errors import DataError
from acdc_seg.evaluation.pairing import Pair, Pairing, pair_folders
from acdc_seg.evaluation.volume_files import make_volume_protocol, write_volume_scores
from acdc_seg.evaluation.volume_tables import format_volume_scores
from acdc_seg.labels import IGNORE_INDEX, LV, PHASES
from acdc_seg.metrics.distances import TOLERANCE
from acdc_seg.metrics.levels import tables_of
from acdc_seg.metrics.regions import find_false_regions
from acdc_seg.metrics.scores import ImageScore, score_labels
from acdc_seg.metrics.summary import Summary, summarize
from acdc_seg.metrics.values import pixel_size
from acdc_seg.metrics.volumes import HEART, ScoreSet

MAX_LINES = 10
"""Files that an error names."""


@dataclass(frozen=True)
class VolumeEvaluation:
    """Scores of label maps, and the protocol of metrics.json; printed, tables.

    Attributes:
        pairing: Which file was compared with which, and those without a partner.
        score_set: Scores of volumes and patients; it has no images.
        false_regions: By volume `num_false_regions` and their size `false_regions_ml`, see
            `metrics.regions`; empty where the classes have no background.
        protocol: See `make_volume_protocol`.
        notes: What was found by looking at the files, a sentence each.
    """

    pairing: Pairing
    score_set: ScoreSet
    false_regions: dict[str, dict[str, Any]]
    protocol: dict[str, Any]
    notes: list[str]

    @property
    def scores(self) -> list[ImageScore]:
        """Of every volume."""
        return self.score_set.volumes

    @property
    def summary(self) -> Summary:
        """Means over volumes and classes."""
        return summarize(self.scores)

    @property
    def files(self) -> list[str]:
        """Names of the tables that `write` writes."""
        return list(tables_of(self.score_set))

    @property
    def dice(self) -> float:
        """Mean Dice over volumes and foreground classes."""
        return self.summary.dice

    def write(self, folder: Path) -> None:
        """Writes metrics.json, volumes.csv and patients.csv.

        Raises:
            ConfigError: The folder holds scores of other label maps.
            DataError: They cannot be written.
        """
        write_volume_scores(folder, self.score_set, self.false_regions, self.protocol)

    def __str__(self) -> str:
        return format_volume_scores(self.score_set, self.false_regions)


def score_volumes(
    prediction: str | Path,
    truth: str | Path,
    *,
    classes: ClassesConfig | None = None,
    patient_rule: str = "auto",
    tolerance: float = TOLERANCE,
    on_progress: ProgressCallback = no_progress,
) -> VolumeEvaluation:
    """Scores all label maps of a folder that have a partner in another one, see `pair_folders`.

    Args:
        prediction: Folder of predicted label maps, NIfTI.
        truth: Folder of true label maps, for example a tree of ACDC.
        classes: Their values in both; by default those of ACDC.
        patient_rule: How names tell patients, see `data.patient_rule`.
        tolerance: NSD's, in mm.
        on_progress: Called with "volumes" while they are scored.

    Raises:
        DataError: No file has a partner, or files are damaged, on different grids or with values
            that are no class; all of these files at once.
        ConfigError: The classes are encoded by color.
    """
    classes = classes or ClassesConfig()
    pairing = pair_folders(Path(prediction), Path(truth), patient_rule=patient_rule)
    scorer = _Scorer(classes, tolerance)
    done = 0
    for _, pairs in groupby(pairing.pairs, key=lambda pair: pair.case.patient):
        for pair in scorer.add_patient(list(pairs)):
            done += 1
            on_progress(f"volumes, {pair.case.name}", done, len(pairing.pairs))
    scorer.raise_errors()
    score_set = ScoreSet([], scorer.scores, distances_3d=True, is_heart=set(classes.names) >= HEART)
    protocol = make_volume_protocol(
        Path(prediction), Path(truth), pairing, classes, patient_rule, tolerance
    )
    notes = _describe(pairing, scorer.num_phases_found)
    return VolumeEvaluation(pairing, score_set, scorer.false_regions, protocol, notes)


class _Scorer:
    """Scores the volumes of one patient after the other, and collects what is wrong with them."""

    def __init__(self, classes: ClassesConfig, tolerance: float) -> None:
        self.classes, self.tolerance = classes, tolerance
        self.scores: list[ImageScore] = []
        self.false_regions: dict[str, dict[str, Any]] = {}
        self.errors: list[DataError] = []
        self.num_phases_found = 0

    def add_patient(self, pairs: Sequence[Pair]) -> Iterator[Pair]:
        """Scores the volumes of a patient, and yields each when it is done."""
        scores = []
        for pair in pairs:
            try:
                scores.append(self._score(pair))
            except DataError as error:
                self.errors.append(error)
            yield pair
        if not any(score.phase for score in scores):
            phases = find_phases([score.truth_size for score in scores])
            self.num_phases_found += len(phases)
            for index, phase in phases.items():
                scores[index] = replace(scores[index], phase=phase)
        self.scores += scores

    def raise_errors(self) -> None:
        """Raises DataError where there were some."""
        if not self.errors:
            return
        lines = [str(error) for error in self.errors[:MAX_LINES]]
        if len(self.errors) > MAX_LINES:
            lines.append(f"... and {len(self.errors) - MAX_LINES} more files")
        first = self.errors[0]
        raise DataError("\n".join(lines), code=first.code, settings=first.settings)

    def _score(self, pair: Pair) -> ImageScore:
        case = pair.case
        truth = read_label_map(case.path, self.classes)
        prediction = read_label_map(
            pair.prediction, self.classes, frame=pair.frame, allow_void=False
        )
        check_same_grid(prediction, truth)
        if self.classes.has_background:
            found = find_false_regions(prediction.labels, truth.labels, ignore_index=IGNORE_INDEX)
            self.false_regions[case.name] = {
                "num_false_regions": found.num_regions,
                "false_regions_ml": found.num_pixels * pixel_size(truth.spacing),
            }
        return score_labels(
            prediction.labels,
            truth.labels,
            id=case.name,
            classes=self.classes.names,
            has_background=self.classes.has_background,
            ignore_index=IGNORE_INDEX,
            patient=case.patient,
            phase=case.phase,
            group=case.group,
            spacing=truth.spacing,
            distances=True,
            tolerance=self.tolerance,
        )


def find_phases(sizes: Sequence[Mapping[str, int]]) -> dict[int, str]:
    """Phases of two volumes of one heart by the size of the true left ventricle, which is largest
    at ED; none where there are not two, or their size is equal.

    Args:
        sizes: Voxels of each class.
    """
    cavities = [size.get(LV.name, 0) for size in sizes]
    if len(cavities) != len(PHASES) or cavities[0] == cavities[1]:
        return {}
    largest = int(np.argmax(cavities))
    return {largest: PHASES[0], 1 - largest: PHASES[1]}


def _describe(pairing: Pairing, num_phases_found: int) -> list[str]:
    """Sentences on files without a partner, and on phases."""
    notes = []
    if pairing.missing:
        notes.append(f"Left out, for there is no prediction of: {_list(pairing.missing)}")
    if pairing.extra:
        notes.append(f"Left out, for there is no truth of: {_list(pairing.extra)}")
    if num_phases_found:
        notes.append(
            f"Phases of {num_phases_found} volumes: the larger true left ventricle of a patient's "
            "two is taken for ED"
        )
    return notes


def _list(paths: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in paths[:MAX_LINES])
    more = len(paths) - MAX_LINES
    return f"{names} and {more} more" if more > 0 else names
