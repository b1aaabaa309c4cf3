import os
import pickle
import re
import resource
import zipfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch

from acdc_seg.config import load_config, to_dict
from acdc_seg.errors import AcdcError, AcdcWarning, CheckpointError
from acdc_seg.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

CONFIG = load_config(model="deeplab_drn", overrides=["data.size=[64, 96]", "name=größe"])
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}
CHECKPOINT = Checkpoint(config=CONFIG, weights=WEIGHTS, epoch=3, dice=0.75, data="paired")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "größe 1" / "best.pt"


def content_of(path):
    return torch.load(path, weights_only=True)


def test_round_trip(path):
    save_checkpoint(path, CHECKPOINT)
    loaded = load_checkpoint(path)
    assert (loaded.config, loaded.epoch, loaded.dice, loaded.data, loaded.training) == (
        CONFIG,
        3,
        0.75,
        "paired",
        None,
    )
    assert loaded.weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded.weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert [each.name for each in path.parent.iterdir()] == ["best.pt"]


def test_images_of_networks_from_before_there_was_a_choice_are_stretched(path):
    save_checkpoint(path, CHECKPOINT)
    content = content_of(path)
    del content["config"]["data"]["fit"]
    torch.save(content, path)
    assert load_checkpoint(path).config.data.fit == "stretch"
    content["config"]["data"]["size"] = None
    torch.save(content, path)
    assert load_checkpoint(path).config.data.fit == "auto"


def test_the_training_state_is_kept(path):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    training = {
        "optimizer": optimizer.state_dict(),
        "epoch": 2,
        "scaler": None,
        "history": [{"dice": 0.5, "epoch": 1}],
    }
    save_checkpoint(
        path,
        Checkpoint(
            config=CONFIG, weights=WEIGHTS, epoch=2, dice=0.5, data="acdc", training=training
        ),
    )
    loaded = load_checkpoint(path).training
    assert (loaded["epoch"], loaded["scaler"], loaded["history"]) == (
        2,
        None,
        [{"dice": 0.5, "epoch": 1}],
    )
    assert torch.equal(
        loaded["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )


def test_the_file_describes_itself(path):
    save_checkpoint(path, CHECKPOINT)
    content = content_of(path)
    assert content["format"] == 4
    assert content["classes"] == {"background": 0, "rv": 1, "myo": 2, "lv": 3}
    assert content["config"]["model"]["name"] == "deeplab_drn"


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n", b"a" * 5000, b"PK\x03\x04", b".", b"\x80\x02.", bytes(range(256)) * 20],
)
def test_what_is_no_checkpoint_is_refused(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError,
        match=r"best\.pt: not a checkpoint, or a damaged one; give a run folder or its best\.pt",
    ):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [{"a": torch.ones(1)}, [1, 2], {"format": 1, "weights": {}}])
def test_other_torch_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(
        CheckpointError, match=r"other\.pt: a torch file, but not a checkpoint of acdc_seg"
    ):
        load_checkpoint(tmp_path / "other.pt")


def test_other_archives_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(CheckpointError, match="not a checkpoint, or a damaged one"):
        load_checkpoint(tmp_path / "a.zip")


def test_damage_is_noticed_in_every_part_that_counts(path):
    save_checkpoint(path, CHECKPOINT)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    with zipfile.ZipFile(path) as archive:
        parts = [(part.header_offset, part.file_size) for part in archive.infolist()]
    for (start, size), (end, _) in zip(parts, [*parts[1:], (None, 0)], strict=True):
        content = len(whole[:end].rstrip(b"\0")) if end is None else end
        for place in rng.integers(start, max(start + 1, content), size=8 if size else 0):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << rng.integers(8)
            path.write_bytes(flipped)
            assert_refused_or_same(path)
    for place in (*rng.integers(len(whole), size=40), len(whole) - 1):
        path.write_bytes(whole[:place])
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            load_checkpoint(path)


def assert_refused_or_same(path):
    """Bits of names, times and padding do not matter; a bit of any value does."""
    with suppress(CheckpointError):
        loaded = load_checkpoint(path)
        assert loaded.config == CHECKPOINT.config
        assert loaded.weights.keys() == CHECKPOINT.weights.keys()
        for name, value in CHECKPOINT.weights.items():
            assert torch.equal(loaded.weights[name], value)


