import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from acdc_seg.data.images import read_image
from acdc_seg.data.record import Record
from acdc_seg.data.source import open_source
from acdc_seg.ensembling.candidates import common_validation, open_candidates, predict_candidate
from acdc_seg.errors import CheckpointError, ConfigError, DataError
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import TTA
from acdc_seg.runs.checkpoint import load_checkpoint

FOLDS = {"data.num_folds": 2}


def quiet(what, done, total):
    pass


def training_records(candidate):
    config = candidate.runs[0].config
    return open_source(config.data, prepare_settings=config.prepare).split("train")


def ids(records):
    return [record.id for record in records]


def patients(records):
    return sorted({record.patient for record in records})


def test_a_run_is_a_candidate(save_run):
    first, second = open_candidates([save_run("a"), save_run("b", seed=1)])
    assert (first.name, second.name, len(first.runs)) == ("a", "b", 1)
    records = common_validation([first, second])
    assert len(records) == 4
    assert ids(records) == ids(first.runs[0].val) == ids(second.runs[0].val)
    assert first.leaked(records) == []
    trained = training_records(first)
    assert len(trained) == 4
    assert first.leaked(trained) == trained


def test_fold_runs_of_one_recipe_are_one_candidate(save_run):
    runs = [
        save_run(f"unet-fold{fold}", seed=fold, **FOLDS, **{"data.fold": fold}) for fold in (0, 1)
    ]
    other = save_run("slow-fold0", **FOLDS, **{"data.fold": 0, "optimizer.lr": 0.5})
    again = save_run("unet-again", **FOLDS, **{"data.fold": 1})
    candidates = open_candidates([runs[0], other, runs[1], again])
    assert [
        (candidate.name, [run.folder for run in candidate.runs]) for candidate in candidates
    ] == [
        ("unet-fold", runs),
        ("slow-fold0", [other]),
        ("unet-again", [again]),
    ]
    candidate = candidates[0]
    assert len(candidate.validated()) == 8
    records = list(candidate.validated().values())
    for record, (run,) in zip(records, candidate.out_of_fold_runs(records), strict=True):
        assert record.patient in patients(run.val)
    assert candidate.leaked(records) == []


def test_candidates_are_compared_on_the_images_that_all_of_them_held_out(save_run):
    folds = [save_run(f"fold{fold}", **FOLDS, **{"data.fold": fold}) for fold in (0, 1)]
    single = save_run("single")
    together = common_validation(open_candidates([*folds, single]))
    assert len(together) == 4
    assert patients(together) == patients(open_candidates([single])[0].runs[0].val)


def test_a_run_trained_on_everything_is_not_counted_and_its_leakage_is_found(save_run):
    single, trap = open_candidates(
        [save_run("single"), save_run("trap", **{"data.validation": False})]
    )
    for candidates in ([single, trap], [trap, single]):
        records = common_validation(candidates)
        assert sorted(ids(records)) == sorted(ids(single.runs[0].val))
        assert single.leaked(records) == []
        assert ids(trap.leaked(records)) == ids(records)
    with pytest.raises(
        DataError,
        match="none of these runs validated on any image; say what to choose on with --data and "
        "--split",
    ):
        common_validation([trap])


def test_training_images_are_recognised_under_other_names(save_run, shared_folder, tmp_path):
    """The trap was trained on a copy with other names, of which one image is in the single run's
    validation.
    """
    (single,) = open_candidates([save_run("single")])
    held_out = single.runs[0].val
    copy = tmp_path / "copy"
    for number, record in enumerate([held_out[0], *training_records(single)]):
        for kind, path, end in (("image", record.image, ""), ("mask", record.mask, "_mask")):
            target = copy / ("train" if number == 0 else "val") / kind / f"scan{number}{end}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (trap,) = open_candidates([save_run("trap", **{"data.path": str(copy)})])
    other_slice = next(
        record for record in held_out[1:] if record.patient == held_out[0].patient
    )  # named otherwise in the copy, yet of a patient that was trained on
    assert ids(trap.leaked(held_out)) == [held_out[0].id, other_slice.id]


