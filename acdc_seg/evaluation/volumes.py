"""Two folders of label maps to scores by volume: the protocol of the ACDC challenge.

Every file is scored on its own grid, in space: Dice of all voxels of the volume, and distances in
mm (Bernard et al., IEEE TMI 2018). Predictions of any program are scored, for nothing but label
maps is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from acdc_seg.config import ClassesConfig
from acdc_seg.data.record import ProgressCallback, no_progress
from acdc_seg.evaluation.pairing import Pairing, pair_folders
from acdc_seg.evaluation.volume_agreement import ClinicalPair
from acdc_seg.evaluation.volume_files import (
    CLINICAL_TABLE,
    make_volume_protocol,
    write_volume_scores,
)
from acdc_seg.evaluation.volume_scoring import MAX_LINES, VolumeScorer
from acdc_seg.evaluation.volume_tables import format_volume_scores
from acdc_seg.metrics.distances import TOLERANCE
from acdc_seg.metrics.levels import tables_of
from acdc_seg.metrics.scores import ImageScore
from acdc_seg.metrics.summary import Summary, summarize
from acdc_seg.metrics.volumes import ScoreSet


@dataclass(frozen=True)
class VolumeEvaluation:
    """Scores of label maps, and the protocol of metrics.json; printed, tables.

    Attributes:
        pairing: Which file was compared with which, and those without a partner.
        score_set: Scores of volumes and patients; it has no images.
        false_regions: By volume `num_false_regions` and their size `false_regions_ml`, see
            `metrics.regions`; empty where the classes have no background.
        clinical: Numbers of the patients with one volume at ED and one at ES.
        protocol: See `make_volume_protocol`.
        notes: What was found by looking at the files, a sentence each.
    """

    pairing: Pairing
    score_set: ScoreSet
    false_regions: dict[str, dict[str, Any]]
    clinical: list[ClinicalPair]
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
        return [*tables_of(self.score_set), *([CLINICAL_TABLE] if self.clinical else [])]

    @property
    def dice(self) -> float:
        """Mean Dice over volumes and foreground classes."""
        return self.summary.dice

    def write(self, folder: Path) -> None:
        """Writes metrics.json, volumes.csv, patients.csv and clinical.csv.

        Raises:
            ConfigError: The folder holds scores of other label maps.
            DataError: They cannot be written.
        """
        write_volume_scores(
            folder, self.score_set, self.false_regions, self.clinical, self.protocol
        )

    def __str__(self) -> str:
        return format_volume_scores(self.score_set, self.false_regions, self.clinical)


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
    scorer = VolumeScorer(classes, tolerance)
    done = 0
    for _, pairs in groupby(pairing.pairs, key=lambda pair: pair.case.patient):
        for pair in scorer.add_patient(list(pairs)):
            done += 1
            on_progress(f"volumes, {pair.case.name}", done, len(pairing.pairs))
    scorer.raise_errors()
    score_set = ScoreSet([], scorer.scores, distances_3d=True, is_heart=scorer.is_heart)
    protocol = make_volume_protocol(
        Path(prediction), Path(truth), pairing, classes, patient_rule, tolerance
    )
    return VolumeEvaluation(
        pairing,
        score_set,
        scorer.false_regions,
        scorer.clinical,
        protocol,
        _describe(pairing, scorer),
    )


def _describe(pairing: Pairing, scorer: VolumeScorer) -> list[str]:
    """Sentences on files without a partner, on phases, and on patients without numbers."""
    notes = []
    if pairing.missing:
        notes.append(f"Left out, for there is no prediction of: {_list(pairing.missing)}")
    if pairing.extra:
        notes.append(f"Left out, for there is no truth of: {_list(pairing.extra)}")
    if scorer.num_phases_found:
        notes.append(
            f"Phases of {scorer.num_phases_found} volumes: the larger true left ventricle of a "
            "patient's two is taken for ED"
        )
    if scorer.unmeasured:
        notes.append(
            "No clinical numbers, for ED and ES differ in size: "
            f"{', '.join(scorer.unmeasured[:MAX_LINES])}"
        )
    return notes


def _list(paths: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in paths[:MAX_LINES])
    more = len(paths) - MAX_LINES
    return f"{names} and {more} more" if more > 0 else names