def test_a_flipped_bit_of_a_weight_is_named(path):
    save_checkpoint(path, CHECKPOINT)
    (weight, *_) = CHECKPOINT.weights.values()
    content, whole = weight.numpy().tobytes(), bytearray(path.read_bytes())
    whole[whole.index(content) + len(content) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(
        CheckpointError, match=r"best\.pt: damaged, the checksum of \S+ does not fit"
    ):
        load_checkpoint(path)


def test_the_one_before_is_kept_and_serves_where_the_last_is_damaged_or_missing(path):
    for epoch in (1, 2, 3):
        save_checkpoint(path, replace(CHECKPOINT, epoch=epoch))
    assert sorted(each.name for each in path.parent.iterdir()) == ["best.previous.pt", "best.pt"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    with pytest.warns(
        AcdcWarning,
        match=r"best\.pt: not a checkpoint, or a damaged one.*\n.*best\.previous\.pt, epoch 2",
    ):
        assert load_checkpoint(path).epoch == 2
    path.unlink()
    with pytest.warns(AcdcWarning, match=r"best\.pt: cannot read the checkpoint \(No such file"):
        assert load_checkpoint(path).epoch == 2
    path.write_bytes(whole)
    assert load_checkpoint(path).epoch == 3


def test_a_foreign_file_is_not_replaced_by_the_one_before(path):
    for epoch in (1, 2):
        save_checkpoint(path, replace(CHECKPOINT, epoch=epoch))
    torch.save({**content_of(path), "format": 7}, path)
    with pytest.raises(CheckpointError, match="checkpoint format 7"):
        load_checkpoint(path)


def test_where_both_are_damaged_the_one_before_is_named(path):
    for epoch in (1, 2):
        save_checkpoint(path, replace(CHECKPOINT, epoch=epoch))
    for each in path.parent.iterdir():
        each.write_bytes(each.read_bytes()[:-1])
    with pytest.raises(
        CheckpointError, match=r"best\.previous\.pt: not a checkpoint, or a damaged one"
    ):
        load_checkpoint(path)


def test_absent_files_and_folders_are_named(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"gone\.pt: cannot read the checkpoint \(No such file"
    ):
        load_checkpoint(tmp_path / "gone.pt")
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("version", [2, 7])
def test_other_formats_are_refused(path, version):
    save_checkpoint(path, CHECKPOINT)
    torch.save({**content_of(path), "format": version}, path)
    with pytest.raises(
        CheckpointError,
        match=rf"best\.pt: checkpoint format {version}, this version reads 4; install the version",
    ):
        load_checkpoint(path)


def test_other_configs_are_refused(path, monkeypatch):
    tree = {**to_dict(CHECKPOINT.config), "trian": {}}
    monkeypatch.setattr("acdc_seg.runs.checkpoint.to_dict", lambda config: tree)
    save_checkpoint(path, CHECKPOINT)
    with pytest.raises(
        CheckpointError,
        match=r"its config does not fit this version:\n.*trian: unknown setting; did you mean "
        r"'train'",
    ):
        load_checkpoint(path)


class Malicious:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_nothing_in_a_checkpoint_is_executed(path, tmp_path):
    proof = tmp_path / "executed"
    malicious = Malicious(f"touch '{proof}'")
    save_checkpoint(path, CHECKPOINT)
    torch.save({**content_of(path), "training": malicious}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(malicious))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(path)
    assert not proof.exists()


def test_a_full_disk_leaves_the_checkpoint_before(path):
    save_checkpoint(path, CHECKPOINT)
    before = path.read_bytes()
    larger = Checkpoint(
        config=CONFIG, weights={"a": torch.ones(100_000)}, epoch=4, dice=0.9, data="paired"
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(AcdcError, match=r"best\.pt: cannot write"):
            save_checkpoint(path, larger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["best.pt"]


def test_an_interrupted_write_leaves_the_checkpoint_before(path, monkeypatch):
    save_checkpoint(path, CHECKPOINT)
    before = path.read_bytes()

    def interrupted(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, CHECKPOINT)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["best.pt"]
