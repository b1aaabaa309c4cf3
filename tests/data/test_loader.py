import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from acdc_seg.config import AugmentConfig
from acdc_seg.data.loader import EpochSampler, TrainingSet, make_loader

NO_CHANGE = AugmentConfig(preset="none")


def numbered(num_images, *, augment=NO_CHANGE, seed=0):
    """A dataset whose image i is filled with i."""
    values = torch.arange(num_images)
    images, masks = (
        values.float().reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4),
        values.byte().reshape(-1, 1, 1).expand(-1, 4, 4),
    )
    return TrainingSet(TensorDataset(images, masks), augment=augment, seed=seed)


def hearts_dataset(hearts, **options):
    images = torch.from_numpy(
        np.stack([image for image, _ in hearts])[:, None].astype(np.float32) / 255
    )
    masks = torch.from_numpy(np.stack([mask for _, mask in hearts]))
    return TrainingSet(TensorDataset(images, masks), seed=0, **options)


def epoch_of(loader, epoch, skip=0):
    loader.sampler.start_at(epoch, skip=skip)
    return list(loader)


def order_of(loader, epoch, skip=0):
    """Numbers of the images of an epoch, one after another."""
    return [
        number for _, masks in epoch_of(loader, epoch, skip) for number in masks[:, 0, 0].tolist()
    ]


@pytest.mark.parametrize(("num_workers", "method"), [(1, "fork"), (2, "fork"), (1, "spawn")])
def test_workers_and_how_they_start_change_nothing(hearts, num_workers, method):
    dataset = hearts_dataset(hearts, augment=AugmentConfig(preset="strong"))
    alone = make_loader(dataset, batch_size=3, num_workers=0)
    helped = make_loader(dataset, batch_size=3, num_workers=num_workers)
    helped.multiprocessing_context = method
    for epoch in (0, 1):
        expected, found = epoch_of(alone, epoch), epoch_of(helped, epoch)
        assert len(expected) == len(found) == 2
        for (image, mask), (other_image, other_mask) in zip(expected, found, strict=True):
            assert torch.equal(image, other_image)
            assert torch.equal(mask, other_mask)


def test_batches_pair_images_with_their_masks():
    loader = make_loader(numbered(8), batch_size=3, num_workers=0)
    for images, masks in epoch_of(loader, 0):
        assert (images.shape, images.dtype, masks.shape, masks.dtype) == (
            (3, 1, 4, 4),
            torch.float32,
            (3, 4, 4),
            torch.uint8,
        )
        assert torch.equal(images[:, 0], masks.float())


def test_every_epoch_has_an_order_of_its_own():
    loader = make_loader(numbered(10), batch_size=5, num_workers=0)
    orders = [order_of(loader, epoch) for epoch in (0, 1, 2, 0)]
    assert orders[0] == orders[3]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert order_of(make_loader(numbered(10, seed=1), batch_size=5, num_workers=0), 0) != orders[0]


@pytest.mark.parametrize("num_seen", [0, 1, 3])
def test_skipping_continues_the_order(num_seen):
    loader = make_loader(numbered(10), batch_size=3, num_workers=0)
    assert order_of(loader, 4, skip=3 * num_seen) == order_of(loader, 4)[3 * num_seen :]


def test_keys_name_epoch_and_index():
    sampler = EpochSampler(5, seed=0)
    sampler.start_at(7)
    keys = list(sampler)
    assert {epoch for epoch, _ in keys} == {7}
    assert sorted(index for _, index in keys) == [0, 1, 2, 3, 4]
    assert len(sampler) == 5


def test_the_rest_that_fills_no_batch_is_another_one_each_epoch():
    loader = make_loader(numbered(10), batch_size=4, num_workers=0)
    assert len(loader) == 2
    left_out = {frozenset(range(10)) - frozenset(order_of(loader, epoch)) for epoch in range(5)}
    assert {len(rest) for rest in left_out} == {2}
    assert len(left_out) > 1


def test_a_batch_larger_than_the_data_is_the_data():
    loader = make_loader(numbered(3), batch_size=16, num_workers=0)
    assert len(loader) == 1
    assert sorted(order_of(loader, 0)) == [0, 1, 2]


def test_copies_are_augmented_differently(hearts):
    dataset = hearts_dataset(hearts[:2], augment=AugmentConfig(preset="strong", repeats=3))
    assert len(dataset) == 6
    copies = [dataset[(0, index)][0] for index in (0, 2, 4)]
    assert not torch.equal(copies[0], copies[1])
    assert not torch.equal(copies[1], copies[2])
    plain = hearts_dataset(hearts[:2], augment=AugmentConfig(preset="none", repeats=3))
    assert torch.equal(plain[(0, 1)][0], plain[(5, 3)][0])
    assert not torch.equal(plain[(0, 0)][0], plain[(0, 1)][0])


def test_augmentation_leaves_the_cache_alone(hearts):
    dataset = hearts_dataset(hearts, augment=AugmentConfig(preset="strong"))
    before = [part.clone() for part in dataset.examples.tensors]
    epoch_of(make_loader(dataset, batch_size=2, num_workers=0), 0)
    assert all(map(torch.equal, dataset.examples.tensors, before))
