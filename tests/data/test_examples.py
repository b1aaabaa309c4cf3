import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from acdc_seg.config import AugmentConfig, ClassesConfig, DataConfig
from acdc_seg.data import disk
from acdc_seg.data import examples as examples_module
from acdc_seg.data.disk import DiskExamples
from acdc_seg.data.examples import (
    FileExamples,
    example_size,
    load_examples,
    read_example,
    stack_examples,
)
from acdc_seg.data.loader import TrainingSet, batches, make_loader
from acdc_seg.data.readers import read_records
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError

HEART_BYTES = 48 * 48 * (4 + 1)


def training_files(folder, *, classes=None, **settings):
    data = DataConfig(**settings)
    return FileExamples(
        read_records("paired", folder, data),
        data=data,
        classes=classes or ClassesConfig(),
        for_training=True,
    )


def test_examples_in_memory_are_the_files(paired_folder, hearts):
    images, masks = stack_examples(training_files(paired_folder)).tensors
    assert (images.shape, images.dtype, masks.shape, masks.dtype) == (
        (8, 1, 48, 48),
        torch.float32,
        (8, 48, 48),
        torch.uint8,
    )
    np.testing.assert_allclose(images[5, 0] * 255, hearts[5][0], rtol=1e-6)
    np.testing.assert_array_equal(masks[5], hearts[5][1])


