import numpy as np
import pytest

from acdc_seg.config import ClassesConfig
from acdc_seg.data.examples import Example
from acdc_seg.data.record import Record
from acdc_seg.ensembling.candidates import open_candidates
from acdc_seg.ensembling.search import (
    Estimate,
    SearchSettings,
    estimate,
    held_out_estimate,
    search_ensemble,
)
from acdc_seg.ensembling.selection import CandidatePool
from acdc_seg.errors import ConfigError, DataError

TWO = ClassesConfig(names=("background", "heart"), values=(0, 1), colors=((0, 0, 0), (255, 0, 0)))
FLIPPED = SearchSettings(tta=("none", "flips"), largest=False)


def test_the_result_for_two_runs(save_run):
    candidates = open_candidates([save_run("a"), save_run("b", seed=1)])
    result = search_ensemble(candidates, settings=FLIPPED, device="cpu")
    assert [(variant.candidate.name, variant.tta) for variant in result.variants] == [
        ("a", "none"),
        ("a", "flips"),
        ("b", "none"),
        ("b", "flips"),
    ]
    assert result.best_member.dice == max(variant.dice for variant in result.variants)
    assert result.chosen_on.best_member == pytest.approx(result.best_member.dice)
    assert result.chosen_on.difference == pytest.approx(
        result.chosen_on.ensemble - result.chosen_on.best_member
    )
    assert result.leaks == ()
    assert len(result.records) == 4
    assert search_ensemble(candidates, settings=FLIPPED, device="cpu") == result


def test_two_copies_of_one_model_differ_by_nothing(save_run):
    plain = search_ensemble(
        open_candidates([save_run("a"), save_run("copy")]),
        settings=SearchSettings(tta=("none",)),
        device="cpu",
    )
    for part in (plain.chosen_on, plain.held_out):
        assert (part.difference, part.low, part.high) == (0, 0, 0)
    assert tuple(variant.count for variant in plain.variants) == plain.best.counts == (1, 0)


def test_a_member_trained_on_the_images_is_left_out_unless_asked_for(save_run):
    candidates = open_candidates(
        [save_run("trap", seed=1, **{"data.validation": False}), save_run("honest")]
    )
    result = search_ensemble(candidates, settings=SearchSettings(tta=("none",)), device="cpu")
    (leak,) = result.leaks
    assert (leak.candidate.name, len(leak.images)) == ("trap", 4)
    assert [variant.candidate.name for variant in result.variants] == ["honest"]
    asked = search_ensemble(
        candidates, settings=SearchSettings(tta=("none",), allow_seen=True), device="cpu"
    )
    assert [variant.candidate.name for variant in asked.variants] == ["trap", "honest"]
    assert asked.leaks == result.leaks
    with pytest.raises(
        ConfigError,
        match="every run was trained on images to choose on; give other images with --data and "
        "--split",
    ):
        search_ensemble(candidates[:1], records=result.records, device="cpu")


def test_one_patient_gives_no_interval(save_run):
    (candidate,) = open_candidates([save_run("a")])
    with pytest.raises(
        DataError, match="2 images of one patient give no interval; choose on 2 patients or more"
    ):
        search_ensemble(
            [candidate],
            records=[
                record
                for record in candidate.runs[0].val
                if record.patient == candidate.runs[0].val[0].patient
            ],
            device="cpu",
        )


def test_images_that_are_wholly_void_are_not_chosen_on(save_run, write_png):
    (candidate,) = open_candidates([save_run("a", **{"classes.void": 9})])
    first = candidate.runs[0].val[0]
    write_png(first.mask, np.full((48, 48), 9, np.uint8))
    settings = SearchSettings(tta=("none",), largest=False)
    result = search_ensemble([candidate], settings=settings, device="cpu")
    assert len(result.records) == 3
    assert first.id not in [record.id for record in result.records]


def test_images_without_masks_are_refused(save_run):
    (candidate,) = open_candidates([save_run("a")])
    records = [
        Record(record.id, record.image, None, record.patient) for record in candidate.runs[0].val
    ]
    with pytest.raises(DataError, match="has no mask; choose on a split with masks"):
        search_ensemble(
            [candidate], records=records, settings=SearchSettings(tta=("none",)), device="cpu"
        )


def test_an_estimate_by_hand():
    records = [Record(f"{number}", None, None, patient) for number, patient in enumerate("aab")]
    found = estimate(np.array([0.5, 0.75, 1.0]), np.array([0.5, 0.75, 0.25]), records, seed=0)
    assert found == Estimate(ensemble=0.75, best_member=0.5, difference=0.25, low=0.0, high=0.75)


def test_held_out_patients_are_scored_by_what_the_others_chose():
    """Candidate 0 is right on patient a, 1 on patient b; each patient is predicted by what is best
    for the other, and wrongly.
    """
    right, wrong = (
        np.array([[[0.1, 0.9]], [[0.9, 0.1]]], np.float16),
        np.array([[[0.9, 0.1]], [[0.1, 0.9]]], np.float16),
    )
    mask = np.array([[1, 0]], np.uint8)
    records = [Record("1", None, None, "a"), Record("2", None, None, "b")]
    examples = [Example(record, None, mask) for record in records]
    pool = CandidatePool([[right, wrong], [wrong, right]], examples, TWO)
    found = held_out_estimate(pool, SearchSettings())
    assert (found.ensemble, found.best_member, found.difference) == (0, 0, 0)
    pool = CandidatePool([[right, right], [wrong, right]], examples, TWO)
    assert held_out_estimate(pool, SearchSettings()).ensemble == 1
