"""What is scored on what: the images of a split, and the protocol of metrics.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from acdc_seg.config import Config, to_dict, with_overrides
from acdc_seg.data.record import SPLITS, ProgressCallback, Record
from acdc_seg.data.source import Source, open_source
from acdc_seg.errors import ConfigError, did_you_mean
from acdc_seg.inference.predictors import Predictor
from acdc_seg.metrics.distances import TOLERANCE
from acdc_seg.runs.folder import environment
from acdc_seg.runs.trained_on import data_name, find_seen

ALL_IMAGES = "all"
"""Name of the split of data that is not divided: all its images."""


class SplitImages(NamedTuple):
    """The images of one split of a data set; `name` is "all" where it is not divided."""

    source: Source
    config: Config
    name: str
    records: list[Record]


def open_split(
    config: Config, data: str | Path | None, split: str | None, on_progress: ProgressCallback
) -> SplitImages:
    """The config's data, or other data read with its settings; the split is not empty.

    Raises:
        ConfigError: An unknown or empty split, or one that other data does not tell.
    """
    if split not in (None, *SPLITS):
        raise ConfigError(f"split '{split}' is unknown; {did_you_mean(str(split), SPLITS)}")
    if data is not None:
        changes = {"data.num_folds": None, "data.fold": None, "data.validation": True}
        config = with_overrides(config, {**changes, "data.path": str(Path(data).resolve())})
    source = open_source(
        config.data,
        prepare_settings=config.prepare,
        classes=config.classes,
        on_progress=on_progress,
    )
    name = split or "val"
    if data is not None and not source.own_splits:
        if split is not None:
            raise ConfigError(
                f"{data}: not divided into splits; leave --split out to take all "
                f"{len(source.records)} images"
            )
        return SplitImages(source, config, ALL_IMAGES, list(source.records))
    available = [each for each in SPLITS if source.split(each)]
    if data is not None:  # a fifth of train that we would draw is no split of other data
        available = [each for each in available if each in source.own_splits]
    if name not in available:
        raise ConfigError(
            f"{data or source.root}: there are no images in split '{name}'; choose from: "
            f"{', '.join(available)}"
        )
    return SplitImages(source, config, name, source.split(name))


def make_protocol(
    predictor: Predictor,
    images: SplitImages,
    *,
    allow_seen: bool = False,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """What was scored on what and how, as metrics.json holds it.

    Raises:
        ConfigError: A member was trained on the images, unless `allow_seen`.
    """
    source, config, split, records = images
    data = data_name(source, config.data)
    seen = {
        origin.path: find_seen(records, origin.trained_on, siblings=source.records, data=data)
        for origin in predictor.origins
    }
    if not allow_seen:
        _check_unseen(seen, len(records))
    num_seen, versions = len({each for part in seen.values() for each in part}), environment()
    return {
        "data": data,
        "data_sha256": source.digest(),
        "kind": source.kind,
        "split": split,
        "num_folds": config.data.num_folds,
        "fold": config.data.fold,
        "prepare": to_dict(config.prepare) if source.is_sliced else None,
        "cropped_by_masks": is_cropped_by_masks(source, config, records),
        **predictor.describe(),
        "nsd_tolerance": tolerance,
        "allow_seen": allow_seen and num_seen > 0,
        "num_seen_images": num_seen,
        "versions": {name: versions[name] for name in ("acdc_seg", "python", "libraries")},
    }


CROP_NOTE = (
    "The images were cropped around the heart by their own masks: whole slices, whose heart nobody "
    "has found before, score lower."
)
"""Stands under scores whose protocol has `cropped_by_masks`."""


def is_cropped_by_masks(source: Source, config: Config, records: Sequence[Record]) -> bool:
    """Whether scored slices were cut out around the heart by their masks, as far as that is known:
    of volumes that are cut here, and of folders of `acdc-data prepare`.
    """
    if not any(record.mask for record in records):
        return False
    if source.is_sliced:
        return config.prepare.crop == "heart"
    try:
        about = json.loads((source.root / "prepare.json").read_text(encoding="utf-8"))
        return bool(about["settings"]["crop"] == "heart")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def check_replaceable(folder: Path, protocol: Mapping[str, Any]) -> None:
    """Raises ConfigError where a folder holds scores of another protocol, or damaged ones."""
    path = folder / "metrics.json"
    if not path.is_file():
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))["protocol"]
        changed = _differences(old, protocol)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        changed = ["protocol"]
    if changed:
        raise ConfigError(
            f"{path}: holds scores of another evaluation ({', '.join(changed)}); give --out "
            "FOLDER, or remove them"
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys of the protocol that differ; data and checkpoints may have moved, or be newer."""
    keys = ("split", "num_folds", "fold", "prepare", "tta", "keep_largest")
    changed = [key for key in keys if old[key] != new[key]]
    if old.get("nsd_tolerance", TOLERANCE) != new["nsd_tolerance"]:
        changed.append("nsd_tolerance")
    if all(old[key] != new[key] for key in ("data", "data_sha256")):
        changed.append("data")
    pairs = list(zip(old["members"], new["members"], strict=False))
    if len(old["members"]) != len(new["members"]) or any(
        all(first[key] != second[key] for key in ("path", "sha256"))
        or any(first[key] != second[key] for key in ("weight", "tta", "precision"))
        for first, second in pairs
    ):
        changed.append("members")
    return changed


def _check_unseen(seen: Mapping[Path, Sequence[Record]], num_images: int) -> None:
    """Raises ConfigError where a member was trained on images, or on other ones of their
    patients.
    """
    for path, records in seen.items():
        if records:
            raise ConfigError(
                f"data leakage: {path} was trained on {len(records)} of the {num_images} images to "
                f"score, or on their patients (first {records[0].id}); give a --split or --data "
                "that it was not trained on, or --allow-seen, which the scores then say"
            )
