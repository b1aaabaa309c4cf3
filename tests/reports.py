"""Scores, pictures and pages of made-up runs that the report's tests share."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from hearts import write_image

from acdc_seg.config import ClassesConfig
from acdc_seg.data.examples import Example
from acdc_seg.data.record import Record
from acdc_seg.metrics.calibration import Calibration
from acdc_seg.metrics.levels import score_set_to_dict
from acdc_seg.metrics.volumes import Case, Scorer
from acdc_seg.report.evidence import Evidence
from acdc_seg.report.scores import Scores

CLASSES = ClassesConfig()
COLORS = dict(zip(CLASSES.names, CLASSES.colors, strict=True))
SIZE = 16


def make_mask(number: int) -> np.ndarray:
    """A square of every class, at another place for every number; nothing for a negative one."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for value in (1, 2, 3) if number >= 0 else ():
        row = (3 * number + 4 * value) % (SIZE - 4)
        mask[row : row + 3, 4 * value : 4 * value + 3] = value
    return mask


def make_scores(
    name="unet", *, num_patients=3, error=0, empty=True, volumes=False, folder=Path()
) -> tuple[Scores, Evidence]:
    """Two images of every patient, each with `error` pixels more wrong than the one before, then
    one image of the last patient whose mask and prediction are empty; with their pictures.

    Of `volumes`, the images of a patient are slices of one, 1.5 x 2 mm and 8 mm apart. The files of
    the images would be in `folder`.
    """
    ids = [(f"p{index // 2}_{index % 2}", f"p{index // 2}") for index in range(2 * num_patients)]
    if empty:
        ids.append((f"p{num_patients - 1}_empty", f"p{num_patients - 1}"))
    cases = [
        Case(
            id,
            patient,
            phase="" if volumes else ("ED", "ES")[index % 2],
            volume=patient if volumes else "",
            slice=index if volumes else None,
        )
        for index, (id, patient) in enumerate(ids)
    ]
    evidence, scorer = Evidence(), Scorer(cases, classes=CLASSES.names)
    calibration = Calibration(len(ids))
    for index, case in enumerate(cases):
        mask = make_mask(-1 if case.id.endswith("empty") else index)
        labels = mask.copy()
        wrong = np.flatnonzero(mask)[: error * (index + 1)]
        labels.flat[wrong] = 0
        scorer.add(labels, mask, case)
        one_hot = np.eye(4, dtype=np.float32)[labels].transpose(2, 0, 1)  # (K, H, W)
        probabilities = torch.from_numpy(0.9 * one_hot + 0.025)
        calibration.add(probabilities.numpy(), mask, 255)
        grid = {"spacing": (1.5, 2.0), "slice": index, "slice_spacing": 8.0} if volumes else {}
        image = torch.from_numpy(mask[None].astype(np.float32) / 4 + 0.1)
        record = Record(
            case.id, folder / f"{case.id}.png", None, case.patient, phase=case.phase, **grid
        )
        evidence.add(Example(record, image, torch.from_numpy(mask)), probabilities)
    scores = replace(scorer.result(), calibration=calibration.summarize())
    content = json.loads(json.dumps(score_set_to_dict(scores)))
    return Scores(name, content, CLASSES.names, COLORS), evidence


def write_slices(evidence: Evidence) -> None:
    """Writes the files of the images: 60 times the class, and 10."""
    for index, record in enumerate(evidence.records.values()):
        mask = make_mask(-1 if record.id.endswith("empty") else index)
        write_image(record.image, 60 * mask + 10)


class Page(HTMLParser):
    """What a page holds: its text without styles and scripts, tables as lists of rows, and the
    JSON of the viewer.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts, self.tables, self.cases, self.links = [], [], [], []
        self.scripts, self._open, self._in_cell = [], [], False
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.texts)).strip()
        texts = [text for kind, text in self.scripts if kind == "application/json"]
        self.viewer = json.loads(texts[0]) if texts else None

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [attrs[key] for key in ("src", "href") if key in attrs]
        if tag in ("style", "script"):
            self._open.append(tag)
            self.scripts.append([attrs.get("type"), ""])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
            self.cases += [attrs["data-case"]] if "data-case" in attrs else []
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        if tag in ("style", "script"):
            self._open.pop()
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        if self._open:
            self.scripts[-1][1] += data
            return
        self.texts.append(data)
        if self._in_cell:
            self.tables[-1][-1][-1] += data.strip()


def read_page(path: Path) -> Page:
    """The parsed page."""
    return Page(path.read_text(encoding="utf-8"))
