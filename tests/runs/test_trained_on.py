import shutil
from dataclasses import replace

from tiny_runs import open_data, train_run

from acdc_seg.config import from_dict, to_dict, with_overrides
from acdc_seg.files import sha256_file
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.runs.trained_on import TrainedOn, find_seen, training_images, union
from acdc_seg.training.loop import Hooks


def test_a_checkpoint_says_what_trained_it(tiny_config, paired_folder):
    _, run = train_run(tiny_config)
    (part,) = load_checkpoint(run.best).trained_on
    assert part.data == part.root == str(paired_folder)
    assert part.patients == ("patient001", "patient002")
    images = sorted((paired_folder / "train" / "image").iterdir())
    assert part.images == tuple(sorted(map(sha256_file, images)))
    assert load_checkpoint(run.last).trained_on == (part,)


def test_what_pretrained_a_run_travels_along(tiny_config, paired_folder, tmp_path):
    tree = {**to_dict(tiny_config), "model": {"name": "deeplab_mobilenet"}}
    config = with_overrides(from_dict(tree), {"train.epochs": 1})
    other = shutil.copytree(paired_folder, tmp_path / "other")
    (other / "train").rename(other / "held-out")
    (other / "val").rename(other / "train")
    (other / "held-out").rename(other / "val")
    _, first = train_run(config, "first", changes={"data.path": str(other)})
    notices = []
    changes = {"model.pretrained": str(first.best)}
    _, second = train_run(config, "second", changes=changes, hooks=Hooks(on_notice=notices.append))
    parts = load_checkpoint(second.best).trained_on
    assert [part.patients for part in parts] == [("patient003",), ("patient001", "patient002")]
    assert "trained on 2 of the 2 validation images" in notices[0]


def test_images_are_known_by_their_bytes_and_patients_by_their_images(tiny_config, tmp_path):
    source = open_data(tiny_config)
    trained_on = [training_images(source, tiny_config.data)]
    train, val = source.split("train"), source.split("val")
    assert find_seen(train, trained_on) == train
    assert find_seen(val, trained_on) == []
    elsewhere = [
        replace(record, image=tmp_path / "moved" / f"scan{number}.png", patient="A")
        for number, record in enumerate([train[0], val[0]])
    ]
    (tmp_path / "moved").mkdir()
    for old, new in zip([train[0], val[0]], elsewhere, strict=True):
        shutil.copy(old.image, new.image)
    assert find_seen(elsewhere[1:], trained_on) == []
    assert find_seen(elsewhere[1:], trained_on, siblings=elsewhere) == elsewhere[1:]
    same_name = [replace(elsewhere[1], patient=train[0].patient)]
    assert find_seen(same_name, trained_on) == []
    assert find_seen(same_name, trained_on, data=trained_on[0].data) == same_name


def test_a_set_of_images_is_counted_once():
    part = TrainedOn("a", "a", ("p",), ("1", "2"))
    assert union(part, replace(part, data="moved"), TrainedOn("b", "b", ("p",), ("3",))) == (
        replace(part, data="moved"),
        TrainedOn("b", "b", ("p",), ("3",)),
    )
    assert TrainedOn.from_dict(part.to_dict()) == part
