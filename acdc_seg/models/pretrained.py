"""Transfer learning: encoders that start from public ImageNet weights, or from a file."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from torch import nn

from acdc_seg.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**20
WRAPPINGS = ("state_dict", "model", "weights")
COLOR_CHANNELS = 3


class PublicWeights(NamedTuple):
    """Where the weights of an architecture are published.

    Attributes:
        url: Ends in the first digits of the file's SHA-256, `name-sha256.pth`.
        classifier: Beginnings of the names that the file has and the encoder has not.
    """

    url: str
    classifier: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The first digits of the file's hash."""
        return PurePosixPath(self.url).stem.rpartition("-")[2]


TORCHVISION = "https://download.pytorch.org/models"
DRN = "http://dl.yf.io/drn"
EFFICIENTNET = "https://github.com/lukemelas/EfficientNet-PyTorch/releases/download/1.0"

PUBLIC_WEIGHTS: dict[str, PublicWeights] = {
    "drn_d_54": PublicWeights(f"{DRN}/drn_d_54-0e0534ff.pth", ("fc.",)),
    "vgg16": PublicWeights(f"{TORCHVISION}/vgg16-397923af.pth", ("classifier.",)),
    "vgg16_bn": PublicWeights(f"{TORCHVISION}/vgg16_bn-6c64b313.pth", ("classifier.",)),
    "resnet34": PublicWeights(f"{TORCHVISION}/resnet34-b627a593.pth", ("fc.",)),
    "resnet50": PublicWeights(f"{TORCHVISION}/resnet50-0676ba61.pth", ("fc.",)),
    "resnet101": PublicWeights(f"{TORCHVISION}/resnet101-63fe2227.pth", ("fc.",)),
    "mobilenet_v2": PublicWeights(
        f"{TORCHVISION}/mobilenet_v2-b0353104.pth", ("features.18.", "classifier.")
    ),
    "efficientnet-b0": PublicWeights(
        f"{EFFICIENTNET}/efficientnet-b0-355c32eb.pth", ("_conv_head.", "_bn1.", "_fc.")
    ),
    "efficientnet-b1": PublicWeights(
        f"{EFFICIENTNET}/efficientnet-b1-f1951068.pth", ("_conv_head.", "_bn1.", "_fc.")
    ),
    "efficientnet-b2": PublicWeights(
        f"{EFFICIENTNET}/efficientnet-b2-8bb594d6.pth", ("_conv_head.", "_bn1.", "_fc.")
    ),
    "efficientnet-b3": PublicWeights(
        f"{EFFICIENTNET}/efficientnet-b3-5fb5a3c3.pth", ("_conv_head.", "_bn1.", "_fc.")
    ),
    "efficientnet-b4": PublicWeights(
        f"{EFFICIENTNET}/efficientnet-b4-6ed6700e.pth", ("_conv_head.", "_bn1.", "_fc.")
    ),
    "efficientnet-b5": PublicWeights(
        f"{EFFICIENTNET}/efficientnet-b5-b6417697.pth", ("_conv_head.", "_bn1.", "_fc.")
    ),
    "efficientnet-b6": PublicWeights(
        f"{EFFICIENTNET}/efficientnet-b6-c76e70fd.pth", ("_conv_head.", "_bn1.", "_fc.")
    ),
    "efficientnet-b7": PublicWeights(
        f"{EFFICIENTNET}/efficientnet-b7-dcc49843.pth", ("_conv_head.", "_bn1.", "_fc.")
    ),
}


def load_pretrained(encoder: nn.Module, source: str) -> None:
    """Gives an encoder trained weights; nothing changes if they do not fit.

    A first layer for grey images takes the sum of the colour weights, which equals repeating the
    image three times.

    Args:
        encoder: An encoder; one with public weights names its architecture, a key of
            `PUBLIC_WEIGHTS`, in its attribute `public_weights`.
        source: `imagenet` downloads the public file once, to where `torch.hub` keeps its own.
            Anything else is the path of a file: a state dict of the architecture, as such or below
            `state_dict` or `model`, or a checkpoint of a whole network of this package, whose
            encoder is taken.

    Raises:
        CheckpointError: The file cannot be had or read, or is not one of this architecture.
        ConfigError: The encoder has no public weights, or takes images that are neither grey nor in
            colour.
    """
    architecture = getattr(encoder, "public_weights", type(encoder).__name__)
    public = PUBLIC_WEIGHTS.get(architecture)
    path = _public_file(architecture, public) if source == "imagenet" else Path(source).expanduser()
    classifier = public.classifier if public else ()
    wanted = encoder.state_dict()
    weights = {
        name: value
        for name, value in _read(path).items()
        if name in wanted or not name.startswith(classifier)
    }
    _fit_stem(weights, wanted)
    if problems := _problems(weights, wanted):
        raise CheckpointError(
            f"{path}: these are not the weights of {architecture}: {'; '.join(problems)}; give a "
            f"file of {architecture}"
        )
    encoder.load_state_dict(wanted | weights)


