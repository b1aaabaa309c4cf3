"""Batches for training: a pure function of (seed, epoch, index) for any number of workers."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from acdc_seg.config import AugmentConfig
from acdc_seg.data.examples import ExamplePairs
from acdc_seg.data.geometry import Size, draw_window
from acdc_seg.data.transforms import Augment
from acdc_seg.errors import AcdcError, TrainingError

Key = tuple[int, int]
Pair = tuple[torch.Tensor, torch.Tensor]


class TrainingSet(Dataset[Pair | AcdcError]):
    """Augmented pairs of image `(C, H, W)` and mask `(H, W)`, by (epoch, index), or of a window of
    both.

    An unusable file gives its error in place of a pair, which `batches` raises: PyTorch would bury
    the error of a worker in a traceback.
    """

    def __init__(
        self,
        examples: ExamplePairs,
        *,
        augment: AugmentConfig,
        seed: int,
        window: Size | None = None,
        foreground: float = 0.0,
    ) -> None:
        self.examples, self.repeats = examples, augment.repeats
        self.seed, self.window, self.foreground = seed, window, foreground
        self.augment = Augment(augment)

    def __len__(self) -> int:
        return len(self.examples) * self.repeats

    def __getitem__(self, key: Key) -> Pair | AcdcError:
        epoch, index = key
        try:
            *_, image, mask = self.examples[index % len(self.examples)]
        except AcdcError as error:
            return error
        keys = (self.seed, epoch, index)
        if self.window:
            image, mask = draw_window(
                image, mask, size=self.window, key=keys, foreground=self.foreground
            )
        image, mask = self.augment(image.numpy(), mask.numpy(), key=keys)
        return torch.from_numpy(image), torch.from_numpy(mask)


class EpochSampler(Sampler[Key]):
    """Keys (epoch, index) in an order drawn from (seed, epoch)."""

    def __init__(self, size: int, *, seed: int) -> None:
        self.size, self.seed = size, seed
        self.epoch, self.skip = 0, 0

    def start_at(self, epoch: int, *, skip: int = 0) -> None:
        """Sets the epoch of the next iteration, and how many of its keys are left out."""
        # not named set_epoch, which Accelerate calls with a count of its own
        self.epoch, self.skip = epoch, skip

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        return ((self.epoch, int(index)) for index in order[self.skip :])


def make_loader(
    dataset: TrainingSet, *, batch_size: int, num_workers: int
) -> DataLoader[Pair | AcdcError]:
    """Shuffled batches of one size; images that fill no batch are left out, others each epoch."""
    return DataLoader(
        dataset,
        batch_size=min(batch_size, len(dataset)),
        sampler=EpochSampler(len(dataset), seed=dataset.seed),
        collate_fn=_collate,
        drop_last=True,
        num_workers=num_workers,
        worker_init_fn=_start_worker,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def batches(loader: Iterable[Pair | AcdcError]) -> Iterator[Pair]:
    """The loader's batches, images `(B, C, H, W)` and masks `(B, H, W)`.

    Raises:
        AcdcError: What was wrong with a file, wherever it was read.
    """
    for batch in loader:
        if isinstance(batch, AcdcError):
            try:
                raise batch
            finally:
                del batch  # or it would hold this frame and with it the workers
        yield batch


@contextmanager
def explain_lost_worker() -> Iterator[None]:
    """Raises TrainingError in place of PyTorch's error where the system killed a loader process."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise TrainingError(
            f"a loader process was lost ({str(error).split('. ')[0].strip(' .')}), most likely "
            "for lack of memory or of shared memory (/dev/shm); set data.num_workers lower, or to "
            "0, or give the machine or container more of both"
        ) from error


def _collate(items: list[Pair | AcdcError]) -> Pair | AcdcError:
    error = next((item for item in items if isinstance(item, AcdcError)), None)
    return error or default_collate(items)


def _start_worker(worker: int) -> None:
    # Ctrl-C reaches the workers too, and is for the training process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # OpenCV's own threads do not survive a fork
    cv2.setNumThreads(0)
