from dataclasses import replace

import numpy as np

from acdc_seg.metrics import EMPTY_POLICY
from acdc_seg.metrics.pooled import POOLED_RULE
from acdc_seg.metrics.scores import score_labels
from acdc_seg.metrics.summary import summarize
from acdc_seg.metrics.tables import format_table, with_interval

CLASSES = ("background", "rv", "myo", "lv")
TRUTH = np.array([[0, 1, 1], [0, 2, 2]])
PREDICTION = np.array([[0, 1, 2], [1, 2, 2]])


def two_scores(**settings):
    first = score_labels(PREDICTION, TRUTH, id="a", classes=CLASSES, patient="1", **settings)
    second = score_labels(TRUTH * 0, TRUTH, id="b", classes=CLASSES, patient="1", **settings)
    return [first, second]


def test_every_metric_and_count_of_the_classes_with_n_and_policy_below():
    blocks = format_table(summarize(two_scores())).split("\n\n")
    rv = blocks[0].splitlines()[1].split()
    assert rv[:7] == ["rv", "0.2500", "±", "0.2500", "0.1667", "±", "0.1667"]
    assert blocks[0].splitlines()[4].split()[:3] == ["mean", "0.5500", "0.5000"]
    counts = blocks[-1].splitlines()
    assert counts[0].split("  ")[-2:] == ["missed", "false"]
    assert counts[1].split() == ["rv", "0", "1", "1", "0"]
    assert counts[-1] == f"n = 2 images of 1 patient. {EMPTY_POLICY} {POOLED_RULE}"


def test_pooled_scores_have_a_table_and_void_images_a_number():
    void = score_labels(TRUTH, TRUTH * 0 + 255, id="c", classes=CLASSES, ignore_index=255)
    text = format_table(summarize([*two_scores(), void]))
    table = next(block for block in text.split("\n\n") if "pooled" in block).splitlines()
    assert table[0].split("  ")[-2:] == ["pooled Dice", "pooled IoU"]
    # rv: 1 pixel of 4 + 2 of 2 + 0; myo: 2 of 5 + 2 of 2 + 0
    assert table[1].split() == ["rv", "0.3333", "0.2000"]
    assert table[3].split() == ["lv", "-", "-"]
    assert table[4].split()[0] == "mean"
    assert "n = 2 images of 1 patient. Left out, for all of their pixels are void: 1." in text


def test_lines_fit_a_terminal_and_units_are_named():
    first, second = two_scores(distances=True, spacing=(1.8, 1.8))
    table = format_table(summarize([first, replace(second, patient="2")]), unit="slice")
    assert max(map(len, table.splitlines()[:-1])) <= 100
    assert "HD95 (mm)" in table
    assert "NSD at 2 mm" in table
    assert "Size error (mm²)" in table
    assert "n = 2 slices of 2 patients" in table


def test_an_interval_stands_beside_its_value():
    assert with_interval(0.5, [0.25, 0.75], "dice") == "0.5000 [0.2500, 0.7500]"
    assert with_interval(12.345, [10, 13.2], "hd95") == "12.35 [10.00, 13.20]"
    assert with_interval(0.5, None, "dice") == "0.5000"
