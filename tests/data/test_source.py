import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from acdc_seg.config import DataConfig, PrepareConfig
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.data.source import open_source
from acdc_seg.errors import ConfigError, DataError

PIXELS = np.zeros((4, 4), np.uint8)


def open_folder(path, **settings):
    return open_source(DataConfig(path=str(path), **settings), prepare_settings=PrepareConfig())


@pytest.fixture
def flat_folder(tmp_path, write_png):
    """Twelve images of six patients, two each, without split folders."""
    for number in range(12):
        stem = f"patient{number // 2:03d}_{number % 2}"
        write_png(tmp_path / "flat" / "image" / f"{stem}.png", PIXELS)
        write_png(tmp_path / "flat" / "mask" / f"{stem}_mask.png", PIXELS)
    return tmp_path / "flat"


def patients(source, split):
    return {record.patient for record in source.split(split)}


def test_split_folders_stay_as_they_are(paired_folder):
    source = open_folder(paired_folder)
    assert (source.kind, source.root) == ("paired", paired_folder)
    assert [len(source.split(split)) for split in ("train", "val", "test")] == [4, 2, 2]
    assert patients(source, "val") == {"patient003"}


@pytest.mark.parametrize("seed", range(5))
def test_without_a_val_folder_whole_patients_validate(flat_folder, seed):
    source = open_folder(flat_folder, val_fraction=0.34, split_seed=seed)
    assert len(patients(source, "val")) == 2
    assert len(source.split("val")) == 4
    assert patients(source, "train").isdisjoint(patients(source, "val"))
    assert len(source.records) == 12


def test_notes_tell_what_was_found_and_who_validates(flat_folder, paired_folder):
    folders = "Images in image/, masks in mask/ named NAME_mask for NAME"
    example = "(e.g. patient00{0} of patient00{0}_0)"
    rule = f"Patients: patientNNN {example}; data.patient_rule=... to change"
    assert open_folder(flat_folder, val_fraction=0.34).notes == (
        folders,
        rule.format(0),
        "no val folder: 2 of 6 patients validate (data.val_fraction, data.split_seed)",
    )
    notes = (f"{folders}, splits train, val, test", rule.format(1))
    assert open_folder(paired_folder).notes == notes
    assert open_folder(paired_folder, num_folds=2, fold=0).notes == notes


def test_images_of_one_stem_are_not_spread_over_splits_silently(tmp_path, write_png):
    for case in range(6):
        for number in range(5):
            stem = f"case{case:02d}_slice{number:02d}"
            write_png(tmp_path / "images" / f"{stem}.png", PIXELS)
            write_png(tmp_path / "masks" / f"{stem}.png", PIXELS)
    with pytest.raises(
        DataError, match=r"images whose names share a stem, as .* may be of one patient"
    ) as caught:
        open_folder(tmp_path)
    rule = r"(case\d+)_"
    assert caught.value.settings == (f"data.patient_rule={rule}", "data.patient_rule=each")
    source = open_folder(tmp_path, patient_rule=rule)
    assert len(patients(source, "train")) == 5
    assert len(patients(source, "val")) == 1


def test_the_split_of_a_table_counts(flat_folder):
    lines = [
        f"patient{number // 2:03d}_{number % 2},{'test' if number > 7 else 'train'}\n"
        for number in range(12)
    ]
    (flat_folder / "records.csv").write_text("id,split\n" + "".join(lines))
    source = open_folder(flat_folder)
    assert patients(source, "test") == {"patient004", "patient005"}
    assert source.own_splits == ("test", "train")


def test_prepared_slices_are_read_whatever_names_the_settings_give(tmp_path):
    synthesize(tmp_path / "tree", num_patients=2, num_test_patients=0)
    config = DataConfig(path=str(tmp_path / "tree"), image_dir="scans", mask_pattern="{stem}_gt")
    source = open_source(
        config, prepare_settings=PrepareConfig(slices="mid"), work_dir=tmp_path / "work"
    )
    assert len(source.records) == 4
    assert all(record.mask for record in source.records)


def test_the_split_depends_on_its_seed_alone(flat_folder):
    found = [
        patients(open_folder(flat_folder, split_seed=seed), "val") for seed in (0, 0, 1, 2, 3, 4)
    ]
    assert found[0] == found[1]
    assert len({frozenset(each) for each in found}) > 1


def test_test_patients_never_validate(paired_folder):
    for path in (paired_folder / "val").rglob("*.png"):
        path.rename(str(path).replace("/val/", "/train/"))
    source = open_folder(paired_folder, val_fraction=0.4)
    assert patients(source, "test") == {"patient004"}
    assert len(patients(source, "val")) == 1
    assert patients(source, "train") | patients(source, "val") == {
        "patient001",
        "patient002",
        "patient003",
    }


def test_test_folders_alone_are_a_source(paired_folder):
    source = open_folder(paired_folder / "test")
    assert source.split("test") == []
    for path in paired_folder.glob("*/*/*.png"):
        if path.parts[-3] != "test":
            path.unlink()
    assert len(open_folder(paired_folder).split("test")) == 2


