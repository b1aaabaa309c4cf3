import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from acdc_seg.errors import DataError
from acdc_seg.files import write_text
from acdc_seg.metrics import EMPTY_POLICY, METRICS, Metric, Units
from acdc_seg.metrics.scores import score_labels
from acdc_seg.metrics.summary import scores_to_dict, summarize, write_csv
from acdc_seg.metrics.tables import format_table

CLASSES = ("background", "rv", "myo", "lv")

TRUTH = np.array([[0, 1, 1], [0, 2, 2]])  # rv 2 pixels, myo 2, lv 0
PREDICTION = np.array([[0, 1, 2], [1, 2, 2]])  # rv 2 pixels, 1 common; myo 3, 2 common; lv 0


def test_dice_and_iou_by_hand():
    row = score_labels(PREDICTION, TRUTH, id="cmr1", classes=CLASSES, patient="1", phase="ED")
    assert (row.id, row.patient, row.phase) == ("cmr1", "1", "ED")
    assert row.dice == pytest.approx({"rv": 2 / 4, "myo": 4 / 5, "lv": 1})
    assert row.values["iou"] == pytest.approx({"rv": 1 / 3, "myo": 2 / 3, "lv": 1})
    assert row.truth_size == {"rv": 2, "myo": 2, "lv": 0}
    assert row.prediction_size == {"rv": 2, "myo": 3, "lv": 0}


def test_the_first_class_counts_where_it_is_no_background(tmp_path):
    score = score_labels(PREDICTION, TRUTH, id="a", classes=CLASSES, has_background=False)
    assert score.dice == pytest.approx({"background": 2 / 3, "rv": 1 / 2, "myo": 4 / 5, "lv": 1})
    summary = summarize([score])
    assert summary.dice == pytest.approx((2 / 3 + 1 / 2 + 4 / 5 + 1) / 4)
    assert list(summary.classes) == list(CLASSES)
    write_csv(tmp_path / "m.csv", [score])
    assert "dice_background" in (tmp_path / "m.csv").read_text().splitlines()[0]


def test_pooled_scores_divide_the_sums_over_all_images():
    first = score_labels(PREDICTION, TRUTH, id="a", classes=CLASSES)
    second = score_labels(TRUTH * 0, TRUTH, id="b", classes=CLASSES)
    pooled = summarize([first, second]).pooled
    assert pooled["classes"]["rv"] == {"dice": 2 * 1 / (4 + 2), "iou": 1 / 5}
    assert pooled["classes"]["myo"] == pytest.approx({"dice": 2 * 2 / (4 + 3), "iou": 2 / 5})
    assert pooled["classes"]["lv"] == {"dice": None, "iou": None}  # nowhere in the set
    assert pooled["dice"] == pytest.approx((1 / 3 + 4 / 7) / 2)
    assert scores_to_dict([first], summarize([first]))["pooled"]["iou"] == pytest.approx(1 / 2)
    all_classes = score_labels(PREDICTION, TRUTH, id="a", classes=CLASSES, has_background=False)
    pooled = summarize([all_classes]).pooled
    assert pooled["classes"]["background"] == pytest.approx({"dice": 2 / 3, "iou": 1 / 2})


def test_images_that_are_wholly_void_leave_n(tmp_path):
    """They would score 1 in every class, and raise each mean."""
    score = score_labels(PREDICTION, TRUTH, id="a", classes=CLASSES)
    void = score_labels(PREDICTION, TRUTH * 0 + 255, id="b", classes=CLASSES, ignore_index=255)
    assert (score.is_void, void.is_void) == (False, True)
    summary = summarize([score, void])
    assert (summary.n, summary.num_void) == (1, 1)
    assert summary.dice == summarize([score]).dice
    content = scores_to_dict([score, void], summary)
    assert (content["n"], content["num_void"]) == (1, 1)
    assert [image["id"] for image in content["images"]] == ["a"]
    write_csv(tmp_path / "m.csv", [score, void])
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 2
    with pytest.raises(DataError, match=r"all pixels of all 1 masks are void; check classes\.void"):
        summarize([void])


