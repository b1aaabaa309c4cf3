"""Batches for training: a pure function of (seed, epoch, index), whatever the number of workers or processes."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from acdc_seg.config import AugmentConfig, ClassesConfig, DataConfig
from acdc_seg.data.records import Record
from acdc_seg.data.transforms import Augment, fixed_transforms, load_example
from acdc_seg.errors import DataError

Key = tuple[int, int]


class CachedDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images `(N, C, H, W)` and masks `(N, H, W)` in memory; an item is an augmented pair, asked for by (epoch, index)."""

    def __init__(self, images: torch.Tensor, masks: torch.Tensor, *, augment: AugmentConfig, seed: int) -> None:
        self.images, self.masks = images, masks
        self.copies, self.seed = augment.copies, seed
        self.augment = Augment(augment)

    def __len__(self) -> int:
        return len(self.images) * self.copies

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = key
        row = index % len(self.images)
        image, mask = self.augment(self.images[row].numpy(), self.masks[row].numpy(), key=(self.seed, epoch, index))
        return torch.from_numpy(image), torch.from_numpy(mask)


class EpochSampler(Sampler[Key]):
    """Keys (epoch, index) in an order drawn from (seed, epoch); `skip` leaves out those already seen."""

    def __init__(self, size: int, *, seed: int) -> None:
        self.size, self.seed = size, seed
        self.epoch, self.skip = 0, 0

    def start_at(self, epoch: int, *, skip: int = 0) -> None:
        """Says what the next iteration yields. (Not named `set_epoch`: Accelerate calls that with a count of its own.)"""
        self.epoch, self.skip = epoch, skip

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        return ((self.epoch, int(index)) for index in order[self.skip :])


def cache_examples(
    records: Sequence[Record], *, data: DataConfig, classes: ClassesConfig, on_image: Callable[[int, int], None] = lambda done, total: None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads and preprocesses all records once: images `(N, C, H, W)` float32 and masks `(N, H, W)` uint8.

    Raises:
        DataError: No records, a damaged file, a record without mask, or images of several sizes without `data.size`.
    """
    if not records:
        raise DataError("no images to train on; check the data folder and its split folders")
    transforms = fixed_transforms(data)
    images: list[torch.Tensor] = []
    masks: list[torch.Tensor] = []
    for done, record in enumerate(records, start=1):
        image, mask = load_example(record, data=data, classes=classes)
        if mask is None:
            raise DataError(f"{record.image}: training needs a mask for every image")
        pair = transforms({"image": image, "mask": mask[None]})
        if images and pair["image"].shape != images[0].shape:
            raise DataError(f"{record.image}: size {tuple(image.shape[1:])} differs from {records[0].image.name}; set data.size=[H, W]")
        images.append(pair["image"])
        masks.append(pair["mask"][0].to(torch.uint8))
        on_image(done, len(records))
    return torch.stack(images), torch.stack(masks)  # (N, C, H, W), (N, H, W)


def make_loader(dataset: CachedDataset, *, batch_size: int, num_workers: int) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Shuffled batches of one size: the rest of an epoch that fills no batch is left out, another one each time."""
    batch_size = min(batch_size, len(dataset))
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(len(dataset), seed=dataset.seed),
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
