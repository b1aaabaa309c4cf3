"""DICOM SEG: label maps beside the series that they were predicted from, for PACS and viewers.

A file holds one phase of the cycle, for viewers show a segmentation as one volume; its segments
refer to the images of that phase. They are marked as made by an algorithm, for research only.
"""

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cv2
import numpy as np

from acdc_seg import __version__
from acdc_seg.data.dicom import DicomVolume, Plane
from acdc_seg.data.dicom.values import import_pydicom
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.files import replacing, sha256_bytes
from acdc_seg.labels import LV, MYO, RV, Label

NOTICE = "Made by an algorithm; research only, not for diagnosis"
PATIENT_TAGS = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""Attributes that a SEG repeats, empty where anonymization removed them."""
SERIES_OFFSET = 1000
"""The number of the SEG series is that of the source plus this."""


class Segment(NamedTuple):
    """A class in the words of SNOMED CT, as keywords of `pydicom.sr.codedict.codes`."""

    label: Label
    name: str
    category: str
    kind: str
    region: str


SEGMENTS = (
    Segment(RV, "RV blood pool", "BodySubstance", "Blood", "RightVentricle"),
    Segment(MYO, "LV myocardium", "AnatomicalStructure", "LeftVentricleMyocardium", "Heart"),
    Segment(LV, "LV blood pool", "BodySubstance", "Blood", "LeftVentricle"),
)
"""Segment numbers are the values of the label map, 1 to 3."""


def write_dicom_seg(
    label_maps: np.ndarray,
    volume: DicomVolume,
    out: Path,
    *,
    name: str,
    model: str,
    phases: Mapping[str, int] | None = None,
) -> list[Path]:
    """Writes label maps as DICOM SEG (BINARY), one file per phase, all of one new series.

    Equal label maps get equal UIDs, so that a repeated export replaces the first one.

    Args:
        label_maps: uint8 `(X, Y, Z)` or `(X, Y, Z, T)` of 0..3, on the grid of `volume.image`.
        volume: The series that they were predicted from.
        out: Folder, made where missing.
        name: Beginning of the files' names: `NAME_seg.dcm` of one frame without phases,
            `NAME_ED_seg.dcm` of phases, `NAME_frame01_seg.dcm` of all frames.
        model: Model that predicted them.
        phases: Frames to write by name, as {"ED": 0, "ES": 9}; None writes all.

    Returns:
        The files, in the order of `phases` or time.

    Raises:
        DataError: The label maps are not on the volume's grid or have other values, a frame does
            not exist, or the series has no FrameOfReferenceUID.
        ConfigError: highdicom is not installed.
    """
    import_highdicom()
    label_maps = _check_label_maps(label_maps, volume)
    out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for phase, frame in _list_frames(phases, label_maps.shape[3]).items():
        planes = [frames[frame] for frames in volume.planes]
        # highdicom warns of names of patients that are no family and given name
        with warnings.catch_warnings(action="ignore"):
            seg = _make_seg(label_maps[..., frame], planes, volume.spacing[2], phase, model)
        seg.InstanceNumber = len(paths) + 1
        path = out / f"{name}_{phase + '_' if phase else ''}seg.dcm"
        with replacing(path) as file:
            seg.save_as(file)
        paths.append(path)
    return paths


def import_highdicom() -> ModuleType:
    """highdicom, an optional dependency.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import highdicom
    except ImportError as error:
        raise ConfigError(
            f"DICOM SEG needs highdicom, which is missing ({error}); install it: pip install "
            "'acdc_seg[dicom]'"
        ) from None
    return highdicom


def _check_label_maps(label_maps: np.ndarray, volume: DicomVolume) -> np.ndarray:
    """uint8 `(X, Y, Z, T)`."""
    label_maps = label_maps if label_maps.ndim == 4 else label_maps[..., None]
    if label_maps.shape != volume.image.shape:
        raise DataError(
            f"the label maps have shape {label_maps.shape}, the series has {volume.image.shape}; "
            "give label maps of all its voxels and frames",
            code="size",
        )
    wrong = sorted(set(np.unique(label_maps)) - {0, *(segment.label.value for segment in SEGMENTS)})
    if wrong:
        raise DataError(
            f"the label maps have the value {wrong[0]}, expected 0 to {len(SEGMENTS)}",
            code="mask_value",
        )
    return label_maps.astype(np.uint8, copy=False)


def _list_frames(phases: Mapping[str, int] | None, num_frames: int) -> dict[str, int]:
    """Frames by the name of their phase, which is empty for the only one."""
    if phases is None and num_frames == 1:
        return {"": 0}
    if phases is None:
        return {f"frame{frame + 1:02}": frame for frame in range(num_frames)}
    for phase, frame in phases.items():
        if not 0 <= frame < num_frames:
            raise DataError(
                f"phase {phase}: frame {frame} does not exist, the series has {num_frames} "
                "(counted from 0)",
                code="shape",
            )
    return dict(phases)