@pytest.mark.parametrize(("prediction", "truth"), [([[3, 0]], [[0, 0]]), ([[0, 0]], [[3, 0]])])
def test_a_class_empty_on_one_side_scores_zero(prediction, truth):
    row = score_labels(np.array(prediction), np.array(truth), id="a", classes=CLASSES)
    assert (row.dice["lv"], row.values["iou"]["lv"]) == (0, 0)
    assert (row.dice["rv"], row.values["iou"]["rv"]) == (1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_volumes_of_any_integer_type_count_like_images(dtype):
    volume = np.stack([PREDICTION, TRUTH], axis=-1).astype(dtype)  # (X, Y, 2)
    row = score_labels(
        volume, np.stack([TRUTH, TRUTH], axis=-1).astype(np.uint8), id="v", classes=CLASSES
    )
    assert row.dice == pytest.approx({"rv": 2 * 3 / 8, "myo": 2 * 4 / 9, "lv": 1})


def test_many_classes_do_not_overflow_a_byte():
    labels = np.arange(250, dtype=np.uint8).reshape(10, 25)
    row = score_labels(labels, labels, id="a", classes=[f"c{i}" for i in range(250)])
    assert set(row.dice.values()) == {1.0}
    assert set(row.truth_size.values()) == {1}


def test_ignored_pixels_count_on_neither_side():
    truth = np.array([[255, 1, 1], [255, 2, 2]], dtype=np.uint8)
    row = score_labels(PREDICTION, truth, id="a", classes=CLASSES, ignore_index=255)
    assert row.dice == pytest.approx({"rv": 2 / 3, "myo": 4 / 5, "lv": 1})
    assert row.prediction_size["rv"] == 1


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (
            np.zeros((2, 3), int),
            np.zeros((3, 2), int),
            r"cmr7: the prediction is \(2, 3\), the mask \(3, 2\)",
        ),
        (
            np.full((2, 2), 4),
            np.zeros((2, 2), int),
            "cmr7: the prediction holds values 4 to 4; class indices are 0 to 3",
        ),
        (np.zeros((2, 2), int), np.full((2, 2), 255), "cmr7: the mask holds values 255"),
        (np.full((2, 2), -1), np.zeros((2, 2), int), "values -1 to -1"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "array of float64"),
    ],
)
def test_ill_arrays_are_named(prediction, truth, message):
    with pytest.raises(DataError, match=message):
        score_labels(prediction, truth, id="cmr7", classes=CLASSES)


def two_rows():
    return [
        score_labels(PREDICTION, TRUTH, id="cmr1", classes=CLASSES, patient="1"),
        score_labels(np.zeros_like(TRUTH), TRUTH, id="cmr2", classes=CLASSES, patient="1"),
    ]


def test_summary_is_the_mean_over_images_and_classes():
    summary = summarize(two_rows())
    assert summary.n == 2
    assert summary.dice == pytest.approx((0.5 + 0.8 + 1 + 0 + 0 + 1) / 6)
    assert summary.mean["iou"] == pytest.approx((1 / 3 + 2 / 3 + 1 + 0 + 0 + 1) / 6)
    assert summary.mean["dice"] == summary.dice
    rv, lv = summary.classes["rv"], summary.classes["lv"]
    assert (rv["n"], rv["dice_mean"], rv["dice_std"]) == pytest.approx((2, 0.25, 0.25))
    assert (rv["iou_mean"], rv["iou_std"]) == pytest.approx((1 / 6, 1 / 6))
    assert (rv["num_empty_truth"], rv["num_empty_prediction"]) == (0, 1)
    assert (lv["num_empty_truth"], lv["num_empty_prediction"]) == (2, 2)


def test_nothing_to_summarize():
    with pytest.raises(DataError, match="no image has a mask"):
        summarize([])


def test_csv_columns_and_values(tmp_path):
    write_csv(tmp_path / "new" / "metrics.csv", two_rows())
    assert b"\r" not in (tmp_path / "new" / "metrics.csv").read_bytes()
    with (tmp_path / "new" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first)[:7] == ["id", "patient", "phase", "dice_rv", "dice_myo", "dice_lv", "iou_rv"]
    assert (first["dice_rv"], first["dice_myo"], first["truth_size_rv"]) == (
        "0.500000",
        "0.800000",
        "2",
    )
    assert (second["id"], second["dice_rv"], second["prediction_size_rv"]) == (
        "cmr2",
        "0.000000",
        "0",
    )


def test_json_holds_policy_headline_and_rows():
    rows = two_rows()
    content = json.loads(json.dumps(scores_to_dict(rows, summarize(rows))))
    assert content["empty_policy"] == EMPTY_POLICY
    assert (content["n"], content["dice"]) == (2, pytest.approx(0.55))
    assert content["classes"]["rv"]["dice_mean"] == pytest.approx(0.25)
    assert [image["id"] for image in content["images"]] == ["cmr1", "cmr2"]


def test_a_row_of_metrics_is_all_a_new_metric_needs(tmp_path, monkeypatch):
    def recall(counts):
        return np.diagonal(counts) / counts.sum(1).clip(1)

    row = Metric("Share", recall, higher_is_better=True, empty_policy="Empty is 0.", unit="%")
    monkeypatch.setitem(METRICS, "share", row)
    scores = two_rows()
    summary = summarize(scores)
    assert scores[0].values["share"] == {"rv": 0.5, "myo": 1, "lv": 0}
    assert summary.mean["share"] == pytest.approx((0.5 + 1) / 6)
    assert "Share (%)" in format_table(summary)
    write_csv(tmp_path / "metrics.csv", scores)
    assert "share_rv,share_myo,share_lv,truth_size_rv" in (tmp_path / "metrics.csv").read_text()
    content = scores_to_dict(scores, summary)
    assert content["metrics"]["share"] == "Share (%)"
    assert content["classes"]["myo"]["share_mean"] == 0.5


