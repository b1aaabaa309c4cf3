import json
import math

import pytest
from reports import make_scores

from acdc_seg.errors import ConfigError, DataError
from acdc_seg.report.scores import Scores, read_scores
from acdc_seg.report.tables import headline_text


def test_values_means_and_empty_masks():
    scores, _ = make_scores(error=1)
    assert (scores.metric, scores.label, scores.higher_is_better) == ("dice", "Dice", True)
    assert scores.scored == ["rv", "myo", "lv"]
    assert scores.num_patients == 3
    # one pixel of the first square in the image, of 9, is wrong
    assert sorted(scores.value("p0_0", name) for name in scores.scored) == pytest.approx(
        [2 * 8 / 17, 1, 1]
    )
    assert scores.mean("p0_0") == pytest.approx((2 * 8 / 17 + 2) / 3)
    assert [scores.is_empty(image) for image in scores.images] == [False] * 6 + [True]
    assert "p0_0" in scores
    assert "q" not in scores


def test_the_interval_holds_the_headline_and_needs_two_patients():
    scores, _ = make_scores(error=2)
    low, high = scores.interval()
    assert low < scores.headline < high
    assert make_scores(num_patients=1, error=1)[0].interval() is None


def test_images_that_are_each_their_own_patient_are_no_patients():
    scores, _ = make_scores()
    images = [image | {"patient": image["id"]} for image in scores.images]
    alone = Scores("a", {**scores.content, "images": images}, scores.classes, scores.colors)
    assert alone.num_patients == 0
    assert "mean over 7 slices and the foreground classes" in headline_text(alone)
    assert "drawing the images again" in headline_text(alone)


def test_the_headline_is_of_volumes_where_there_are_volumes():
    scores, _ = make_scores(error=1, volumes=True)
    assert (scores.level, scores.noun) == ("volume", "slice")
    assert scores.headline == scores.content["levels"]["volume"]["mean"]["dice"]
    assert scores.headline != pytest.approx(scores.content["dice"])
    assert list(scores.unit_means()) == ["p0", "p1", "p2"]
    assert scores.interval() == pytest.approx(tuple(scores.content["headline"]["interval"]))


def test_an_image_without_a_value_does_not_count():
    scores, _ = make_scores(error=1)
    images = json.loads(json.dumps(scores.images))
    images[0]["dice"] = {"rv": None, "myo": 0.5, "lv": 0.7}
    images[1]["dice"] = {}
    known = Scores("a", {**scores.content, "images": images}, scores.classes, scores.colors)
    assert known.mean("p0_0") == pytest.approx(0.6)
    assert math.isnan(known.mean("p0_1"))
    assert known.interval() is not None


def test_a_folder_without_scores_says_how_to_get_them(tmp_path):
    with pytest.raises(ConfigError, match=r"no metrics\.json in this folder; .* acdc-evaluate"):
        read_scores(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_text('{"n": 2}')
    with pytest.raises(DataError, match="damaged; write it again"):
        read_scores(tmp_path / "metrics.json")