def _make_seg(
    label_map: np.ndarray, planes: Sequence[Plane], distance: float, phase: str, model: str
) -> Any:
    """The data set of one phase: `label_map` `(X, Y, Z)`, its images, their distance in mm."""
    highdicom = import_highdicom()
    sources, series_uids = _read_sources(planes)
    first = planes[0]
    seg = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=np.ascontiguousarray(label_map.transpose(2, 1, 0)),
        segmentation_type="BINARY",
        segment_descriptions=_describe_segments(highdicom, model),
        series_instance_uid=_make_uid(min(series_uids.values()), model),
        series_number=int(sources[0].get("SeriesNumber") or 0) + SERIES_OFFSET,
        sop_instance_uid=_make_uid(*series_uids, phase, model, sha256_bytes(label_map.tobytes())),
        instance_number=1,
        manufacturer="acdc_seg",
        manufacturer_model_name=model[:64],
        software_versions=__version__,
        device_serial_number="none",
        content_label="HEART",
        content_description=NOTICE,
        pixel_measures=highdicom.PixelMeasuresSequence(
            first.pixel_spacing, first.thickness or distance, distance
        ),
        plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", first.orientation),
        plane_positions=[
            highdicom.PlanePositionSequence("PATIENT", plane.position) for plane in planes
        ],
        omit_empty_frames=False,
    )
    seg.SeriesDescription = f"acdc_seg {phase}, research only".replace(" ,", ",")[:64]
    seg.ContentQualification = "RESEARCH"
    _correct_references(seg, series_uids, planes)
    return seg


def _read_sources(planes: Sequence[Plane]) -> tuple[list[Any], dict[str, str]]:
    """Headers of the source files as highdicom takes them, and their series by SOPInstanceUID."""
    pydicom = import_pydicom()
    paths = list(dict.fromkeys(plane.path for plane in planes))
    if len(paths) > 1 and any(plane.index is not None for plane in planes):
        raise DataError(
            f"{paths[0]}: DICOM SEG of several multi-frame files is not supported; write NIfTI",
            code="unusable",
        )
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    series_uids = {str(source.SOPInstanceUID): str(source.SeriesInstanceUID) for source in sources}
    for source in sources:
        if not source.get("FrameOfReferenceUID"):
            raise DataError(
                f"{source.filename}: FrameOfReferenceUID is missing, DICOM SEG needs it; write "
                "NIfTI, or export the series with it",
                code="unusable",
            )
        # highdicom takes images of one series; slices can be series of their own
        source.SeriesInstanceUID = sources[0].SeriesInstanceUID
        for keyword in PATIENT_TAGS:
            if keyword not in source:
                setattr(source, keyword, "")
    return sources, series_uids


def _describe_segments(highdicom: ModuleType, model: str) -> list[Any]:
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="acdc_seg",
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        parameters={"model": model},
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=segment.label.value,
            segment_label=segment.name,
            segmented_property_category=getattr(codes.SCT, segment.category),
            segmented_property_type=getattr(codes.SCT, segment.kind),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            anatomic_regions=[getattr(codes.SCT, segment.region)],
            display_color=_cielab(highdicom, segment.label.color),
        )
        for segment in SEGMENTS
    ]


def _cielab(highdicom: ModuleType, color: tuple[int, int, int]) -> Any:
    rgb = np.array([[color]], np.float32) / 255
    return highdicom.color.CIELabColor(*cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0, 0].tolist())


def _make_uid(*parts: str) -> str:
    """A UID that depends on `parts` alone."""
    return import_pydicom().uid.generate_uid(entropy_srcs=["acdc_seg", *parts])


def _correct_references(seg: Any, series_uids: dict[str, str], planes: Sequence[Plane]) -> None:
    """Names the true series of every source, and of a multi-frame file the frames of this phase."""
    from pydicom.dataset import Dataset

    by_series = defaultdict(list)
    for series in seg.ReferencedSeriesSequence:
        for reference in series.ReferencedInstanceSequence:
            by_series[series_uids[reference.ReferencedSOPInstanceUID]].append(reference)
    seg.ReferencedSeriesSequence = []
    for series_uid, references in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedInstanceSequence = series_uid, references
        seg.ReferencedSeriesSequence.append(series)
    frames = {plane.index + 1 for plane in planes if plane.index is not None}
    if frames:
        for group in seg.PerFrameFunctionalGroupsSequence:
            for derivation in group.DerivationImageSequence:
                derivation.SourceImageSequence = [
                    source
                    for source in derivation.SourceImageSequence
                    if source.ReferencedFrameNumber in frames
                ]
