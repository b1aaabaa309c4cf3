from dataclasses import replace
from pathlib import Path

import pytest
from reports import make_scores

from acdc_seg.errors import ConfigError
from acdc_seg.report.paired import compare, rank, verdict
from acdc_seg.report.reported import ReportedRun


def reported(name, **options):
    scores, _ = make_scores(name, **options)
    return ReportedRun(Path("runs") / name, None, {}, [], scores)


def test_differences_are_paired_and_positive_where_the_first_is_better():
    good, bad = (reported(name, error=error).scores for name, error in (("a", 0), ("b", 1)))
    difference = compare(good, bad)
    assert difference.mean == pytest.approx(good.headline - bad.headline)
    assert difference.by_unit["p0_0"] == pytest.approx(1 - bad.mean("p0_0"))
    low, high = difference.interval
    assert 0 < low < difference.mean < high
    assert difference.is_clear


def test_volumes_are_compared_where_the_headline_is_theirs():
    good, bad = (
        reported(name, error=error, volumes=True).scores for name, error in (("a", 0), ("b", 1))
    )
    difference = compare(good, bad)
    assert list(difference.by_unit) == ["p0", "p1", "p2"]
    assert difference.mean == pytest.approx(good.headline - bad.headline)
    assert verdict(good, [bad], {"b": difference}).endswith("better on 3 of 3 volumes.")


def test_the_verdict_says_who_is_better_and_how_sure_that_is():
    good, bad = (reported(name, error=error).scores for name, error in (("a", 0), ("b", 1)))
    text = verdict(good, [bad], {"b": compare(good, bad)})
    assert text.startswith(
        f"a is better than b: Dice 1.000 against {bad.headline:.3f}, difference +"
    )
    assert text.endswith("better on 6 of 7 slices.")
    same = replace(good, name="c")
    text = verdict(good, [same], {"c": compare(good, same)})
    assert text.startswith("a leads, but c may be as good:")
    single = [reported(name, num_patients=1).scores for name in "ab"]
    text = verdict(single[0], single[1:], {"b": compare(*single)})
    assert "one patient says nothing of others" in text


def test_runs_are_ranked_on_the_images_that_they_share():
    bad, good = reported("bad", error=2), reported("good", num_patients=2, empty=False)
    ranked = rank([bad, good])
    assert [each.scores.name for each in ranked] == ["good", "bad"]
    assert [image["id"] for image in ranked[1].scores.images] == ["p0_0", "p0_1", "p1_0", "p1_1"]
    shared = [bad.scores.mean(image["id"]) for image in ranked[1].scores.images]
    assert ranked[1].scores.headline == pytest.approx(sum(shared) / 4)
    assert ranked[1].scores.content["n"] == 4


def test_runs_of_one_name_are_told_apart_by_their_folders():
    first, second = reported("a"), replace(reported("a", error=1), folder=Path("old/a"))
    assert [each.scores.name for each in rank([first, second])] == ["runs/a", "old/a"]


def test_runs_that_do_not_compare_are_refused():
    first, other = reported("a"), reported("b")
    images = [image | {"id": f"other {image['id']}"} for image in other.scores.images]
    renamed = replace(other.scores, content={**other.scores.content, "images": images})
    with pytest.raises(ConfigError, match="runs/a, runs/b: share no image; score all of them"):
        rank([first, replace(other, scores=renamed)])
    classes = {"tumor": other.scores.content["classes"]["rv"]}
    scored = replace(other.scores, content={**other.scores.content, "classes": classes})
    with pytest.raises(ConfigError, match="scored Dice of rv, myo, lv and Dice of tumor"):
        rank([first, replace(other, scores=scored)])
