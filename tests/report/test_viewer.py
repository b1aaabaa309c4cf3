import base64
import zlib

import numpy as np
from reports import CLASSES, make_mask, make_scores

from acdc_seg.report import viewer
from acdc_seg.report.evidence import Evidence
from acdc_seg.report.viewer import class_colors, viewer_content


def test_all_images_with_their_scores_and_pictures():
    scores, evidence = make_scores(error=1)
    content = viewer_content([scores], [evidence])
    first, *_, last = content["cases"]
    assert len(content["cases"]) == 7
    assert content["left_out"] == ""
    assert (first["id"], first["patient"], first["phase"]) == ("p0_0", "p0", "ED")
    assert first["means"] == [round(scores.mean("p0_0"), 4)]
    assert len(first["scores"][0]) == 3
    assert (first["empty"], last["empty"]) == (False, True)
    mask = np.frombuffer(zlib.decompress(base64.b64decode(first["mask"])), np.uint8)
    np.testing.assert_array_equal(mask.reshape(first["size"]), make_mask(0))
    changes = np.frombuffer(zlib.decompress(base64.b64decode(first["labels"][0])), np.uint8)
    assert (changes != 0).sum() == 1  # the prediction has one pixel wrong


def test_what_does_not_fit_is_left_out_and_said(monkeypatch):
    scores, evidence = make_scores(num_patients=6, error=1)
    size = viewer.OVERHEAD + evidence.size("p5_1") * 4 // 3 + 100
    monkeypatch.setattr(viewer, "NUM_EXTREME", 1)
    monkeypatch.setattr(viewer, "MAX_CHARACTERS", 4 * size)
    content = viewer_content([scores], [evidence], noun="slice")
    shown = [case["id"] for case in content["cases"]]
    ranked = sorted((image["id"] for image in scores.images), key=scores.mean)
    assert 3 <= len(shown) < 13
    assert ranked[0] in shown  # the worst
    assert ranked[-2] in shown  # the best of those that are not empty
    assert content["left_out"].startswith(f"{13 - len(shown)} of 13 slices are left out")


def test_runs_are_shown_side_by_side_where_both_have_pictures():
    (good, seen), (bad, fewer) = make_scores("a"), make_scores("b", error=2, empty=False)
    content = viewer_content([good, bad], [seen, fewer])
    assert content["runs"] == ["a", "b"]
    assert len(content["cases"]) == 6
    case = content["cases"][3]
    assert case["means"] == [1.0, round(bad.mean("p1_1"), 4)]
    assert len(case["labels"]) == len(case["uncertainty"]) == 2


def test_nothing_to_show():
    scores, _ = make_scores()
    assert viewer_content([scores], [Evidence()]) is None


def test_few_classes_have_colors_for_every_kind_of_color_vision_and_many_their_own():
    scores, _ = make_scores()
    colors = class_colors(scores)
    assert [each["name"] for each in colors] == list(CLASSES.names)
    assert [each["painted"] for each in colors] == [False, True, True, True]
    assert [each["color"] for each in colors[1:]] == ["#e69f00", "#56b4e9", "#cc79a7"]
    names = [f"c{number}" for number in range(12)]
    content = {**scores.content, "classes": {name: {} for name in names}}
    many = type(scores)("many", content, names, dict.fromkeys(names, (1, 2, 3)))
    assert [each["color"] for each in class_colors(many)] == ["#010203"] * 12
