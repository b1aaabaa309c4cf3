"""Predictors: image in, class probabilities out.

A model, an average of models and what is done to either are all the same to callers.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.config import ClassesConfig, Config, DataConfig
from acdc_seg.config.ensemble import read_ensemble
from acdc_seg.data.transforms import normalize
from acdc_seg.errors import CheckpointError, ConfigError, DataError
from acdc_seg.models import build_model
from acdc_seg.runs.checkpoint import Checkpoint, has_checkpoint, load_checkpoint
from acdc_seg.runtime.device import DTYPES, resolve_device, resolve_precision

T = TypeVar("T")


class Predictor(ABC):
    """Maps images to class probabilities.

    `channels` is how image files are to be read: 1 grey, 3 RGB.
    """

    classes: ClassesConfig
    channels: int

    @abstractmethod
    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities float32 `(B, K, H, W)` of images `(B, C, H, W)`; float images of 8-bit
        origin are in 0..1.
        """

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Probabilities float32 `(K, H, W)` of one image `(H, W)` or `(C, H, W)`, uint8 or float.

        Raises:
            DataError: Another shape or type, NaN or infinity, or a colour image for a grey model.
        """
        return self.predict_batch(as_batch(image))[0].cpu().numpy()


class ModelPredictor(Predictor):
    """One network with its preprocessing: resize and normalise, network, back to the image's size,
    softmax.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        data: DataConfig,
        classes: ClassesConfig,
        device: torch.device,
        precision: str,
    ) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore
        self.data, self.classes, self.channels = data, classes, data.channels
        self.device, self.precision = device, precision

    @torch.inference_mode()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores float32 `(B, K, H, W)` at the images' size, on the predictor's device."""
        self.model.eval()
        size = images.shape[-2:]
        images = self._fit_channels(images).to(self.device)
        if self.data.size and size != self.data.size:
            images = F.interpolate(images, size=self.data.size, mode="bilinear")
        images = normalize(images, self.data).contiguous(memory_format=torch.channels_last)
        with torch.autocast(
            self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32"
        ):
            logits = self.model(images).float()
        return (
            logits
            if logits.shape[-2:] == size
            else F.interpolate(logits, size=size, mode="bilinear")
        )

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images).softmax(dim=1)

    def _fit_channels(self, images: torch.Tensor) -> torch.Tensor:
        given = images.shape[1]
        if given == self.channels:
            return images
        if given == 1:
            return images.expand(-1, self.channels, -1, -1)
        raise DataError(
            f"the image has {given} channels, the model takes {self.channels}; convert the image "
            f"to {self.channels} channel(s)"
        )


class Ensemble(Predictor):
    """Soft voting: the weighted mean of the members' probabilities, added up one member at a time.

    Raises:
        ConfigError: No members, members of different classes, or weights that do not fit.
    """

    def __init__(
        self, members: Sequence[Predictor], *, weights: Sequence[float] | None = None
    ) -> None:
        if not members:
            raise ConfigError("an ensemble needs at least one member")
        for member in members[1:]:
            check_classes(member.classes, members[0].classes)
        self.members = list(members)
        self.weights = _normalized(
            [1.0] * len(members) if weights is None else list(weights), len(members)
        )
        self.classes = members[0].classes
        self.channels = min(member.channels for member in members)

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        total = self.members[0].predict_batch(images) * self.weights[0]
        for member, weight in zip(self.members[1:], self.weights[1:], strict=True):
            total += member.predict_batch(images).to(total.device) * weight
        return total


class TTA(Predictor):
    """Test-time augmentation: the mean over flipped and turned copies of the image, each turned
    back.

    Args:
        predictor: What to average; a model or an ensemble.
        views: `flips` takes 4 views (none, horizontal, vertical, both), `dihedral` all 8 with
            rotations by 90 degrees.
    """

    def __init__(self, predictor: Predictor, *, views: str = "dihedral") -> None:
        if views not in TTA_VIEWS:
            raise ConfigError(
                f"test-time augmentation '{views}' is unknown; choose from: {', '.join(TTA_VIEWS)}"
            )
        self.predictor, self.views = predictor, TTA_VIEWS[views]
        self.classes, self.channels = predictor.classes, predictor.channels

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor | None = None
        for turns, flip in self.views:
            view = torch.rot90(images.flip(-1) if flip else images, turns, (-2, -1))
            back = torch.rot90(self.predictor.predict_batch(view), -turns, (-2, -1))
            back = back.flip(-1) if flip else back
            total = back if total is None else total + back
        assert total is not None
        return total / len(self.views)


TTA_VIEWS: dict[str, tuple[tuple[int, bool], ...]] = {
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "dihedral": tuple(itertools.product(range(4), (False, True))),
}
"""Quarter turns and horizontal flip of each view."""


class KeepLargest(Predictor):
    """Leaves the named classes one connected region each, the largest; what else they hold goes to
    the next best class.

    Args:
        predictor: What to correct; a model or an ensemble.
        names: Foreground classes, by name.

    Raises:
        ConfigError: A name that is no foreground class.
    """

    def __init__(self, predictor: Predictor, names: Sequence[str]) -> None:
        foreground = predictor.classes.names[1:]
        if unknown := [name for name in names if name not in foreground]:
            raise ConfigError(
                f"keep_largest names '{unknown[0]}'; choose from the foreground classes: "
                f"{', '.join(foreground)}"
            )
        self.predictor, self.indices = (
            predictor,
            [predictor.classes.names.index(name) for name in names],
        )
        self.classes, self.channels = predictor.classes, predictor.channels

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        probabilities = self.predictor.predict_batch(images)
        kept = np.stack(
            [keep_largest(each, self.indices) for each in probabilities.cpu().numpy()]
        )  # (B, K, H, W)
        return torch.from_numpy(kept).to(probabilities.device)


def keep_largest(probabilities: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    """A copy of probabilities `(K, H, W)` in which each class of `indices` is the most probable in
    one region at most.

    Pixels that touch at a corner are connected; of equal regions the first from the top stays.
    Where a class loses a pixel its probability becomes 0 and the others are scaled to sum to 1, all
    to the background where nothing is left. That can cut off another class in turn, so it is
    repeated until nothing changes.
    """
    kept = probabilities.copy()
    while True:
        labels = kept.argmax(0)
        lost = {index: (labels == index) & ~_largest_region(labels == index) for index in indices}
        if not any(pixels.any() for pixels in lost.values()):
            return kept
        for index, pixels in lost.items():
            rest = kept[:, pixels]  # (K, N)
            rest[index] = 0
            rest[0, rest.sum(0) == 0] = 1
            kept[:, pixels] = rest / rest.sum(0)


def _largest_region(pixels: np.ndarray) -> np.ndarray:
    _, regions, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    return regions == 1 + sizes.argmax() if len(sizes) else pixels


def load_predictor(path: str | Path, *, device: str = "auto", precision: str = "auto") -> Predictor:
    """The predictor of a run folder (its best.pt), of a checkpoint file, or of an ensemble.yaml or
    its folder.

    Raises:
        CheckpointError: Nothing there, no checkpoint, or weights that do not fit their own config.
        ConfigError: An ensemble.yaml that is none, or whose members are of other classes.
    """
    return open_predictor(path, device=device, precision=precision)[0]


def open_predictor(
    path: str | Path, *, device: str = "auto", precision: str = "auto"
) -> tuple[Predictor, Config]:
    """What `load_predictor` gives, and the config of the model or of the ensemble's first
    member.
    """
    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        return _open_ensemble(path, device=device, precision=precision)
    if (path / "ensemble.yaml").is_file() and not has_checkpoint(path / "best.pt"):
        return _open_ensemble(path / "ensemble.yaml", device=device, precision=precision)
    path = find_checkpoint(path)
    checkpoint = load_checkpoint(path)
    return predictor_from_checkpoint(
        checkpoint, source=str(path), device=device, precision=precision
    ), checkpoint.config


def _open_ensemble(path: Path, *, device: str, precision: str) -> tuple[Predictor, Config]:
    described = read_ensemble(path)
    sources = [find_checkpoint(path.parent / each.path) for each in described.members]
    checkpoints = [load_checkpoint(source) for source in sources]
    members: list[Predictor] = []
    for each, source, checkpoint in zip(described.members, sources, checkpoints, strict=True):
        names = checkpoint.config.classes.names
        if names != described.classes:
            classes = ", ".join(described.classes)
            raise ConfigError(
                f"{path}: the ensemble is of {classes}, its member {source} of "
                f"{', '.join(names)}; choose it anew"
            )
        model = predictor_from_checkpoint(
            checkpoint, source=str(source), device=device, precision=precision
        )
        members.append(model if each.tta == "none" else TTA(model, views=each.tta))
    predictor: Predictor = Ensemble(members, weights=[each.weight for each in described.members])
    try:
        return (
            KeepLargest(predictor, described.keep_largest) if described.keep_largest else predictor
        ), checkpoints[0].config
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def find_checkpoint(path: Path) -> Path:
    """best.pt of a run folder, or the file itself; raises CheckpointError where the folder has
    none.
    """
    if not path.is_dir():
        return path
    if not has_checkpoint(path / "best.pt"):
        raise CheckpointError(
            f"{path}: no best.pt in this folder; give a folder that acdc-train finished an epoch in"
        )
    return path / "best.pt"


def predictor_from_checkpoint(
    checkpoint: Checkpoint, *, source: str, device: str = "auto", precision: str = "auto"
) -> ModelPredictor:
    """A predictor with the checkpoint's weights; `source` names it in errors.

    `auto` precision stays fp32 for a model trained in it.
    """
    config = checkpoint.config
    precision = "fp32" if precision == "auto" and config.train.precision == "fp32" else precision
    model = build_model(config.model, config.data.channels, len(config.classes.names))
    try:
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"{source}: weights do not fit their config: {str(error).splitlines()[-1].strip()}"
        ) from None
    target = resolve_device(device)
    return ModelPredictor(
        model,
        data=config.data,
        classes=config.classes,
        device=target,
        precision=resolve_precision(precision, target),
    )


def check_classes(given: ClassesConfig, expected: ClassesConfig) -> None:
    """Raises ConfigError unless both name the same classes in the same order."""
    if given.names != expected.names:
        raise ConfigError(
            f"the models do not share their classes: {', '.join(given.names)} against "
            f"{', '.join(expected.names)}; "
            "an ensemble needs members of the same classes in the same order"
        )


def as_batch(image: np.ndarray) -> torch.Tensor:
    """An image `(H, W)` or `(C, H, W)` as float32 `(1, C, H, W)`; uint8 and uint16 become 0..1,
    floats are kept.

    Raises:
        DataError: Another shape or type, or values that are not finite.
    """
    array = np.asarray(image)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise DataError(
            f"an image of shape {np.shape(image)} cannot be predicted; give (H, W), (1, H, W) or "
            "(3, H, W)"
        )
    if array.dtype in (np.uint8, np.uint16):
        return torch.from_numpy(array.astype(np.float32) / np.iinfo(array.dtype).max)[
            None
        ]  # (1, C, H, W)
    if array.dtype.kind != "f":
        raise DataError(
            f"an image of {array.dtype} cannot be predicted; convert it to uint8, uint16 or float"
        )
    if not np.isfinite(array).all():
        raise DataError("the image holds NaN or infinity; replace them before prediction")
    return torch.from_numpy(array.astype(np.float32))[None]  # (1, C, H, W)


def predict_labels(
    predictor: Predictor,
    images: Iterable[np.ndarray],
    *,
    batch_size: int = 16,
    on_image: Callable[[int], None] = lambda done: None,
) -> Iterator[np.ndarray]:
    """Class indices uint8 `(H, W)` of images `(C, H, W)` one after another, streamed like their
    probabilities.

    Classes are disjoint: each pixel has its most probable one.
    """
    for probabilities in predict_probabilities(
        predictor, images, batch_size=batch_size, on_image=on_image
    ):
        yield probabilities.argmax(0).to(torch.uint8).cpu().numpy()


def predict_probabilities(
    predictor: Predictor,
    images: Iterable[np.ndarray],
    *,
    batch_size: int = 16,
    on_image: Callable[[int], None] = lambda done: None,
) -> Iterator[torch.Tensor]:
    """Probabilities `(K, H, W)` of images `(C, H, W)` one after another, computed in batches of
    neighbours of one size.

    Only one batch is in memory at a time.
    """
    done = 0
    for batch in batches_of_one_size(images, batch_size, size_of=lambda image: image.shape):
        for probabilities in predictor.predict_batch(
            torch.cat([as_batch(image) for image in batch])
        ):  # (B, K, H, W)
            done += 1
            on_image(done)
            yield probabilities


def batches_of_one_size(
    items: Iterable[T], batch_size: int, *, size_of: Callable[[T], object]
) -> Iterator[list[T]]:
    """Runs of at most `batch_size` neighbouring items that have the same size."""
    for _, group in itertools.groupby(items, key=size_of):
        while batch := list(itertools.islice(group, batch_size)):
            yield batch


def _normalized(weights: Sequence[float], num_members: int) -> list[float]:
    if len(weights) != num_members:
        raise ConfigError(f"{len(weights)} weights for {num_members} members; give one weight each")
    if not all(np.isfinite(weights)) or min(weights) < 0 or sum(weights) == 0:
        raise ConfigError(f"weights {list(weights)} must be numbers from 0 up, not all 0")
    return [weight / sum(weights) for weight in weights]