def test_images_that_pretrained_a_run_count_as_leaked(save_run):
    (honest,) = open_candidates([save_run("honest")])
    other_fold = save_run("other", **FOLDS, **{"data.fold": 0})
    held_out = open_candidates([other_fold])[0].runs[0].val
    assert honest.leaked(held_out) != list(held_out)
    everything = load_checkpoint(save_run("all", **{"data.validation": False}) / "best.pt")
    folds = [
        save_run(
            f"tuned-fold{fold}",
            pretrained_on=everything.trained_on,
            **FOLDS,
            **{"data.fold": fold},
        )
        for fold in (0, 1)
    ]
    (tuned,) = open_candidates(folds)
    assert tuned.leaked(held_out) == list(held_out)


def test_another_slice_of_a_training_patient_counts_as_leaked(save_run, tmp_path):
    (candidate,) = open_candidates([save_run("single")])
    run = candidate.runs[0]
    other_slice = replace(run.val[0], patient=training_records(candidate)[0].patient)
    assert run.seen([other_slice]) == [other_slice]
    shutil.copy(
        other_slice.image, tmp_path / "elsewhere.png"
    )  # of another data set, whose patients bear the same names
    assert run.seen([replace(other_slice, image=tmp_path / "elsewhere.png")]) == []


def test_each_image_is_predicted_out_of_fold_once(save_run, monkeypatch):
    paths = [save_run(f"fold{fold}", seed=fold, **FOLDS, **{"data.fold": fold}) for fold in (0, 1)]
    (candidate,) = open_candidates(paths)
    records = list(candidate.validated().values())[::-1]
    progress = []
    arrays = predict_candidate(
        candidate, records, tta="flips", on_progress=lambda *each: progress.append(each)
    )
    assert progress[-1] == ("fold1, flips", 4, 4)
    for record, array in zip(records, arrays, strict=True):
        ((run,),) = candidate.out_of_fold_runs([record])
        expected = TTA(load_predictor(run.folder, device="cpu"), views="flips")(
            read_image(record.image)
        )
        assert (array.dtype, array.shape) == (np.float16, (4, 48, 48))
        np.testing.assert_allclose(array, expected, atol=1e-3)
    monkeypatch.setattr("acdc_seg.ensembling.candidates.load_predictor", None)
    for again, array in zip(
        predict_candidate(candidate, records, tta="flips", on_progress=quiet), arrays, strict=True
    ):
        np.testing.assert_array_equal(again, array)


def test_images_new_to_all_folds_are_predicted_by_all(save_run, write_png, tmp_path):
    paths = [save_run(f"fold{fold}", seed=fold, **FOLDS, **{"data.fold": fold}) for fold in (0, 1)]
    (candidate,) = open_candidates(paths)
    new = write_png(
        tmp_path / "new.png", np.random.default_rng(0).integers(0, 256, (40, 36), np.uint8)
    )
    (array,) = predict_candidate(
        candidate, [Record("new", new, None, "new")], tta="none", on_progress=quiet
    )
    both = [load_predictor(path, device="cpu")(read_image(new)) for path in paths]
    np.testing.assert_allclose(array, np.mean(both, axis=0), atol=1e-3)
    assert [len(list((path / "probabilities").glob("*/none.npy"))) for path in paths] == [1, 1]


def test_paths_that_cannot_be_members_are_named(save_run, tmp_path):
    run = save_run("a")
    with pytest.raises(ConfigError, match=r"best\.pt: a file; give the run's folder"):
        open_candidates([run / "best.pt"])
    with pytest.raises(CheckpointError, match="gone: cannot read the checkpoint"):
        open_candidates([tmp_path / "gone"])
    other = save_run("other", **{"classes.names": ["background", "right", "wall", "left"]})
    with pytest.raises(
        ConfigError,
        match=r"runs/other, .*runs/a: the models do not share their classes: background, right, "
        r"wall, left",
    ):
        open_candidates([run, other])


def test_data_divided_otherwise_than_in_training_is_refused(save_run):
    run = save_run("a")
    held_out = patients(open_candidates([run])[0].runs[0].val)
    (run / "run.json").write_text(json.dumps({"val_patients": held_out}))
    assert len(open_candidates([run])) == 1
    (run / "run.json").write_text(json.dumps({"val_patients": ["patient000"]}))
    with pytest.raises(
        DataError,
        match="does not validate on the patients that the run was validated on; restore the data, "
        "or train",
    ):
        open_candidates([run])