def _public_file(architecture: str, public: PublicWeights | None) -> Path:
    if public is None:
        raise ConfigError(
            f"pretrained=imagenet: {architecture} has no public weights; give a checkpoint's "
            "path, or null for fresh weights"
        )
    return fetch(public.url, sha256=public.sha256, folder=Path(torch.hub.get_dir(), "checkpoints"))


def fetch(url: str, *, sha256: str, folder: Path) -> Path:
    """Downloads a file, once; nothing incomplete or wrong is ever left at its place.

    Args:
        url: Its last part names the file.
        sha256: The file's SHA-256, or the first digits of it.
        folder: Where the file goes; made if need be.

    Returns:
        The file's path.

    Raises:
        CheckpointError: The file cannot be had or written, breaks off or has another hash, or one
            with another hash is already there.
    """
    path = folder / PurePosixPath(urlsplit(url).path).name
    try:
        if path.exists():
            if problem := _hash_problem(path, sha256):
                raise CheckpointError(
                    f"{path}: {problem}; delete this file to download it again from {url}"
                )
        else:
            _download(url, path, sha256)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot read or write this file ({error.strerror}); check its folder and "
            "free space"
        ) from None
    return path


def _download(url: str, path: Path, sha256: str) -> None:
    logger.info("downloading %s to %s", url, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        download = Path(folder, path.name)
        with download.open("wb") as file:
            file.writelines(_chunks(url, path))
        if problem := _hash_problem(download, sha256):
            raise CheckpointError(
                f"{url}: {problem}, nothing was kept; save the right file as {path}"
            )
        download.replace(path)


def _hash_problem(path: Path, expected: str) -> str | None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return (
        None
        if digest.startswith(expected)
        else f"the file's SHA-256 starts with {digest[: len(expected)]}, not {expected}"
    )


def _chunks(url: str, path: Path) -> Iterator[bytes]:
    """The bytes behind a URL, all of them or an error that says how `path` can be had without
    it.
    """
    remedy = f"download it elsewhere and save it as {path}"
    received, announced = 0, None
    try:
        with urlopen(Request(url, headers={"User-Agent": "acdc_seg"}), timeout=TIMEOUT) as response:
            announced = response.headers["Content-Length"]
            while chunk := response.read(CHUNK):
                received += len(chunk)
                yield chunk
    except HTTPError as error:
        raise CheckpointError(
            f"{url}: the server answers {error.code} ({error.reason}); {remedy}"
        ) from None
    except (OSError, HTTPException, ValueError) as error:
        if not received:
            raise CheckpointError(
                f"{url}: cannot be reached ({getattr(error, 'reason', error)}); {remedy}"
            ) from None
        announced = announced or "an unknown number of"
    if announced is not None and announced != str(received):
        raise CheckpointError(
            f"{url}: the download broke off after {received} of {announced} bytes; try again, or "
            f"{remedy}"
        )


def _read(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file, by their names in the encoder."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(
            f"{path}: cannot read these weights ({error.strerror}); check the path, or take "
            "'imagenet'"
        ) from None
    except Exception:  # a damaged stream can end in any of them
        raise CheckpointError(
            f"{path}: not a file of weights, or a damaged one; give a state dict that torch.save "
            "wrote"
        ) from None
    for wrapping in WRAPPINGS:
        if isinstance(content, dict) and isinstance(content.get(wrapping), dict):
            content = content[wrapping]
    if not _is_state_dict(content):
        raise CheckpointError(
            f"{path}: no weights in it; give a state dict, as such or below "
            f"{' or '.join(map(repr, WRAPPINGS))}"
        )
    weights = {name.removeprefix("module."): value for name, value in content.items()}
    of_encoder = {
        name.removeprefix("encoder."): value
        for name, value in weights.items()
        if name.startswith("encoder.")
    }
    return of_encoder or weights


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in content.items()
    )


def _fit_stem(weights: dict[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    """Makes the first layer's colour weights `(out_channels, 3, height, width)` those of the
    encoder's images.
    """
    stem = next(iter(wanted))
    in_channels = wanted[stem].shape[1]
    if (
        in_channels == COLOR_CHANNELS
        or stem not in weights
        or weights[stem].shape[1:2] != (COLOR_CHANNELS,)
    ):
        return
    if in_channels != 1:
        raise ConfigError(
            f"in_channels={in_channels}: pretrained weights are for 1 (grey) or 3 (colour); use "
            "one of them, or fresh weights"
        )
    weights[stem] = weights[stem].sum(dim=1, keepdim=True)  # (out_channels, 1, height, width)


def _problems(weights: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> list[str]:
    """What keeps the weights from being those of the encoder; old files do not count batches."""
    missing = [
        name for name in wanted if name not in weights and not name.endswith(".num_batches_tracked")
    ]
    unknown = [name for name in weights if name not in wanted]
    misshapen = [
        f"{name} {tuple(weights[name].shape)} for {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in weights and weights[name].shape != value.shape
    ]
    found = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    return [f"{what} {_few(names)}" for what, names in found.items() if names]


def _few(names: list[str], most: int = 3) -> str:
    others = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + others
