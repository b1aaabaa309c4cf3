import re

import numpy as np
import pytest

from acdc_seg.errors import DataError
from acdc_seg.report.figures import prediction_grid
from acdc_seg.report.page import DISCLAIMER, write_report

CONFIG = {
    "name": "unet",
    "classes": {
        "labels": [
            {"name": "background", "value": 0, "color": [0, 0, 0]},
            {"name": "rv", "value": 1, "color": [66, 133, 244]},
            {"name": "lv", "value": 3, "color": [234, 67, 53]},
        ],
    },
}
SCORES = {
    "empty_policy": "Both empty is 1.",
    "metrics": {"dice": "Dice", "iou": "IoU"},
    "n": 2,
    "dice": 0.7127,
    "iou": 0.6,
    "classes": {
        name: {
            "n": 2,
            "dice_mean": mean,
            "dice_std": 0.05,
            "iou_mean": 0.6,
            "iou_std": 0.04,
            "num_empty_truth": 0,
            "num_empty_prediction": 1,
        }
        for name, mean in (("rv", 0.625), ("lv", 0.8))
    },
    "images": [
        {"id": "cmr101", "patient": "p51", "phase": "ED", "dice": {"rv": 0.75, "lv": 0.9}},
        {"id": "cmr102", "patient": "p51", "phase": "ES", "dice": {"rv": 0.5, "lv": 0.7}},
    ],
}
HISTORY = [
    {"epoch": 1, "train_loss": 0.9, "val_loss": 0.8, "dice": 0.5},
    {"epoch": 2, "train_loss": 0.7, "val_loss": 0.6, "dice": 0.7},
]
PAGE = {
    "title": "unet on ACDC",
    "config": CONFIG,
    "run": {"seed": 7, "libraries": {"torch": "2.13.0"}},
    "protocol": {"Split": "by patient", "Training": "100 images of 50 patients"},
    "history": HISTORY,
    "scores": SCORES,
}


def write(tmp_path, **changes):
    write_report(tmp_path / "report.html", **(PAGE | changes))
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_page_shows_headline_policy_protocol_and_versions(tmp_path):
    page = write(tmp_path)
    text = re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL))
    for expected in (
        "Foreground Dice 0.713 IoU 0.600",
        "n = 2 images of 1 patient.",
        "Both empty is 1.",
        "Split by patient",
        "100 images of 50 patients",
        "of epoch 2, the best of 2",
        "rv 0.625 ± 0.050",
        "torch 2.13.0",
        "seed 7",
        "name: background",
        DISCLAIMER,
    ):
        assert expected in text
    assert text.index("cmr102") < text.index("cmr101")  # lowest Dice first


def test_any_metrics_are_shown_and_the_first_is_the_headline(tmp_path):
    scores = {
        "empty_policy": "Empty is 0.",
        "metrics": {"recall": "Recall (%)"},
        "n": 1,
        "recall": 0.25,
        "classes": {
            "rv": {
                "recall_mean": 0.25,
                "recall_std": 0.0,
                "num_empty_truth": 0,
                "num_empty_prediction": 0,
            }
        },
        "images": [{"id": "cmr101", "patient": "", "phase": "", "recall": {"rv": 0.25}}],
    }
    text = re.sub(r"<[^>]*>|\s+", " ", write(tmp_path, scores=scores))
    text = re.sub(r"\s+", " ", text)
    assert "Foreground Recall (%) 0.250 rv Recall (%) 0.250 n = 1 image." in text
    assert "Images with the lowest Recall (%)" in text
    assert "IoU" not in text


def test_phases_are_shown_where_the_data_has_any(tmp_path):
    assert "<th>Phase</th>" in write(tmp_path)
    images = [image | {"phase": ""} for image in SCORES["images"]]
    page = write(tmp_path, scores=SCORES | {"images": images})
    assert "Phase" not in page
    row = re.search(r"<tr><td>cmr101</td>.*?</tr>", page, re.DOTALL)[0]
    assert re.findall(r"<td>(.*?)</td>", row) == ["cmr101", "p51", "0.750", "0.900", "0.825"]


def test_page_is_self_contained_and_repeats(tmp_path):
    page = write(tmp_path)
    assert set(re.findall(r'(?:src|href)="([^:"]*:[^,"]*)', page)) == {"data:image/svg+xml;base64"}
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert "<script" not in page
    assert write(tmp_path) == page


def test_pictures_are_png(tmp_path):
    labels = [np.eye(8, dtype=int)]
    grid = prediction_grid(
        [np.eye(8)],
        labels,
        labels,
        colors=((0, 0, 0), (9, 9, 9)),
        names=("background", "rv"),
        titles=("cmr1",),
    )
    page = write(tmp_path, figures={"Worst case": grid})
    assert "<h2>Worst case</h2>" in page
    assert page.count("data:image/png;base64,") == 1


def test_texts_are_escaped(tmp_path):
    images = [SCORES["images"][0] | {"id": "<script>alert(1)</script>"}]
    page = write(
        tmp_path,
        title="A & B <b>",
        protocol={"Data": "größe/<i>"},
        scores=SCORES | {"images": images},
    )
    assert "<script>" not in page
    assert "A &amp; B &lt;b&gt;" in page
    assert "größe/&lt;i&gt;" in page


def test_a_run_without_scores_and_history_has_a_page(tmp_path):
    page = write(tmp_path, scores=None, history=[])
    assert "Foreground Dice" not in page
    assert "<img" not in page
    assert DISCLAIMER in page


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "gone").touch()
    with pytest.raises(DataError, match=r"report\.html: cannot write"):
        write_report(tmp_path / "gone" / "report.html", **PAGE)
