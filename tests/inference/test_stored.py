import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from acdc_seg.config import ClassesConfig, Config
from acdc_seg.data.images import read_image
from acdc_seg.data.record import Record
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stored import (
    find_probabilities,
    load_probabilities,
    store_probabilities,
    storing,
)
from acdc_seg.inference.stream import predict_examples, read_examples

TWO = ClassesConfig(names=("background", "heart"), values=(0, 1), colors=((0, 0, 0), (255, 0, 0)))
SIZES = {"a": (3, 4), "b": (3, 4), "c": (2, 5), "d": (3, 4)}


class Ramp(Predictor):
    """Class 1 has the image's grey value as probability, halved in the right half of the image."""

    config, classes, channels = Config(), TWO, 1

    def predict_batch(self, images):
        heart = images[:, :1].clone()
        heart[..., images.shape[-1] // 2 :] /= 2
        return torch.cat([1 - heart, heart], dim=1)


@pytest.fixture
def records(tmp_path, write_png):
    rng = np.random.default_rng(0)
    return [
        Record(
            id,
            write_png(tmp_path / f"{id}.png", rng.integers(0, 256, size, np.uint8)),
            None,
            f"patient{number // 2}",
        )
        for number, (id, size) in enumerate(SIZES.items())
    ]


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"weights")
    return tmp_path / "best.pt"


def test_every_image_is_kept_in_half_precision_under_its_id(tmp_path, records, checkpoint):
    done = []
    stored = store_probabilities(
        tmp_path / "kept",
        Ramp(),
        records,
        checkpoint=checkpoint,
        batch_size=2,
        on_image=done.append,
    )
    assert done == [1, 2, 3, 4]
    assert (list(stored), stored.patients) == (
        list("abcd"),
        ["patient0", "patient0", "patient1", "patient1"],
    )
    for record in records:
        assert (stored[record.id].shape, stored[record.id].dtype) == (
            (2, *SIZES[record.id]),
            np.float16,
        )
        np.testing.assert_array_equal(
            stored[record.id], Ramp()(read_image(record.image)).astype(np.float16)
        )
    with pytest.raises(KeyError):
        stored["e"]


def test_a_stream_passes_through_and_is_stored_at_its_end(tmp_path, records, checkpoint):
    stream = predict_examples(Ramp(), read_examples(records, Ramp(), with_masks=False))
    passed = []
    for example, probabilities in storing(stream, tmp_path, checkpoint=checkpoint, classes=TWO):
        assert find_probabilities(tmp_path, records, checkpoint=checkpoint) is None
        passed.append((example.record.id, probabilities.numpy().astype(np.float16)))
    stored = find_probabilities(tmp_path, records, checkpoint=checkpoint)
    assert [id for id, _ in passed] == list("abcd")
    for id, probabilities in passed:
        np.testing.assert_array_equal(stored[id], probabilities)


def test_files_are_one_mapped_array_and_an_index(tmp_path, records, checkpoint):
    store_probabilities(tmp_path / "kept", Ramp(), records, checkpoint=checkpoint)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["none.json", "none.npy"]
    values = np.load(tmp_path / "kept" / "none.npy", allow_pickle=False)
    assert values.shape == (2 * (12 + 12 + 10 + 12),)
    index = json.loads((tmp_path / "kept" / "none.json").read_text())
    assert index["shapes"] == [[2, 3, 4], [2, 3, 4], [2, 2, 5], [2, 3, 4]]
    assert index["classes"] == ["background", "heart"]
    assert isinstance(load_probabilities(tmp_path / "kept")["c"].base, np.memmap)


def test_augmented_probabilities_are_stored_beside_the_plain_ones(tmp_path, records, checkpoint):
    plain = store_probabilities(tmp_path, Ramp(), records, checkpoint=checkpoint)
    flipped = store_probabilities(tmp_path, Ramp(), records, checkpoint=checkpoint, tta="flips")
    image = read_image(records[0].image)[0]
    np.testing.assert_allclose(
        flipped["a"][1], image * 0.75, atol=1e-3
    )  # each pixel is in the left half in half of the views
    np.testing.assert_allclose(plain["a"][1], image * [1, 1, 0.5, 0.5], atol=1e-3)
    assert load_probabilities(tmp_path, tta="flips").index.tta == "flips"


def test_only_the_same_checkpoint_and_images_are_found(tmp_path, records, checkpoint, write_png):
    assert find_probabilities(tmp_path, records, checkpoint=checkpoint) is None
    store_probabilities(tmp_path, Ramp(), records, checkpoint=checkpoint)
    assert find_probabilities(tmp_path, records, checkpoint=checkpoint) is not None
    assert find_probabilities(tmp_path, records, checkpoint=checkpoint, tta="flips") is None
    assert find_probabilities(tmp_path, records[:2], checkpoint=checkpoint) is None
    assert (
        find_probabilities(
            tmp_path, [replace(records[0], patient="other"), *records[1:]], checkpoint=checkpoint
        )
        is None
    )
    write_png(records[0].image, np.zeros((3, 4), np.uint8))
    assert find_probabilities(tmp_path, records, checkpoint=checkpoint) is None
    store_probabilities(tmp_path, Ramp(), records, checkpoint=checkpoint)
    checkpoint.write_bytes(b"other weights")
    assert find_probabilities(tmp_path, records, checkpoint=checkpoint) is None


def test_an_interrupted_write_leaves_nothing_to_mistake(tmp_path, records, checkpoint):
    store_probabilities(tmp_path, Ramp(), records, checkpoint=checkpoint)
    records[3].image.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"d\.png: not a readable image"):
        store_probabilities(tmp_path, Ramp(), records, checkpoint=checkpoint)
    assert find_probabilities(tmp_path, records, checkpoint=checkpoint) is None
    assert not (tmp_path / "none.json").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda npy: npy.unlink(),
        lambda npy: npy.write_bytes(npy.read_bytes()[:-8]),
        lambda npy: np.save(npy, [1]),
    ],
)
def test_damaged_files_are_refused(tmp_path, records, checkpoint, damage):
    store_probabilities(tmp_path, Ramp(), records, checkpoint=checkpoint)
    damage(tmp_path / "none.npy")
    with pytest.raises(DataError, match="remove the folder, they are computed again"):
        load_probabilities(tmp_path)
    assert find_probabilities(tmp_path, records, checkpoint=checkpoint) is None


def test_pickles_are_never_loaded(tmp_path, records, checkpoint):
    store_probabilities(tmp_path, Ramp(), records, checkpoint=checkpoint)
    np.save(tmp_path / "none.npy", np.array([{}] * 92, object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects in dtype"):
        load_probabilities(tmp_path)


def test_what_cannot_be_stored_is_named(tmp_path, records, checkpoint):
    with pytest.raises(DataError, match="two images are called a"):
        store_probabilities(tmp_path, Ramp(), [records[0], *records], checkpoint=checkpoint)
    with pytest.raises(ConfigError, match="'turns' is unknown; choose from: none, flips, dihedral"):
        store_probabilities(tmp_path, Ramp(), records, checkpoint=checkpoint, tta="turns")
