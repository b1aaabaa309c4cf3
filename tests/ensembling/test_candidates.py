import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from acdc_seg.data.images import read_image
from acdc_seg.data.record import Record
from acdc_seg.ensembling.candidates import common_validation, open_units, predict_unit
from acdc_seg.errors import CheckpointError, ConfigError, DataError
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import TTA

FOLDS = {"data.num_folds": 2}


def quiet(what, done, total):
    pass


def ids(records):
    return [record.id for record in records]


def patients(records):
    return sorted({record.patient for record in records})


def test_a_run_is_a_unit_of_its_own(save_run):
    first, second = open_units([save_run("a"), save_run("b", seed=1)])
    assert (first.name, second.name, len(first.runs)) == ("a", "b", 1)
    records = common_validation([first, second])
    assert len(records) == 4
    assert ids(records) == ids(first.runs[0].val) == ids(second.runs[0].val)
    assert first.seen(records) == []
    assert ids(first.seen(first.runs[0].train)) == ids(first.runs[0].train)


def test_fold_runs_of_one_recipe_are_one_unit(save_run):
    runs = [
        save_run(f"unet-fold{fold}", seed=fold, **FOLDS, **{"data.fold": fold}) for fold in (0, 1)
    ]
    other = save_run("slow-fold0", **FOLDS, **{"data.fold": 0, "optimizer.lr": 0.5})
    again = save_run("unet-again", **FOLDS, **{"data.fold": 1})
    units = open_units([runs[0], other, runs[1], again])
    assert [(unit.name, [run.folder for run in unit.runs]) for unit in units] == [
        ("unet-fold", runs),
        ("slow-fold0", [other]),
        ("unet-again", [again]),
    ]
    unit = units[0]
    assert len(unit.validated()) == 8
    for record in unit.validated().values():
        (witness,) = unit.witnesses(record)
        assert record.patient in patients(witness.val)
    assert unit.seen(unit.validated().values()) == []


def test_units_are_compared_on_what_all_of_them_held_out(save_run):
    folds = [save_run(f"fold{fold}", **FOLDS, **{"data.fold": fold}) for fold in (0, 1)]
    single = save_run("single")
    together = common_validation(open_units([*folds, single]))
    assert len(together) == 4
    assert patients(together) == patients(open_units([single])[0].runs[0].val)


def test_a_run_trained_on_everything_has_no_say_and_is_found_out(save_run):
    single, trap = open_units([save_run("single"), save_run("trap", **{"data.validation": False})])
    for units in ([single, trap], [trap, single]):
        records = common_validation(units)
        assert sorted(ids(records)) == sorted(ids(single.runs[0].val))
        assert single.seen(records) == []
        assert ids(trap.seen(records)) == ids(records)
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
    (single,) = open_units([save_run("single")])
    held_out = single.runs[0].val
    copy = tmp_path / "copy"
    for number, record in enumerate([held_out[0], *single.runs[0].train]):
        for kind, path, end in (("image", record.image, ""), ("mask", record.mask, "_mask")):
            target = copy / ("train" if number == 0 else "val") / kind / f"scan{number}{end}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (trap,) = open_units([save_run("trap", **{"data.path": str(copy)})])
    assert ids(trap.seen(held_out)) == [held_out[0].id]


def test_another_slice_of_a_training_patient_counts_as_seen(save_run, tmp_path):
    (unit,) = open_units([save_run("single")])
    run = unit.runs[0]
    other_slice = replace(run.val[0], patient=run.train[0].patient)
    assert run.saw(other_slice)
    shutil.copy(
        other_slice.image, tmp_path / "elsewhere.png"
    )  # of another data set, whose patients bear the same names
    assert not run.saw(replace(other_slice, image=tmp_path / "elsewhere.png"))


def test_each_image_is_predicted_out_of_fold_once(save_run, monkeypatch):
    paths = [save_run(f"fold{fold}", seed=fold, **FOLDS, **{"data.fold": fold}) for fold in (0, 1)]
    (unit,) = open_units(paths)
    records = list(unit.validated().values())[::-1]
    progress = []
    arrays = predict_unit(
        unit, records, tta="flips", on_progress=lambda *each: progress.append(each)
    )
    assert progress[-1] == ("fold1, flips", 4, 4)
    for record, array in zip(records, arrays, strict=True):
        (witness,) = unit.witnesses(record)
        expected = TTA(load_predictor(witness.folder, device="cpu"), views="flips")(
            read_image(record.image)
        )
        assert (array.dtype, array.shape) == (np.float16, (4, 48, 48))
        np.testing.assert_allclose(array, expected, atol=1e-3)
    monkeypatch.setattr("acdc_seg.ensembling.candidates.load_predictor", None)
    for again, array in zip(
        predict_unit(unit, records, tta="flips", on_progress=quiet), arrays, strict=True
    ):
        np.testing.assert_array_equal(again, array)


def test_images_new_to_all_folds_are_predicted_by_all(save_run, write_png, tmp_path):
    paths = [save_run(f"fold{fold}", seed=fold, **FOLDS, **{"data.fold": fold}) for fold in (0, 1)]
    (unit,) = open_units(paths)
    new = write_png(
        tmp_path / "new.png", np.random.default_rng(0).integers(0, 256, (40, 36), np.uint8)
    )
    (array,) = predict_unit(unit, [Record("new", new, None, "new")], tta="none", on_progress=quiet)
    both = [load_predictor(path, device="cpu")(read_image(new)) for path in paths]
    np.testing.assert_allclose(array, np.mean(both, axis=0), atol=1e-3)
    assert [len(list((path / "probabilities").glob("*/none.npy"))) for path in paths] == [1, 1]


def test_what_cannot_be_a_member_is_named(save_run, tmp_path):
    run = save_run("a")
    with pytest.raises(ConfigError, match=r"best\.pt: a file; give the run's folder"):
        open_units([run / "best.pt"])
    with pytest.raises(CheckpointError, match="gone: cannot read the checkpoint"):
        open_units([tmp_path / "gone"])
    other = save_run("other", **{"classes.names": ["background", "right", "wall", "left"]})
    with pytest.raises(
        ConfigError,
        match=r"runs/other, .*runs/a: the models do not share their classes: background, right, "
        r"wall, left",
    ):
        open_units([run, other])


def test_data_divided_otherwise_than_in_training_is_refused(save_run):
    run = save_run("a")
    held_out = patients(open_units([run])[0].runs[0].val)
    (run / "run.json").write_text(json.dumps({"val_patients": held_out}))
    assert len(open_units([run])) == 1
    (run / "run.json").write_text(json.dumps({"val_patients": ["patient000"]}))
    with pytest.raises(
        DataError,
        match="does not validate on the patients that the run was validated on; restore the data, "
        "or train",
    ):
        open_units([run])
