"""Content of metrics.json as pages read it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.errors import ConfigError, DataError
from acdc_seg.metrics import METRICS
from acdc_seg.metrics.intervals import patient_bootstrap
from acdc_seg.report.style import Color


@dataclass(frozen=True)
class Scores:
    """Scores of one run on one set of images.

    Attributes:
        name: Of the run.
        content: That of metrics.json.
        classes: Names of all classes, in the order of the labels.
        colors: (R, G, B) in 0..255 by class name.
    """

    name: str
    content: Mapping[str, Any]
    classes: Sequence[str]
    colors: Mapping[str, Color]

    @property
    def metric(self) -> str:
        """Key of the headline metric."""
        return next(iter(self.content["metrics"]))

    @property
    def label(self) -> str:
        """Name of the headline metric."""
        return str(self.content["metrics"][self.metric])

    @property
    def higher_is_better(self) -> bool:
        """Direction of the headline metric."""
        metric = METRICS.get(self.metric)
        return metric is None or metric.higher_is_better

    @property
    def empty_policy(self) -> str:
        """What the headline metric is where a class is empty."""
        metric = METRICS.get(self.metric)
        return metric.empty_policy if metric else str(self.content["empty_policy"])

    @property
    def images(self) -> list[dict[str, Any]]:
        """A dict for each image: `id`, `patient`, `phase`, and by class the metrics and sizes."""
        return list(self.content["images"])

    @property
    def scored(self) -> list[str]:
        """Names of the classes that have scores: those of the foreground."""
        return list(self.content["classes"])

    @property
    def num_patients(self) -> int:
        """Number of patients, 0 where none is known or every image is its own."""
        if all(image["patient"] == image["id"] for image in self.images):
            return 0
        return len({image["patient"] for image in self.images if image["patient"]})

    @cached_property
    def _by_id(self) -> dict[str, dict[str, Any]]:
        return {image["id"]: image for image in self.images}

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def value(self, id: str, name: str) -> float:
        """The headline metric of one class of an image; NaN where it has none."""
        value = self._by_id[id][self.metric].get(name)
        return float("nan") if value is None else float(value)

    def mean(self, id: str) -> float:
        """Mean over the foreground classes of an image; NaN where none has a value."""
        return self._mean_of(self._by_id[id])

    def is_empty(self, image: Mapping[str, Any]) -> bool:
        """Whether the mask of an image has no foreground."""
        sizes = image.get("truth_size")
        return sizes is not None and not any(sizes.values())

    @property
    def level(self) -> str:
        """What the headline is a mean over: volume, slice or image."""
        return str(self.content.get("level", "image"))

    @property
    def noun(self) -> str:
        """What an image is called: slice where it was cut from a volume, or shows the heart."""
        return (
            "slice"
            if self.level == "slice" or "slice" in self.content.get("levels", {})
            else "image"
        )

    @property
    def headline(self) -> float:
        """Mean over the units of the headline's level and foreground classes."""
        headline = self.content.get("headline")
        return float(headline["value"] if headline else self.content[self.metric])

    @property
    def means(self) -> Mapping[str, float]:
        """Mean of every metric at the headline's level."""
        found = self.content.get("levels", {}).get(self.level)
        return dict(found["mean"] if found else {key: self.content[key] for key in self.metrics})

    @property
    def class_means(self) -> Mapping[str, Mapping[str, Any]]:
        """Of each class `<metric>_mean`, `<metric>_std` and counts at the headline's level."""
        found = self.content.get("levels", {}).get(self.level)
        return dict(found["classes"] if found else self.content["classes"])

    @property
    def metrics(self) -> Mapping[str, str]:
        """Labels of the metrics at the headline's level."""
        found = self.content.get("levels", {}).get(self.level)
        return dict(found["metrics"] if found else self.content["metrics"])

    def unit_means(self) -> dict[str, float]:
        """Mean of the headline metric over the classes, by id of the units of the headline."""
        return {each["id"]: self._mean_of(each) for each in self._units}

    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the headline over patients; None of fewer than two."""
        return self.interval_of(self.unit_means())

    def interval_of(self, values: Mapping[str, float]) -> tuple[float, float] | None:
        """The patient-bootstrap interval of a mean over units of the headline's level.

        Args:
            values: By id of the unit; those that are not finite do not count.
        """
        known = [id for id, value in values.items() if np.isfinite(value)]
        owners = self.patients()
        patients = [owners[id] for id in known]
        if len(set(patients)) < 2:
            return None
        return patient_bootstrap(np.array([values[id] for id in known]), patients)

    def patients(self) -> dict[str, str]:
        """The patient of each unit of the headline's level; the unit itself where unknown."""
        return {each["id"]: each["patient"] or each["id"] for each in self._units}

    @property
    def _units(self) -> list[dict[str, Any]]:
        return list(self.content["volumes"] if self.level == "volume" else self.images)

    def _mean_of(self, row: Mapping[str, Any]) -> float:
        by_class = row[self.metric]
        values = [by_class.get(name) for name in self.scored]
        known = [value for value in values if value is not None and math.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")


def read_scores(path: Path) -> dict[str, Any]:
    """The content of a metrics.json.

    Raises:
        ConfigError: There is no such file.
        DataError: It is damaged.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path.parent}: no metrics.json in this folder; give a run that is finished, or score "
            f"it first with acdc-evaluate {path.parent}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["metrics"], content["images"], content["classes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            f"{path}: damaged; write it again with acdc-evaluate {path.parent}"
        ) from None
    return dict(content)
