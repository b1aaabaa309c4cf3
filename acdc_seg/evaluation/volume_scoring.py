"""Scores label maps patient by patient, so that no more than one patient's are in memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from acdc_seg.config import ClassesConfig
from acdc_seg.data.label_maps import LabelMap, check_same_grid, read_label_map
from acdc_seg.errors import DataError
from acdc_seg.evaluation.pairing import Pair
from acdc_seg.evaluation.volume_agreement import (
    ClinicalPair,
    LabelPair,
    compare_patient,
    find_phase_pair,
    to_heart_labels,
)
from acdc_seg.labels import IGNORE_INDEX, LV, PHASES
from acdc_seg.metrics.clinical import find_phases
from acdc_seg.metrics.regions import find_false_regions
from acdc_seg.metrics.scores import ImageScore, score_labels
from acdc_seg.metrics.values import pixel_size
from acdc_seg.metrics.volumes import HEART

MAX_LINES = 10
"""Files that an error names."""


class VolumeScorer:
    """Scores the volumes of one patient after the other, and collects what is wrong with them.

    Args:
        classes: Values of the classes.
        tolerance: NSD's, in mm.

    Attributes:
        scores: Of every volume.
        false_regions: See `VolumeEvaluation`.
        clinical: Numbers of the patients that have one volume at ED and one at ES.
        unmeasured: Patients whose two phases are on grids of different size.
        num_phases_found: Volumes whose phase was found by their cavity.
    """

    def __init__(self, classes: ClassesConfig, tolerance: float) -> None:
        self.classes, self.tolerance = classes, tolerance
        self.is_heart = set(classes.names) >= HEART
        self.scores: list[ImageScore] = []
        self.false_regions: dict[str, dict[str, Any]] = {}
        self.clinical: list[ClinicalPair] = []
        self.unmeasured: list[str] = []
        self.num_phases_found = 0
        self._errors: list[DataError] = []

    def add_patient(self, pairs: Sequence[Pair]) -> Iterator[Pair]:
        """Scores the volumes of a patient, and yields each when it is done."""
        scores, maps = [], []
        for pair in pairs:
            try:
                prediction, truth = self._read(pair)
                scores.append(self._score(pair, prediction, truth))
                maps.append(self._keep(prediction, truth))
            except DataError as error:
                self._errors.append(error)
            yield pair
        if not any(score.phase for score in scores):
            phases = name_phases([score.truth_size for score in scores])
            self.num_phases_found += len(phases)
            for index, phase in phases.items():
                scores[index] = replace(scores[index], phase=phase)
        self.scores += scores
        if self.is_heart:
            self._measure(scores, maps)

    def raise_errors(self) -> None:
        """Raises DataError where files could not be compared."""
        if not self._errors:
            return
        lines = [str(error) for error in self._errors[:MAX_LINES]]
        if len(self._errors) > MAX_LINES:
            lines.append(f"... and {len(self._errors) - MAX_LINES} more files")
        first = self._errors[0]
        raise DataError("\n".join(lines), code=first.code, settings=first.settings)

    def _read(self, pair: Pair) -> tuple[LabelMap, LabelMap]:
        truth = read_label_map(pair.case.path, self.classes)
        prediction = read_label_map(
            pair.prediction, self.classes, frame=pair.frame, allow_void=False
        )
        check_same_grid(prediction, truth)
        return prediction, truth

    def _score(self, pair: Pair, prediction: LabelMap, truth: LabelMap) -> ImageScore:
        case = pair.case
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

    def _keep(self, prediction: LabelMap, truth: LabelMap) -> LabelPair | None:
        """What the clinical numbers take; void voxels are left out of both maps."""
        if not self.is_heart:
            return None
        is_void = truth.labels == IGNORE_INDEX
        first, second = (
            to_heart_labels(each.labels, self.classes.names) for each in (prediction, truth)
        )
        first[is_void] = 0
        return LabelPair(first, second, truth.spacing)

    def _measure(self, scores: Sequence[ImageScore], maps: Sequence[LabelPair | None]) -> None:
        places = find_phase_pair([score.phase for score in scores])
        if places is None:
            return
        end_diastole, end_systole = (maps[place] for place in places)
        if end_diastole is not None and end_systole is not None:
            first = scores[places[0]]
            found = compare_patient(first.patient, first.group, end_diastole, end_systole)
            if found is None:
                self.unmeasured.append(first.patient)
            else:
                self.clinical.append(found)


def name_phases(sizes: Sequence[Mapping[str, int]]) -> dict[int, str]:
    """Phases of the two volumes of a heart by the true left ventricle, which is largest at ED; none
    where there are not two, or one is not larger.

    Args:
        sizes: Voxels of each class.
    """
    cavities = [size.get(LV.name, 0) for size in sizes]
    if len(cavities) != len(PHASES) or cavities[0] == cavities[1]:
        return {}
    found = zip(find_phases(cavities), PHASES, strict=True)
    return {index: phase for index, phase in found if index is not None}