def test_the_digest_is_that_of_content_and_split(paired_folder, write_png):
    before = open_folder(paired_folder).digest()
    assert open_folder(paired_folder).digest() == before
    path = paired_folder / "train" / "mask" / "patient001_0_mask.png"
    write_png(path, np.zeros((48, 48), np.uint8))
    changed = open_folder(paired_folder).digest()
    for kind, end, number in [
        (kind, end, number) for kind, end in (("image", ""), ("mask", "_mask")) for number in (0, 1)
    ]:
        name = f"{kind}/patient002_{number}{end}.png"
        (paired_folder / "train" / name).rename(paired_folder / "val" / name)
    assert len({before, changed, open_folder(paired_folder).digest()}) == 3


def test_a_folder_of_no_known_format_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no files, not recognized as table"):
        open_folder(tmp_path)
    with pytest.raises(DataError, match="no images in images/"):
        open_folder(tmp_path, format="paired")


def test_without_a_path_a_phantom_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr("acdc_seg.data.source.PHANTOM_PATIENTS", 3)
    monkeypatch.setattr("acdc_seg.data.source.synthesize", partial(synthesize, num_test_patients=1))
    settings, done = PrepareConfig(slices="mid"), []

    def open_phantom():
        return open_source(
            DataConfig(),
            prepare_settings=settings,
            work_dir=tmp_path,
            on_progress=lambda what, count, total: done.append((what, count, total)),
        )

    source = open_phantom()
    assert source.kind == "phantom"
    assert len(source.records) == (3 + 1) * 2
    assert patients(source, "train").isdisjoint(patients(source, "val"))
    assert {record.phase for record in source.records} == {"ED", "ES"}
    assert all(record.spacing == pytest.approx((1.8, 1.8), abs=0.05) for record in source.records)
    assert patients(source, "test").isdisjoint(patients(source, "train") | patients(source, "val"))
    assert "phantom patients" in {what for what, _, _ in done}
    done.clear()
    assert open_phantom().digest() == source.digest()
    assert done == []


def test_processes_that_start_together_make_it_once(tmp_path, monkeypatch):
    """Each opens the folder for itself, as processes do."""
    made, together = [], Barrier(2)

    def synthesize_slowly(out, **options):
        made.append(out)
        time.sleep(0.2)
        synthesize(out, num_patients=2, num_test_patients=0)

    def open_phantom(_):
        together.wait()
        return open_source(
            DataConfig(), prepare_settings=PrepareConfig(slices="mid"), work_dir=tmp_path
        ).digest()

    monkeypatch.setattr("acdc_seg.data.source.synthesize", synthesize_slowly)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(open_phantom, range(2))
    assert first == second
    assert made == [tmp_path / "builtin-phantom"]


def test_one_patient_in_two_splits_is_refused(paired_folder):
    for kind, name in (("image", "patient001_0.png"), ("mask", "patient001_0_mask.png")):
        (paired_folder / "train" / kind / name).rename(paired_folder / "val" / kind / name)
    with pytest.raises(DataError, match=r"'patient001' is in train and in val.*data\.patient_rule"):
        open_folder(paired_folder)


def test_a_changed_tree_is_cut_again(tmp_path):
    synthesize(tmp_path / "tree", num_patients=2, num_test_patients=0)
    config = DataConfig(path=str(tmp_path / "tree"))
    done = []

    def open_tree():
        done.clear()
        note = lambda what, count, total: done.append(what)  # noqa: E731
        return open_source(
            config,
            prepare_settings=PrepareConfig(slices="mid"),
            work_dir=tmp_path / "work",
            on_progress=note,
        )

    before = open_tree()
    assert open_tree().root == before.root
    assert done == []
    info = tmp_path / "tree/training/patient001/Info.cfg"
    info.write_text(info.read_text().replace("NOR", "RV"))
    assert open_tree().root != before.root
    assert set(done) == {"volumes cut into slices"}


def split_of_images(source, split):
    return [record.id for record in source.split(split)]


def test_every_labelled_patient_validates_once_over_the_folds(paired_folder):
    sources = [open_folder(paired_folder, num_folds=3, fold=fold) for fold in range(3)]
    assert sorted(patient for source in sources for patient in patients(source, "val")) == [
        "patient001",
        "patient002",
        "patient003",
    ]
    for source in sources:
        assert patients(source, "train") == {"patient001", "patient002", "patient003"} - patients(
            source, "val"
        )
        assert [len(source.split(split)) for split in ("train", "val", "test")] == [4, 2, 2]
        assert patients(source, "test") == {"patient004"}


def test_folds_divide_a_folder_without_splits_by_their_seed(flat_folder):
    found = [
        [
            patients(open_folder(flat_folder, num_folds=2, fold=fold, split_seed=seed), "val")
            for fold in (0, 1)
        ]
        for seed in range(6)
    ]
    for first, second in found:
        assert (len(first), len(second)) == (3, 3)
        assert first.isdisjoint(second)
    assert len({frozenset(first) for first, _ in found}) > 1