def test_examples_on_disk_are_those_in_memory(paired_folder, tmp_path):
    examples = training_files(paired_folder)
    kept, expected = DiskExamples(examples, tmp_path / "data"), stack_examples(examples)
    assert len(kept) == 8
    for ours, theirs in zip((kept[row] for row in range(8)), expected, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_files_on_disk_have_no_name_and_no_example_changes_another(paired_folder, tmp_path):
    kept = DiskExamples(training_files(paired_folder), tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []
    before = kept[0][0].clone()
    assert all(map(torch.equal, kept[0], stack_examples(training_files(paired_folder))[0]))
    again = DiskExamples(training_files(paired_folder), tmp_path / "data")
    again[0][0].fill_(7)
    assert torch.equal(kept[0][0], before)


@pytest.mark.parametrize(("method", "num_workers"), [("fork", 2), ("spawn", 1)])
def test_workers_map_the_files_on_disk_again(paired_folder, tmp_path, method, num_workers):
    kept = DiskExamples(training_files(paired_folder), tmp_path / "data")
    dataset = TrainingSet(kept, augment=AugmentConfig(preset="strong"), seed=0)
    alone, helped = (
        make_loader(dataset, batch_size=3, num_workers=num) for num in (0, num_workers)
    )
    helped.multiprocessing_context = method
    for ours, theirs in zip(batches(alone), batches(helped), strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_a_pickle_holds_no_pixels_and_maps_the_same_files(paired_folder, tmp_path):
    kept = DiskExamples(training_files(paired_folder), tmp_path / "data")
    content = pickle.dumps(kept)
    assert len(content) < 1000 < 8 * HEART_BYTES
    assert all(map(torch.equal, pickle.loads(content)[3], kept[3]))


def test_an_example_is_read_at_its_size_on_disk(paired_folder, hearts):
    record = read_records("paired", paired_folder, DataConfig())[1]
    example = read_example(record, data=DataConfig(size=(32, 32)), classes=ClassesConfig())
    assert example.record == record
    assert (example.image.dtype, example.mask.dtype) == (torch.float32, torch.uint8)
    np.testing.assert_allclose(example.image[0] * 255, hearts[1][0], rtol=1e-6)
    np.testing.assert_array_equal(example.mask, hearts[1][1])
    without_mask = replace(record, mask=None)
    assert read_example(without_mask, data=DataConfig(), classes=ClassesConfig()).mask is None


def test_image_and_mask_of_a_stack_are_read_by_page(tmp_path):
    sizes, examples = [(4, 5), (6, 3), (4, 5)], []
    for name in ("image", "mask"):
        pages = [Image.fromarray(np.full(size, n, np.uint8)) for n, size in enumerate(sizes)]
        pages[0].save(tmp_path / f"{name}.tif", save_all=True, append_images=pages[1:])
    for page, size in enumerate(sizes):
        record = Record(f"p{page}", tmp_path / "image.tif", tmp_path / "mask.tif", "a", page=page)
        examples.append(read_example(record, data=DataConfig(), classes=ClassesConfig()))
        assert example_size(record) == size
    assert [example.mask.unique().tolist() for example in examples] == [[0], [1], [2]]
    assert [round(float(example.image.max()) * 255) for example in examples] == [0, 1, 2]


def test_an_example_of_two_sizes_is_refused(paired_folder, write_png):
    record = read_records("paired", paired_folder, DataConfig())[0]
    write_png(record.mask, np.zeros((48, 40), np.uint8))
    with pytest.raises(
        DataError,
        match=r"patient001_0_mask\.png: the mask is 48x40, its image patient001_0\.png is 48x48",
    ):
        read_example(record, data=DataConfig(), classes=ClassesConfig())


def test_images_of_several_sizes_need_a_size(paired_folder, write_png):
    write_png(paired_folder / "train" / "image" / "patient002_0.png", np.zeros((40, 60), np.uint8))
    write_png(
        paired_folder / "train" / "mask" / "patient002_0_mask.png", np.full((40, 60), 3, np.uint8)
    )
    with pytest.raises(
        DataError,
        match=r"patient002_0\.png: size \(40, 60\) differs from patient001_0\.png; set "
        r"data\.size=\[H, W\]",
    ):
        stack_examples(training_files(paired_folder))
    files = training_files(paired_folder, size=(32, 40), fit="stretch")
    images, masks = stack_examples(files).tensors
    assert (images.shape, masks.shape) == ((8, 1, 32, 40), (8, 32, 40))
    assert (masks[2] == 3).all()


def test_images_are_scaled_to_fit_and_padded(paired_folder, write_png):
    write_png(paired_folder / "train/image/patient002_0.png", np.full((40, 80), 9, np.uint8))
    write_png(paired_folder / "train/mask/patient002_0_mask.png", np.full((40, 80), 3, np.uint8))
    images, masks = stack_examples(training_files(paired_folder, size=(32, 40))).tensors
    assert (images.shape, masks.shape) == ((8, 1, 32, 40), (8, 32, 40))
    assert (images[2] == np.float32(9) / 255).all()
    assert (masks[2, 6:26] == 3).all()
    assert (masks[2, :6] == 255).all()
    assert (masks[2, 26:] == 255).all()
    assert (masks[0, :, 4:36] != 255).all()  # a square image is padded at its sides
    assert (masks[0, :, :4] == 255).all()


def test_an_image_that_does_not_fit_is_told_of_crops(paired_folder):
    files = training_files(paired_folder, size=(64, 48), fit="pad")
    assert stack_examples(files).tensors[0].shape == (8, 1, 64, 48)
    with pytest.raises(
        DataError, match=r"48x48 pixels do not fit into .*set data\.fit=crop"
    ) as error:
        training_files(paired_folder, size=(64, 47), fit="pad")
    assert (error.value.code, error.value.settings) == ("size", ("data.fit=crop",))


def test_void_pixels_stay_void_when_resized(paired_folder, write_png):
    write_png(
        paired_folder / "train" / "mask" / "patient001_0_mask.png", np.full((48, 48), 9, np.uint8)
    )
    classes = ClassesConfig(void=9)
    mask = training_files(paired_folder, size=(33, 35), fit="stretch", classes=classes)[0].mask
    assert (mask == 255).all()


def load(folder, storage, tmp_path, *, change=lambda record: record, **settings):
    data = DataConfig(cache=storage, **settings)
    records = [change(record) for record in read_records("paired", folder, data)]
    return load_examples(
        records[:6], records[6:], data=data, classes=ClassesConfig(), folder=tmp_path / "data"
    )


@pytest.mark.parametrize("storage", ["memory", "disk", "none"])
def test_wherever_they_are_kept_the_examples_are_the_same(paired_folder, tmp_path, storage):
    expected, loaded = (
        load(paired_folder, each, tmp_path, size=(40, 40)) for each in ("memory", storage)
    )
    assert loaded.storage == storage
    assert loaded.num_bytes == 6 * 40 * 40 * 5 + 2 * HEART_BYTES
    assert len(loaded.training) == 6
    for row in range(6):
        assert all(map(torch.equal, loaded.training[row][-2:], expected.training[row]))
    assert [record.id for record, _, _ in loaded.validation] == ["patient004_0", "patient004_1"]
    for (_, *ours), (_, *theirs) in zip(loaded.validation, expected.validation, strict=True):
        assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("storage", ["memory", "disk", "none"])
def test_images_of_windows_keep_their_sizes_wherever_they_are(
    paired_folder, tmp_path, write_png, storage
):
    sizes = [(47, 33), (5, 7), (48, 48), (61, 50), (48, 48), (48, 48)]
    for record, size in zip(training_files(paired_folder).records, sizes, strict=False):
        rng = np.random.default_rng(size)
        write_png(record.image, rng.integers(0, 256, size, np.uint8))
        write_png(record.mask, rng.integers(0, 4, size, np.uint8))
    settings = {"size": (32, 40), "fit": "crop"}
    loaded = load(paired_folder, storage, tmp_path, **settings)
    files = training_files(paired_folder, **settings)
    num_pixels = sum(height * width for height, width in sizes)
    assert loaded.num_bytes == num_pixels * 5 + 2 * HEART_BYTES
    assert [loaded.training[row][-1].shape for row in range(6)] == sizes
    for row in range(6):
        assert all(map(torch.equal, loaded.training[row][-2:], files[row][-2:]))
        image = files[row].image
        torch.testing.assert_close(image.std(correction=0), torch.tensor(1.0))
    window = TrainingSet(
        loaded.training, augment=AugmentConfig(preset="none"), seed=0, window=(32, 40)
    )
    assert {part.shape[-2:] for row in range(6) for part in window[(0, row)]} == {(32, 40)}


@pytest.mark.parametrize("storage", ["memory", "disk", "none"])
@pytest.mark.parametrize(
    ("name", "purpose"), [("patient002_1", "training"), ("patient004_1", "validation")]
)
def test_every_file_is_checked_wherever_it_is_kept(paired_folder, tmp_path, storage, name, purpose):
    with pytest.raises(DataError, match=rf"{name}\.png: {purpose} needs a mask for every image"):
        load(
            paired_folder,
            storage,
            tmp_path,
            change=lambda record: replace(record, mask=None) if record.id == name else record,
        )
    (mask,) = paired_folder.glob(f"*/mask/{name}_mask.png")
    mask.write_bytes(mask.read_bytes()[:100])
    with pytest.raises(DataError, match=rf"{name}_mask\.png: not a readable image"):
        load(paired_folder, storage, tmp_path)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(DataError, match="no images to train on"):
        load_examples([], [], data=DataConfig(), classes=ClassesConfig())


def test_auto_asks_for_the_memory_that_is_left(paired_folder, tmp_path, monkeypatch):
    for free, storage in ((16 * HEART_BYTES, "memory"), (16 * HEART_BYTES - 1, "disk")):
        monkeypatch.setattr(examples_module, "available_memory", lambda free=free: free)
        assert load(paired_folder, "auto", tmp_path).storage == storage


def test_a_full_disk_is_told(paired_folder, tmp_path, monkeypatch):
    full = lambda dir: open("/dev/full", "w+b")  # noqa: E731, SIM115
    monkeypatch.setattr(disk.tempfile, "TemporaryFile", full)
    with pytest.raises(
        DataError,
        match=r"data: cannot keep the training images here \(No space left on device\); free some "
        r"space",
    ):
        load(paired_folder, "disk", tmp_path)
