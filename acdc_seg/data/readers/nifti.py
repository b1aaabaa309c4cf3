"""Reads pairs of NIfTI volumes, or of 2-D NIfTI images: imagesTr/ and labelsTr/, or any names."""

import re
from dataclasses import replace
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.problems import Problem, Scan
from acdc_seg.data.readers.folders import NIFTI_SUFFIXES
from acdc_seg.data.readers.pairs import Files, describe_pairs, find_pairs, pair_part, unique_ids
from acdc_seg.data.record import Record
from acdc_seg.labels import PHASES


def is_nifti(path: Path, config: DataConfig) -> bool:
    """Whether the folder, or folders of images and masks in it, hold NIfTI files."""
    return bool(find_pairs(path, config, NIFTI_SUFFIXES).parts)


def scan_nifti(path: Path, config: DataConfig) -> Scan:
    """Records of all volumes by the part of the name that image and mask share; of several channels
    NAME_0000, NAME_0001 the first is read.
    """
    pairs = find_pairs(path, config, NIFTI_SUFFIXES)
    problems, records = list(pairs.problems), list[Record]()
    for part in pairs.parts:
        images = _first_channels(part.images, problems)
        for record in pair_part(part._replace(images=images), pairs.naming, problems):
            name = pairs.naming.image_key(record.id) or record.id
            records.append(replace(record, id=name, phase=_find_phase(name)))
    if not records and not problems:
        text, fix = "no images with endings .nii.gz or .nii", "check the folder and data.image_dir"
        problems.append(Problem(path, "no_image", "error", text, fix))
    note = describe_pairs(path, pairs)
    return Scan(unique_ids(records), problems, [note])


def _first_channels(images: Files, problems: list[Problem]) -> Files:
    """Images without further channels, which are added to the problems as a warning."""
    kept = {}
    for stem, image in images.items():
        channel = re.fullmatch(r"(.+)_(\d{4})", stem)
        if channel and int(channel[2]) > 0 and f"{channel[1]}_0000" in images:
            text = f"channel {int(channel[2])} is not read, only {channel[1]}_0000 is"
            problems.append(Problem(image, "channels", "warning", text))
        else:
            kept[stem] = image
    return kept


def _find_phase(name: str) -> str:
    """The phase of the heart beat that a name ends in, as case1_ED."""
    return next((phase for phase in PHASES if name.endswith(f"_{phase}")), "")