def test_lengths_and_areas_are_in_mm_where_the_spacing_is_known():
    truth, labels = np.zeros((2, 20, 20), int)
    truth[5:11, 5:11] = 1
    labels[5:11, 7:13] = 1  # two columns to the right
    settings = {"id": "a", "classes": ("background", "heart"), "distances": True}
    in_pixels = score_labels(labels, truth, **settings)
    assert in_pixels.units == Units("pixels", "pixels", 2)
    assert in_pixels.values["hd"] == {"heart": 2}
    in_mm = score_labels(labels[:3], truth[:3], spacing=(2, 1.5), **settings)
    assert in_mm.units == Units("mm", "mm²", 2)
    labels[5:11, 12] = 0  # 30 of 36 pixels
    in_mm = score_labels(labels, truth, spacing=(2, 1.5), **settings)
    assert in_mm.values["hd"] == {"heart": 3}
    assert in_mm.values["size_error"] == {"heart": 6 * 2 * 1.5}
    assert in_mm.values["relative_size_error"] == pytest.approx({"heart": 6 / 36})
    assert METRICS["hd95"].label(in_mm.units) == "HD95 (mm)"
    assert METRICS["nsd"].label(in_mm.units) == "NSD at 2 mm"
    volume = score_labels(labels[None], truth[None], spacing=(10, 2, 1.5), **settings)
    assert volume.units == Units("mm", "mL", 2)
    assert volume.values["size_error"] == {"heart": pytest.approx(0.18)}


def test_a_missed_and_a_false_structure_cost_the_diagonal_and_are_counted():
    """30 x 40 pixels have a diagonal of 50."""
    truth, labels = np.zeros((2, 30, 40), int)
    truth[3, 3] = 1
    labels[8:12, 8:12] = 2
    score = score_labels(labels, truth, id="a", classes=CLASSES, distances=True)
    assert score.num_missed == {"rv": 1, "myo": 0, "lv": 0}
    assert score.num_false == {"rv": 0, "myo": 1, "lv": 0}
    for metric in ("hd95", "hd", "assd"):
        assert score.values[metric] == {"rv": 50, "myo": 50, "lv": 0}
    assert score.values["nsd"] == {"rv": 0, "myo": 0, "lv": 1}
    assert score.values["precision"] == score.values["recall"] == {"rv": 0, "myo": 0, "lv": 1}
    assert score.values["relative_size_error"] == {"rv": 1, "myo": 1, "lv": 0}
    summary = summarize([score, score])
    assert (summary.classes["rv"]["num_missed"], summary.classes["myo"]["num_false"]) == (2, 2)
    assert "diagonal" in EMPTY_POLICY


def test_missing_a_structure_is_never_better_than_finding_it_badly():
    truth, labels = np.zeros((2, 30, 40), int)
    truth[3, 3] = 1
    missed = score_labels(labels, truth, id="a", classes=CLASSES, distances=True)
    labels[29, 39] = 1  # as far away as it can be
    found = score_labels(labels, truth, id="a", classes=CLASSES, distances=True)
    assert missed.values["hd"]["rv"] > found.values["hd"]["rv"]


def test_void_pixels_are_of_no_structure():
    truth, labels = np.zeros((2, 9, 9), np.uint8)
    truth[2:5, 2:5] = labels[2:5, 2:5] = 1
    truth[5:] = 255
    labels[5:, 2:5] = 1  # over void pixels only
    score = score_labels(
        labels, truth, id="a", classes=("background", "x"), ignore_index=255, distances=True
    )
    assert score.values["hd"] == {"x": 0}


def test_distances_are_measured_only_when_asked_for():
    """Validation after every epoch does not pay for them."""
    score = score_labels(PREDICTION, TRUTH, id="a", classes=CLASSES)
    taken = {name for name, metric in METRICS.items() if metric.takes == "counts"}
    assert set(score.values) == taken
    assert list(summarize([score]).mean) == [name for name in METRICS if name in taken]


def test_means_have_intervals_over_patients():
    first, second = two_rows()
    alone = summarize([first, second])
    assert (alone.num_patients, alone.intervals["dice"]) == (1, None)
    assert alone.classes["rv"]["dice_interval"] is None
    summary = summarize([first, replace(second, patient="2")])
    assert summary.num_patients == 2
    assert summary.intervals["dice"] == pytest.approx([(0 + 0 + 1) / 3, (0.5 + 0.8 + 1) / 3])
    assert summary.classes["rv"]["dice_interval"] == [0, 0.5]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "metrics.csv"
    write_text(path, "old")
    (tmp_path / ".metrics.csv.partial").mkdir()
    with pytest.raises(DataError, match=r"metrics\.csv: cannot write"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_pixels_are_counted_by_class_of_the_mask_and_predicted_class():
    rows = two_rows()
    content = scores_to_dict(rows, summarize(rows))
    assert content["confusion"] == [[3, 1, 0, 0], [2, 1, 1, 0], [2, 0, 2, 0], [0, 0, 0, 0]]
    assert "counts" not in content["images"][0]