def test_known_groups_are_spread_over_the_folds(flat_folder):
    group_of = {f"patient{number:03d}": "DCM" if number < 3 else "NOR" for number in range(6)}
    lines = [
        f"{patient}_{number},{group}\n" for patient, group in group_of.items() for number in (0, 1)
    ]
    (flat_folder / "records.csv").write_text("id,group\n" + "".join(lines))
    for seed in range(4):
        for fold in range(3):
            val = patients(open_folder(flat_folder, num_folds=3, fold=fold, split_seed=seed), "val")
            assert sorted(group_of[patient] for patient in val) == ["DCM", "NOR"]


def test_folds_and_the_digest_depend_on_the_images_alone(paired_folder):
    """Whether a patient is in the folder train or val makes no difference to the folds."""
    settings = [{}, {"validation": False}, *({"num_folds": 3, "fold": fold} for fold in range(3))]
    opened = [open_folder(paired_folder, **each) for each in settings]
    assert len({source.digest() for source in opened}) == 1
    for path in (paired_folder / "train").rglob("patient001*"):
        path.rename(str(path).replace("/train/", "/val/"))
    moved = [open_folder(paired_folder, **each) for each in settings]
    for before, after in list(zip(opened, moved, strict=True))[1:]:
        for split in ("train", "val"):
            assert split_of_images(before, split) == split_of_images(after, split)


def test_without_validation_all_patients_outside_test_train(paired_folder):
    for settings in ({"validation": False}, {"validation": False, "val_fraction": 0.5}):
        source = open_folder(paired_folder, **settings)
        assert split_of_images(source, "train") == [
            f"patient00{patient}_{number}" for patient in (1, 2, 3) for number in (0, 1)
        ]
        assert source.split("val") == []
        assert patients(source, "test") == {"patient004"}


def test_more_folds_than_patients(paired_folder):
    with pytest.raises(
        ConfigError,
        match=r"num_folds=4 must be between 2 and the number of patients, 3; choose another "
        r"data\.num_folds",
    ):
        open_folder(paired_folder, num_folds=4, fold=0)


def test_test_images_alone_need_no_folds(paired_folder):
    for path in paired_folder.glob("*/*/*.png"):
        if path.parts[-3] != "test":
            path.unlink()
    assert len(open_folder(paired_folder, num_folds=5, fold=0).split("test")) == 2


def test_a_link_to_nowhere_in_a_tree_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthesize(tmp_path / "tree", num_patients=2, num_test_patients=0)
    (tmp_path / "tree" / "training" / "notes.txt").symlink_to("gone.txt")
    assert open_folder(tmp_path / "tree").split("train")


def test_slices_are_cut_again_by_another_version_but_not_after_a_move(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthesize(tmp_path / "tree", num_patients=2, num_test_patients=0)
    first = open_folder(tmp_path / "tree").root
    (tmp_path / "tree").rename(tmp_path / "moved")
    (tmp_path / "moved" / "tree").mkdir()
    (tmp_path / "moved" / "training").rename(tmp_path / "moved" / "tree" / "training")
    assert open_folder(tmp_path / "moved" / "tree").root == first
    monkeypatch.setattr("acdc_seg.data.source.SLICING_VERSION", 99)
    assert open_folder(tmp_path / "moved" / "tree").root != first


def test_a_file_that_vanishes_is_named_by_the_digest(paired_folder):
    source = open_folder(paired_folder)
    source.split("train")[0].image.unlink()
    with pytest.raises(DataError, match=r"patient001_0\.png: cannot read the file"):
        source.digest()


def test_the_working_folder_is_set_by_the_environment(tmp_path, monkeypatch):
    """A tree in data/phantom, which nobody asked for, is not trained on."""
    made = []

    def stop(folder, **options):
        made.append(folder)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("acdc_seg.data.source.synthesize", stop)
    (tmp_path / "data" / "phantom").mkdir(parents=True)
    for folder in (None, tmp_path / "elsewhere"):
        if folder:
            monkeypatch.setenv("ACDC_WORK_DIR", str(folder))
        with pytest.raises(KeyboardInterrupt):
            open_source(DataConfig(), prepare_settings=PrepareConfig())
    assert made == [Path("data/builtin-phantom"), tmp_path / "elsewhere" / "builtin-phantom"]


def test_a_frame_inside_the_whole_beat_is_cut_from_it(tmp_path):
    synthesize(tmp_path / "tree", num_patients=2, num_test_patients=0, cine=True)
    config, settings = DataConfig(path=str(tmp_path / "tree")), PrepareConfig(slices="mid")
    before = open_source(config, prepare_settings=settings, work_dir=tmp_path / "work")
    for path in (tmp_path / "tree").rglob("*_frame??.nii.gz"):
        path.unlink()
    after = open_source(config, prepare_settings=settings, work_dir=tmp_path / "work")
    assert after.root != before.root
    assert after.digest() == before.digest()
